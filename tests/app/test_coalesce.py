"""Increments that share a transaction: batches, their queue, their errors."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import psycopg
import pytest

from app.errors import ServiceError
from app.service import BACKEND

from .conftest import Eventually, Service, Start, one_waits, scalar, statuses


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
