"""Cases of PostgreSQL alone: races between strategies, lost connections, a server that stops and returns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from time import perf_counter

import psycopg
import pytest

from app.errors import ServiceError
from app.service import BACKEND

from .conftest import Answer, Service, Start

Eventually = Callable[..., Awaitable[None]]
SAFE = ("upsert", "for-update", "coalesce", "optimistic", "serializable")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def admin(database) -> AsyncIterator[psycopg.AsyncConnection]:  # type: ignore[no-untyped-def]
    connection = await psycopg.AsyncConnection.connect(database.dsn, autocommit=True)
    yield connection
    await connection.close()


async def scalar(connection: psycopg.AsyncConnection, sql: str) -> int:
    row = await (await connection.execute(sql)).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


async def one_waits(database) -> bool:  # type: ignore[no-untyped-def]
    """Returns whether a session waits for a lock; on a separate connection, outside any transaction's snapshot."""
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as connection:
        return await scalar(connection, WAITING) == 1


def statuses(answers: list[Answer]) -> dict[int, int]:
    return dict(Counter(answer.status for answer in answers))


@pytest.mark.parametrize("strategy", SAFE)
async def test_no_strategy_loses_an_update_on_two_instances(database, start: Start, strategy: str) -> None:
    services = [await start(database.environ, CONTAINER_ID=f"app-{number}") for number in (1, 2)]
    keys = ["hot"] * 100 + [f"k{number % 7}" for number in range(100)]
    answers = await asyncio.gather(*(services[number % 2].increment(key, strategy) for number, key in enumerate(keys)))
    assert statuses(answers) == {200: 200}
    got: dict[str, list[int]] = {}
    for key, answer in zip(keys, answers, strict=True):
        got.setdefault(key, []).append(answer.body["value"])
    assert {key: sorted(values) for key, values in got.items()} == {
        key: list(range(1, number + 1)) for key, number in Counter(keys).items()
    }


async def test_unsafe_loses_updates_and_never_fails(database, start: Start) -> None:
    """The negative control of the search for lost updates."""
    services = [await start(database.environ) for _ in range(2)]
    answers = await asyncio.gather(*(services[n % 2].increment("hot", "unsafe") for n in range(400)))
    assert statuses(answers) == {200: 400}
    assert 1 <= await services[0].value("hot") < 400


@pytest.mark.parametrize("strategy", SAFE)
async def test_an_answer_names_the_session_that_ran_it(database, start: Start, admin, strategy: str) -> None:
    service = await start(database.environ, POOL_SIZE=1)
    answer = await service.increment("k", strategy)
    pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert answer.body["backend"] == await scalar(admin, pids)


async def test_a_thousand_first_writes_at_once_all_succeed(database, start: Start) -> None:
    """The original answers 500 (23505) to some of them: no row yet, so nothing is locked."""
    services = [await start(database.environ) for _ in range(4)]
    answers = await asyncio.gather(*(services[n % 4].increment("new", "for-update") for n in range(1000)))
    assert statuses(answers) == {200: 1000}
    assert sorted(answer.body["value"] for answer in answers) == list(range(1, 1001))
    assert max(answer.body["pool_wait_ms"] for answer in answers) > 0


