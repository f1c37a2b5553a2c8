"""Connections to PostgreSQL: how many, how long, and a server that is full, refuses or restarts."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from time import perf_counter

import psycopg
import pytest

from .conftest import WAITING, Eventually, Start, load_on, scalar, statuses


async def test_terminated_idle_sessions_are_replaced_without_an_error(database, start: Start, admin) -> None:
    service = await start(database.environ)
    await asyncio.gather(*(service.increment("a") for _ in range(20)))
    await admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = 'appuser'"
    )
    assert statuses([await service.increment("a") for _ in range(10)]) == {200: 10}


async def test_unused_connections_are_closed(database, start: Start, eventually: Eventually) -> None:
    service = await start(database.environ, POOL_IDLE_SECONDS=0.2)
    await asyncio.gather(*(service.increment("a") for _ in range(20)))
    assert 1 <= (await service.get("/api/pool-stats")).body["totalCount"] <= 5

    async def empty() -> bool:
        return (await service.get("/api/pool-stats")).body["totalCount"] == 0

    await eventually(empty)
    assert (await service.increment("a")).status == 200


async def test_the_minimum_is_opened_at_start_and_kept(database, start: Start, admin, eventually: Eventually) -> None:
    service = await start(database.environ, POOL_MIN=3, POOL_SIZE=8, POOL_IDLE_SECONDS=0.1)

    async def pool() -> dict[str, int]:
        return dict((await service.get("/metrics?database=0")).body["pool"])

    async def at_minimum() -> bool:
        return await pool() == {"total": 3, "idle": 3, "waiting": 0, "peak": peak}

    peak = 3
    await eventually(at_minimum)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'appuser'"
    assert await scalar(admin, sessions) == 3
    holds = [{"keys": [], "hold_ms": 500}] * 8
    answers = await asyncio.gather(*(service.post("/api/transaction", hold) for hold in holds))
    assert statuses(answers) == {200: 8}
    peak = (await pool())["peak"]
    assert 3 < peak <= 8
    await eventually(at_minimum)  # what is surplus goes
    await asyncio.sleep(0.5)
    assert await at_minimum()  # the rest stays, long past the idle time


async def test_the_minimum_is_opened_once_the_database_is_reachable(
    server, database, start: Start, eventually: Eventually
) -> None:
    await asyncio.to_thread(server.stop)
    try:
        service = await start(database.environ, POOL_MIN=5)
        assert (await service.get("/live")).status == 200
        assert (await service.get("/health")).status == 503
        assert (await service.get("/metrics?database=0")).body["pool"]["total"] == 0
    finally:
        await asyncio.to_thread(server.start)

    async def full() -> bool:
        return bool((await service.get("/metrics?database=0")).body["pool"]["total"] == 5)

    await eventually(full)


async def test_holds_queue_for_a_pool_that_is_too_small(database, start: Start) -> None:
    service = await start(database.environ, POOL_SIZE=1)
    hold = {"keys": [], "hold_ms": 20}
    started = perf_counter()
    answers = await asyncio.gather(*(service.post("/api/transaction", hold) for _ in range(10)))
    assert statuses(answers) == {200: 10}
    assert perf_counter() - started >= 10 * 0.02  # one after the other, however slow the machine
    assert (await service.get("/metrics?database=0")).body["pool"]["peak"] == 1


async def test_too_many_connections_are_503_aborted_and_recover(database, start: Start, admin) -> None:
    await admin.execute("ALTER ROLE appuser CONNECTION LIMIT 2")
    try:
        service = await start(database.environ, POOL_SIZE=5)
        answers = await asyncio.gather(*(service.increment("a") for _ in range(50)))
        assert statuses(answers) == {200: 50}  # served by the two that there are
        other = await start(database.environ, POOL_SIZE=5)
        refused = await asyncio.gather(*(other.increment("a") for _ in range(20)))
        assert {(r.status, r.body["code"], r.body["outcome"]) for r in refused} == {(503, "53300", "aborted")}
        assert (await other.get("/health")).status == 503
    finally:
        await admin.execute("ALTER ROLE appuser CONNECTION LIMIT -1")
    assert (await other.increment("a")).body["value"] == 51


@pytest.mark.parametrize(
    ("whose", "words"), [("app_dsn", "connection slots are reserved"), ("dsn", "too many clients")]
)
async def test_a_server_that_is_full_is_503_aborted_with_its_code(
    database, start: Start, whose: str, words: str
) -> None:
    """Both refusals: the last connections are reserved for superusers, then none is left."""
    service = await start(database.environ)
    async with AsyncExitStack() as stack:
        with pytest.raises(psycopg.OperationalError, match=words):  # noqa: PT012 -- until there is no place left
            while True:
                connection = await psycopg.AsyncConnection.connect(getattr(database, whose))
                await stack.enter_async_context(connection)
        requests = [service.increment("a", "coalesce"), *(service.increment("a") for _ in range(9))]
        refused = await asyncio.gather(*requests, service.post("/api/bulk-insert", {"data": ["a"]}))
        assert {(r.status, r.body["code"], r.body["outcome"]) for r in refused} == {(503, "53300", "aborted")}
        assert not any("transactions" in r.body for r in refused)  # none was begun
    assert (await service.increment("a")).body["value"] == 1


async def test_a_time_out_reports_that_the_server_refuses_more_connections(database, start: Start, admin) -> None:
    await admin.execute("ALTER ROLE appuser CONNECTION LIMIT 2")
    try:
        service = await start(database.environ, POOL_SIZE=5, POOL_WAIT_SECONDS=1)
        hold = {"keys": [], "hold_ms": 2500}
        answers = await asyncio.gather(*(service.post("/api/transaction", hold) for _ in range(4)))
    finally:
        await admin.execute("ALTER ROLE appuser CONNECTION LIMIT -1")
    codes = Counter((answer.status, answer.body.get("code"), answer.body.get("outcome")) for answer in answers)
    assert codes == {(200, None, None): 2, (503, "53300", "aborted"): 2}


async def test_waiting_for_a_connection_is_bounded(database, start: Start, admin, eventually: Eventually) -> None:
    service = await start(database.environ, POOL_SIZE=1, POOL_WAIT_SECONDS=1, POOL_MAX_WAITING=3)
    await service.increment("a")
    await service.increment("b")
    async with await psycopg.AsyncConnection.connect(database.dsn) as locker:
        await locker.execute("SELECT FROM counters WHERE key = 'b' FOR UPDATE")
        hold = asyncio.create_task(service.increment("b"))

        async def held() -> bool:
            return await scalar(admin, WAITING) == 1

        await eventually(held)
        answers = await asyncio.gather(*(service.increment("a") for _ in range(10)))
    codes = Counter((answer.status, answer.body["code"], answer.body["outcome"]) for answer in answers)
    assert set(codes) == {(503, "POOL_TIMEOUT", "aborted"), (503, "POOL_FULL", "aborted")}
    assert codes[503, "POOL_TIMEOUT", "aborted"] >= 3
    assert (await hold).status == 200
    assert await service.value("a") == 1


async def test_a_wrong_password_is_503_and_not_printed(database, start: Start) -> None:
    service = await start({**database.environ, "POSTGRES_PASSWORD": "hunter2"})
    answer = await service.increment("a")
    assert (answer.status, answer.body["code"], answer.body["outcome"]) == (503, "28P01", "aborted")
    assert "hunter2" not in str(answer)


@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_the_server_goes_away_under_load_and_comes_back(
    server, database, start: Start, eventually: Eventually, mode: str
) -> None:
    """ok <= final <= ok + unknown; an aborted request was not applied."""
    services = [await start(database.environ) for _ in range(2)]

    async def back() -> bool:
        return (await services[0].get("/health")).status == 200

    async with load_on(services) as answers:
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.stop, mode)
        try:
            await asyncio.sleep(0.2)
            away = await services[0].increment("hot")
            assert (away.status, away.body["outcome"]) == (503, "aborted")
            health = await services[0].get("/health")
            assert (health.status, health.body["status"]) == (503, "unhealthy")
            assert (await services[0].get("/live")).status == 200
            assert (await services[0].get("/metrics")).status == 503
            assert (await services[0].get("/metrics?database=0")).status == 200
        finally:
            await asyncio.to_thread(server.start)
        await eventually(back)
    assert {answer.status for answer in answers} <= {200, 409, 503}
    lost = {(answer.body["code"], answer.body["outcome"]) for answer in answers if answer.status == 409}
    assert lost <= {("40001", "aborted"), ("LOST_RACE", "aborted")}, "a transaction may run out of retries"
    ok = sum(answer.status == 200 for answer in answers)
    unknown = sum(answer.body.get("outcome") == "unknown" for answer in answers)
    assert ok > 0
    assert ok <= await services[0].value("hot") <= ok + unknown
