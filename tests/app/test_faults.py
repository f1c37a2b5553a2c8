"""The service on a PostgreSQL that stops, hangs, is cut off or refuses, and on connections that end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from time import perf_counter

import psycopg
import pytest

from tests.support.faulty_link import FaultyLink

from .conftest import BOUND, SAFE, Eventually, Start, load_on, outcome, ready, scalar, through, unready


async def test_a_server_that_hangs_is_lost_and_its_requests_end(
    server, database, start: Start, eventually: Eventually
) -> None:
    service = await start(database.environ, REQUEST_SECONDS=1)
    await service.increment("a")
    await asyncio.to_thread(server.signal, signal.SIGSTOP)
    try:
        answers = await asyncio.wait_for(asyncio.gather(*(service.increment("a") for _ in range(20))), BOUND)
        assert {answer.status for answer in answers} == {503}
        unknown = sum(answer.body["outcome"] == "unknown" for answer in answers)
        assert 1 <= unknown <= 5  # those that were sent
        await eventually(lambda: unready(service))
        assert outcome(await service.increment("a")) == (503, "DATABASE_LOST", "aborted")
    finally:
        await asyncio.to_thread(server.signal, signal.SIGCONT)
    await eventually(lambda: ready(service))
    assert (await service.increment("a")).status == 200
    assert 2 <= await service.value("a") <= 2 + unknown


async def test_a_partition_is_lost_and_heals(database, start: Start, link: FaultyLink, eventually: Eventually) -> None:
    service = await start(through(database, link), REQUEST_SECONDS=1)
    await service.increment("a")
    await eventually(lambda: ready(service))
    link.silence()
    try:
        sent = await asyncio.wait_for(service.increment("a"), BOUND)
        assert outcome(sent) == (503, "CONNECTION_LOST", "unknown")
        await eventually(lambda: unready(service))
    finally:
        link.heal()
    await eventually(lambda: ready(service))
    assert (await service.increment("a")).status == 200


async def test_few_logins_while_the_server_refuses(database, start: Start, link: FaultyLink, eventually) -> None:  # type: ignore[no-untyped-def]
    service = await start(through(database, link), POOL_SIZE=20)
    await eventually(lambda: ready(service))
    link.refusing = True
    before, started, answers = link.attempts, perf_counter(), Counter[tuple[int, str]]()

    async def load() -> None:
        while perf_counter() < started + 3:
            answer = await service.increment("a")
            answers[answer.status, answer.body["outcome"]] += 1

    await asyncio.gather(*(load() for _ in range(50)))
    seconds = perf_counter() - started
    assert set(answers) == {(503, "aborted")}
    assert answers.total() > 100
    assert link.attempts - before <= 20 + 10 * seconds  # the first round, then logins and questions
    link.refusing = False
    await eventually(lambda: ready(service))
    assert (await service.increment("a")).status == 200


@pytest.mark.parametrize("strategy", [*SAFE, "unsafe"])
async def test_a_connection_that_is_dead_without_notice_costs_at_most_one_request(
    database, start: Start, link: FaultyLink, strategy: str
) -> None:
    """It is reset when bytes are sent. If they could not commit, another session does the work."""
    service = await start(through(database, link), POOL_SIZE=1)
    await service.increment("a", strategy)
    link.reset_next = True
    answer = await service.increment("a", strategy)
    if strategy in ("upsert", "coalesce"):
        assert outcome(answer) == (503, "CONNECTION_LOST", "unknown")
    else:
        assert (answer.status, answer.body["transactions"] > 1) == (200, True)
    before = await service.value("a")
    assert (await service.increment("a", strategy)).body["value"] == before + 1


@pytest.mark.parametrize("strategy", [*SAFE, "unsafe"])
async def test_with_an_id_a_lost_commit_is_resolved(
    database, start: Start, admin, eventually: Eventually, strategy: str
) -> None:
    """The session ends in the statement that commits; the ledger makes it safe to send it again."""
    service = await start(database.environ, COALESCE_BATCHES=1)
    await service.increment("a")
    async with await psycopg.AsyncConnection.connect(database.dsn) as locker:
        await locker.execute("SELECT FROM counters FOR UPDATE")
        task = asyncio.create_task(service.increment("a", strategy, entry_id="id-1"))
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

        async def waits() -> bool:
            row = await (await admin.execute(blocked)).fetchone()
            return bool(row and row[0])

        await eventually(waits)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        await eventually(waits)  # again, in another session
    answer = await task
    assert (answer.status, answer.body["value"]) == (200, 2)
    assert answer.body["transactions"] >= 2
    assert await service.value("a") == 2


async def test_an_unresolved_doubt_stays_unknown(database, start: Start, admin, link: FaultyLink) -> None:
    """The commit is in doubt, and the login for the retry is refused: the first failure is answered."""
    service = await start(through(database, link), POOL_SIZE=1)
    await service.increment("a")
    await admin.execute("ALTER ROLE appuser CONNECTION LIMIT 0")
    try:
        link.reset_next = True
        answer = await service.increment("a", entry_id="id-1")
    finally:
        await admin.execute("ALTER ROLE appuser CONNECTION LIMIT -1")
    assert outcome(answer) == (503, "CONNECTION_LOST", "unknown")


async def test_a_crash_of_one_session_restarts_the_server_and_loses_nothing(
    database, start: Start, admin, eventually: Eventually
) -> None:
    """kill -9 of a session: PostgreSQL ends all the others and recovers."""
    services = [await start(database.environ) for _ in range(2)]
    async with load_on(services) as answers:

        async def loaded() -> bool:
            return len(answers) >= 100

        async def failed() -> bool:
            return any(answer.status == 503 for answer in answers)

        async def served_again() -> bool:
            return answers[-1].status == 200 and (await services[0].increment("probe")).status == 200

        await eventually(loaded)
        pid = await scalar(admin, "SELECT pid FROM pg_stat_activity WHERE usename = 'appuser' LIMIT 1")
        ok_before = sum(answer.status == 200 for answer in answers)
        signal.pidfd_send_signal(pidfd := os.pidfd_open(pid), signal.SIGKILL)
        os.close(pidfd)
        await eventually(failed)
        await eventually(served_again)
    assert {answer.status for answer in answers} <= {200, 409, 503}
    # out of retries, which happens beside 19 others on a busy machine
    assert {answer.body["outcome"] for answer in answers if answer.status == 409} <= {"aborted"}
    ok = sum(answer.status == 200 for answer in answers)
    unknown = sum(answer.body.get("outcome") == "unknown" for answer in answers)
    assert ok > ok_before
    assert ok <= await services[0].value("hot") <= ok + unknown


async def test_a_read_only_database_refuses_and_recovers(database, start: Start, admin) -> None:
    """As a standby does, or a server whose administrator has stopped writes."""
    service = await start(database.environ)
    await service.increment("a")
    await admin.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    refusing = await start(database.environ)
    for strategy in SAFE:
        assert outcome(await refusing.increment("a", strategy)) == (503, "25006", "aborted")
    await admin.execute(f"ALTER DATABASE {database.name} RESET default_transaction_read_only")
    assert await service.value("a") == 1
    assert (await (await start(database.environ)).increment("a")).body["value"] == 2