@pytest.mark.parametrize("strategy", [*SAFE, "unsafe"])
async def test_every_strategy_counts_an_idempotency_key_once(database, start, admin, strategy: str) -> None:
    """Concurrent duplicates on two instances, among others; then a replay, then a replay for another key."""
    services = [await start(database.environ) for _ in range(2)]
    ids = [f"id-{number % 20}" for number in range(120)]
    answers = await asyncio.gather(
        *(services[n % 2].increment(f"k{n % 4}", strategy, entry_id=name) for n, name in enumerate(ids))
    )
    assert statuses(answers) == {200: 120}
    by_id: dict[str, set[int]] = {}
    for name, answer in zip(ids, answers, strict=True):
        by_id.setdefault(name, set()).add(answer.body["value"])
    assert all(len(values) == 1 for values in by_id.values())
    assert await scalar(admin, "SELECT count(*) FROM ledger") == 20
    if strategy != "unsafe":
        assert await scalar(admin, "SELECT sum(value) FROM counters") == 20
    again = await services[0].increment("k0", strategy, entry_id="id-0")
    assert again.body["value"] in by_id["id-0"]
    other = await services[0].increment("other", strategy, entry_id="id-0")
    assert (other.status, other.body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await scalar(admin, "SELECT count(*) FROM counters WHERE key = 'other'") == 0


async def test_an_idempotency_key_reused_within_one_batch_fails_alone(database, start: Start, admin) -> None:
    service = await start(database.environ, COALESCE_BATCHES=1)
    await service.increment("a", "coalesce", entry_id="old")
    answers = await asyncio.gather(
        service.increment("b", "coalesce", entry_id="old"),
        service.increment("b", "coalesce", entry_id="new"),
        service.increment("c", "coalesce", entry_id="new"),
        *(service.increment("b", "coalesce") for _ in range(20)),
    )
    refused = Counter(answer.body["code"] for answer in answers if answer.status != 200)
    assert refused == {"IDEMPOTENCY_KEY_REUSED": 2}
    assert await scalar(admin, "SELECT sum(value) FROM counters") == 22


SLOW_ROWS = """
    CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END';
    CREATE TRIGGER linger BEFORE INSERT ON counters FOR EACH ROW EXECUTE FUNCTION linger();
    CREATE TRIGGER linger BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION linger();
"""


async def batch(service: Service, asked: Sequence[tuple[str, str | None]]) -> dict[str, int]:
    """Sends increments as one batch and returns their results; without HTTP, calls in one loop turn form a batch."""
    increment = service.app[BACKEND].increment
    ended = await asyncio.gather(*(increment(key, "coalesce", i) for key, i in asked), return_exceptions=True)
    return dict(Counter(error.code if isinstance(error, ServiceError) else "ok" for error in ended))


@pytest.mark.parametrize("crossed", ["counters", "counters, with ledger", "ledger"])
async def test_batches_of_two_instances_never_deadlock(database, start: Start, admin, crossed: str) -> None:
    """Each row takes 10 ms, so batches in opposite orders would deadlock halfway; no retry hides a victim."""
    services = [await start(database.environ, RETRY_LIMIT=0, COALESCE_BATCHES=1) for _ in range(2)]
    for service in services:
        await service.increment("warm")
    await admin.execute(SLOW_ROWS)
    for turn in range(3):
        up = [f"{turn}-{number}" for number in range(10)]
        down = up[::-1]
        if crossed == "ledger":  # one id for two counters: the second is refused with the reason
            pairs = [
                list(zip([f"{who}-{name}" for name in up], ids, strict=True)) for who, ids in enumerate((up, down))
            ]
            ends = [{"23505": 10}, {"ok": 10}]
        else:
            with_ledger = crossed != "counters"
            pairs = [
                [(key, f"{who}-{key}" if with_ledger else None) for key in keys] for who, keys in enumerate((up, down))
            ]
            ends = [{"ok": 10}, {"ok": 10}]
        results = await asyncio.gather(*(batch(*one) for one in zip(services, pairs, strict=True)))
        assert sorted(results, key=str) == ends


async def test_coalesced_requests_share_transactions(database, start: Start, admin) -> None:
    service = await start(database.environ, COALESCE_BATCHES=1)
    await service.increment("hot", "coalesce")
    async with admin.transaction():
        await admin.execute("SELECT FROM counters FOR UPDATE")
        tasks = [asyncio.create_task(service.increment("hot", "coalesce")) for _ in range(200)]
        answered, _ = await asyncio.wait(tasks, timeout=1)  # the first batch waits for the row, the others for it
        assert not answered
    shares = [(await task).body["transactions"] for task in tasks]
    assert 1 <= round(sum(shares), 3) < 100
    assert min(shares) < 0.5


async def test_a_full_queue_of_increments_is_503_aborted(database, start: Start, admin) -> None:
    service = await start(database.environ, COALESCE_MAX_QUEUE=5, COALESCE_BATCHES=1)
    await service.increment("hot", "coalesce")
    async with admin.transaction():
        await admin.execute("SELECT FROM counters FOR UPDATE")
        tasks = [asyncio.create_task(service.increment("hot", "coalesce")) for _ in range(20)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    answers = [await task for task in tasks]
    refused = [answer.body for answer in answers if answer.status != 200]
    assert {(body["code"], body["outcome"]) for body in refused} == {("COALESCE_FULL", "aborted")}
    assert await service.value("hot") == 1 + len(answers) - len(refused)


async def test_isolation_levels_are_the_requested_ones(database, start: Start) -> None:
    service = await start(database.environ)
    for level in ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
        body = (await service.post("/api/test-isolation", {"level": level})).body
        assert (body["isolationLevel"], body["observedLevel"]) == (level, level)


async def crossed(service: Service, *, retry: bool) -> list[Answer]:
    def transaction(*keys: str) -> Awaitable[Answer]:
        return service.post("/api/transaction", {"keys": keys, "hold_ms": 300, "retry": retry})

    return list(await asyncio.gather(transaction("a", "b"), transaction("b", "a")))


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


@pytest.mark.parametrize("strategy", [*SAFE, "unsafe"])
async def test_the_server_assigns_as_many_transaction_ids_as_the_service_counts(
    database, start: Start, admin, strategy: str
) -> None:
    """checks/traffic.py assumes that a transaction takes an id if it locks or writes, and none if it only reads."""
    services = [await start(database.environ, POOL_SIZE=10) for _ in range(2)]

    async def counts() -> tuple[int, int]:
        numbers = [(await service.get("/metrics?database=0")).body["transactions"] for service in services]
        return sum(numbers), await scalar(admin, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")

    counted, assigned = await counts()
    answers = await asyncio.gather(*(services[n % 2].increment(f"k{n % 2}", strategy) for n in range(200)))
    assert statuses(answers) == {200: 200}
    counted, assigned = (after - before for after, before in zip(await counts(), (counted, assigned), strict=True))
    assert round(sum(answer.body["transactions"] for answer in answers), 3) == counted
    assert assigned <= counted
    if strategy in ("upsert", "for-update", "coalesce"):
        assert assigned == counted


@pytest.mark.parametrize("limit", [0, 100])
async def test_a_retried_batch_counts_its_retry_once(
    database, start: Start, admin, eventually: Eventually, limit: int
) -> None:
    """Another transaction writes the ledger id first: the batch fails with 23505 and is retried, within the limit."""
    service = await start(database.environ, COALESCE_BATCHES=1, RETRY_LIMIT=limit)
    coalescer = service.app[BACKEND]._coalescer  # type: ignore[attr-defined]
    await service.increment("gate")
    enter = "INSERT INTO ledger (id, key, value) VALUES ('twin', 'k', 7)"
    async with await psycopg.AsyncConnection.connect(database.dsn) as other:
        await other.execute(enter)
        async with admin.transaction():
            await admin.execute("SELECT FROM counters WHERE key = 'gate' FOR UPDATE")
            gate = asyncio.create_task(service.increment("gate", "coalesce"))
            await eventually(lambda: one_waits(database))
            names = ["twin", "twin", *(f"id-{number}" for number in range(9))]
            tasks = [asyncio.create_task(service.increment("k", "coalesce", entry_id=name)) for name in names]

            async def queued() -> bool:
                return len(coalescer._queue) == 10

            await eventually(queued)
        assert (await gate).status == 200
        await eventually(lambda: one_waits(database))
        await other.commit()
    answers = [await task for task in tasks]
    assert statuses(answers) == ({200: 11} if limit else {409: 11})
    costs = [(answer.body.get("retries"), answer.body.get("transactions")) for answer in answers]
    shares = [cost for cost in costs if cost != ((0, 0) if limit else (None, None))]  # the second twin costs nothing
    assert shares == [(0.1, 0.2) if limit else (0, 0.1)] * 10
    metrics = (await service.get("/metrics?database=0")).body
    assert (metrics["retries"], metrics["transactions"]) == ((1, 4) if limit else (0, 3))


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


async def test_a_value_out_of_range_is_refused(database, start: Start, admin) -> None:
    service = await start(database.environ)
    await admin.execute("INSERT INTO counters (key, value) VALUES ('full', 9223372036854775807)")
    for strategy in (*SAFE, "unsafe"):
        answer = await service.increment("full", strategy)
        assert (answer.status, answer.body["code"], answer.body["outcome"]) == (422, "22003", "aborted")


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
    answers: list[Answer] = []
    going = True

    async def load(service: Service, strategy: str) -> None:
        while going:
            answers.append(await service.increment("hot", strategy))

    tasks = [asyncio.create_task(load(services[n % 2], SAFE[n % len(SAFE)])) for n in range(20)]
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

    async def back() -> bool:
        return (await services[0].get("/health")).status == 200

    await eventually(back)
    going = False
    await asyncio.gather(*tasks)
    assert {answer.status for answer in answers} <= {200, 409, 503}
    lost = {(answer.body["code"], answer.body["outcome"]) for answer in answers if answer.status == 409}
    assert lost <= {("40001", "aborted"), ("LOST_RACE", "aborted")}, "a transaction may run out of retries"
    ok = sum(answer.status == 200 for answer in answers)
    unknown = sum(answer.body.get("outcome") == "unknown" for answer in answers)
    assert ok > 0
    assert ok <= await services[0].value("hot") <= ok + unknown


async def test_a_slow_body_is_408(database, start: Start) -> None:
    service = await start(database.environ, BODY_SECONDS=0.1)

    async def pieces():  # type: ignore[no-untyped-def]
        yield b'{"key": '
        await asyncio.sleep(1)
        yield b'"a"}'

    answer = await service.post("/api/increment", data=pieces())
    assert (answer.status, answer.body["outcome"]) == (408, "aborted")


async def test_without_prepared_statements_as_behind_pgbouncer(database, start: Start, admin) -> None:
    service = await start(database.environ, PREPARE=0, POOL_SIZE=1)
    for strategy in (*SAFE, "unsafe"):
        assert (await service.increment("a", strategy)).status == 200
        assert (await service.increment("a", strategy, entry_id=f"id-{strategy}")).status == 200
    assert await service.value("a") == 12


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


async def test_one_full_counter_fails_only_its_own_requests_of_a_batch(database, start: Start, admin) -> None:
    """Counters of one batch share a statement; one value out of range must not refuse the others."""
    service = await start(database.environ, POOL_SIZE=1, COALESCE_BATCHES=1)
    await admin.execute("INSERT INTO counters (key, value) VALUES ('full', %s)", (2**63 - 1 - 3,))
    keys = ["full", "a", "b", "full", "a"] * 10
    for ids in ([""] * len(keys), [f"id-{number}" for number in range(len(keys))]):
        before = (await service.get("/metrics")).body["transactions"]
        answers = await asyncio.gather(
            *(service.increment(key, "coalesce", entry_id=name) for key, name in zip(keys, ids, strict=True))
        )
        failed = Counter(key for key, answer in zip(keys, answers, strict=True) if answer.status != 200)
        assert {answer.status for answer in answers} == {200, 422}
        assert {answer.body["outcome"] for answer in answers if answer.status == 422} == {"aborted"}
        assert failed == {"full": 20 - 3 if ids[0] == "" else 20}
        # The cost of the requests is that of the transactions, also of the failed ones.
        spent = (await service.get("/metrics")).body["transactions"] - before
        assert sum(answer.body["transactions"] for answer in answers) == pytest.approx(spent, rel=1e-3)
    assert [await service.value(key) for key in ("full", "a", "b")] == [2**63 - 1, 40, 20]
    assert await scalar(admin, "SELECT count(*) FROM ledger") == 30
