"""Transactions on PostgreSQL: isolation, deadlocks, conflicts, time-outs, sessions that end, rights."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from .conftest import WAITING, Eventually, Start, crossed, scalar, statuses


async def test_isolation_levels_are_the_requested_ones(database, start: Start) -> None:
    service = await start(database.environ)
    for level in ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
        body = (await service.post("/api/test-isolation", {"level": level})).body
        assert (body["isolationLevel"], body["observedLevel"]) == (level, level)


async def test_crossed_transactions_deadlock_with_one_victim(database, start: Start) -> None:
    service = await start(database.environ)
    await service.post("/api/transaction", {"keys": ["a", "b"]})
    answers = await crossed(service, retry=False)
    assert statuses(answers) == {200: 1, 409: 1}
    victim = next(answer.body for answer in answers if answer.status == 409)
    assert (victim["code"], victim["outcome"]) == ("40P01", "aborted")
    assert await service.value("a") == await service.value("b") == 2


async def test_crossed_transactions_both_succeed_with_retry(database, start: Start) -> None:
    service = await start(database.environ)
    answers = await crossed(service, retry=True)
    assert statuses(answers) == {200: 2}
    assert sum(answer.body["retries"] for answer in answers) >= 1
    assert await service.value("a") == await service.value("b") == 2


async def test_conflicts_beyond_the_retry_limit_are_409_aborted(database, start: Start) -> None:
    service = await start(database.environ, RETRY_LIMIT=0, POOL_SIZE=20)
    await service.increment("hot")
    for strategy, codes in (("serializable", {"40001"}), ("optimistic", {"LOST_RACE"})):
        before = await service.value("hot")
        answers = await asyncio.gather(*(service.increment("hot", strategy) for _ in range(200)))
        lost = [answer.body for answer in answers if answer.status != 200]
        assert {(body["code"], body["outcome"]) for body in lost} == {(code, "aborted") for code in codes}
        assert await service.value("hot") == before + 200 - len(lost)


@pytest.mark.parametrize(("strategy", "each"), [("serializable", 1), ("optimistic", 2)])
async def test_the_cost_of_failed_requests_is_reported_and_counted(
    database, start: Start, strategy: str, each: int
) -> None:
    service = await start(database.environ, RETRY_LIMIT=1, POOL_SIZE=20)
    answers = [await service.increment("hot", strategy)]
    answers += await asyncio.gather(*(service.increment("hot", strategy) for _ in range(200)))
    lost = [answer.body for answer in answers if answer.status != 200]
    assert lost
    assert {(body["retries"], body["transactions"]) for body in lost} == {(1, 2 * each)}
    assert all(body["pool_wait_ms"] >= 0 for body in lost)
    metrics = (await service.get("/metrics?database=0")).body
    for what in ("retries", "transactions"):
        assert metrics[what] == sum(answer.body[what] for answer in answers), what


async def test_a_statement_beyond_its_time_out_is_aborted(database, start: Start, admin) -> None:
    service = await start(database.environ, STATEMENT_TIMEOUT_MS=200)
    answer = await service.post("/api/transaction", {"key": "a", "hold_ms": 5000})
    assert (answer.status, answer.body["code"], answer.body["outcome"]) == (503, "57014", "aborted")
    assert (await service.get("/api/counter/a")).status == 404
    locked = await start(database.environ, LOCK_TIMEOUT_MS=100)
    await locked.increment("a")
    async with admin.transaction():
        await admin.execute("SELECT FROM counters FOR UPDATE")
        answer = await locked.increment("a")
    assert (answer.status, answer.body["code"], answer.body["outcome"]) == (503, "55P03", "aborted")


async def test_a_bulk_insert_that_fails_inside_the_database_leaves_no_row(database, start: Start, admin) -> None:
    """At its last row, after the others were inserted: their ids are used up. Then at a lock."""
    service = await start(database.environ, LOCK_TIMEOUT_MS=100)
    answer = await service.post("/api/bulk-insert", {"data": ["a", "b", "x" * 65_537]})
    assert (answer.status, answer.body["code"], answer.body["outcome"]) == (422, "23514", "aborted")
    assert await scalar(admin, "SELECT count(*) FROM data") == 0
    after = await service.post("/api/bulk-insert", {"data": ["c", "x" * 65_536]})
    assert (after.status, after.body["ids"]) == (200, [4, 5])
    async with admin.transaction():
        await admin.execute("LOCK TABLE data IN SHARE MODE")
        answer = await service.post("/api/bulk-insert", {"data": ["d", "e"]})
    assert (answer.status, answer.body["code"], answer.body["outcome"]) == (503, "55P03", "aborted")
    assert await scalar(admin, "SELECT count(*) FROM data") == 2


@pytest.mark.parametrize("strategy", ["upsert", "coalesce"])
async def test_a_session_ended_during_the_commit_is_unknown(
    database, start: Start, admin, eventually: Eventually, strategy: str
) -> None:
    service = await start(database.environ, COALESCE_BATCHES=1)
    await service.increment("hot", strategy)
    async with await psycopg.AsyncConnection.connect(database.dsn) as locker:
        await locker.execute("SELECT FROM counters FOR UPDATE")
        tasks = [asyncio.create_task(service.increment("hot", strategy)) for _ in range(4)]
        waiting = 1 if strategy == "coalesce" else 4

        async def blocked() -> bool:
            return await scalar(admin, WAITING) >= waiting

        await eventually(blocked)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        first = await tasks[0]
        assert (first.status, first.body["code"], first.body["outcome"]) == (503, "57P01", "unknown")
    answers = [await task for task in tasks]
    unknown = [answer for answer in answers if answer.status != 200]
    assert {answer.body["outcome"] for answer in unknown} == {"unknown"}
    assert await service.value("hot") == 1 + len(answers) - len(unknown)  # new sessions, without a restart
    counted = (await service.get("/metrics?database=0")).body["requests"]["increment"]
    assert counted["unknown"] == len(unknown)


@pytest.mark.parametrize("names", [["a"], []])
async def test_a_session_ended_before_the_commit_is_aborted(
    database, start: Start, admin, eventually: Eventually, names: list[str]
) -> None:
    service = await start(database.environ)
    task = asyncio.create_task(service.post("/api/transaction", {"keys": names, "hold_ms": 30_000}))
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"

    async def holding() -> bool:
        return await scalar(admin, asleep) == 1

    await eventually(holding)
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    answer = await task
    assert (answer.status, answer.body["code"], answer.body["outcome"]) == (503, "57P01", "aborted")
    assert (await service.get("/api/counter/a")).status == 404


async def test_a_slow_body_is_408(database, start: Start) -> None:
    service = await start(database.environ, BODY_SECONDS=0.1)

    async def pieces():  # type: ignore[no-untyped-def]
        yield b'{"key": '
        await asyncio.sleep(1)
        yield b'"a"}'

    answer = await service.post("/api/increment", data=pieces())
    assert (answer.status, answer.body["outcome"]) == (408, "aborted")


async def test_the_app_role_has_only_the_needed_rights(database) -> None:
    refused = (
        "CREATE TABLE mine ()",
        "DELETE FROM counters",
        "TRUNCATE ledger",
        "UPDATE ledger SET value = 0",
        "UPDATE data SET content = ''",
        "SELECT * FROM pg_authid",
        "ALTER TABLE counters ADD mine int",
    )
    async with await psycopg.AsyncConnection.connect(database.app_dsn, autocommit=True) as connection:
        for sql in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(sql)  # type: ignore[arg-type]
