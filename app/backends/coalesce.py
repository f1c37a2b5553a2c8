"""Increments that wait share one statement: one row lock and one WAL flush for all of them.

A row lock is held until the flush is over, so one hot row is bound by 1 / (execute + flush) commits a second.
More commits a second cannot be had; more increments a commit can. A request is answered after the commit that
holds it. A batch takes its rows in the order of their keys, as every other instance does, so two batches never
deadlock; the ledger comes after all counters, in the order of its ids, for the same reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

from app.backends.base import Cost
from app.backends.pg_connection import PgConnection
from app.backends.strategies import once
from app.errors import ServiceError, unprocessable

_ADD = """
    ON CONFLICT (key) DO UPDATE SET value = c.value + excluded.value, last_modified = now()
    RETURNING c.key, c.value
"""
_BATCH = f"""
    INSERT INTO counters AS c (key, value)
    SELECT key, n FROM unnest($1::text[], $2::bigint[]) AS asked (key, n) ORDER BY key COLLATE "C" {_ADD}
"""  # noqa: S608 -- constants
_BATCH_ONCE = f"""
    WITH asked AS (
        SELECT * FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (key, id, seq)
    ),
    seen AS (SELECT id, key, value FROM ledger WHERE id = ANY ($2::text[])),
    fresh AS (
        SELECT seq, key, id, count(*) OVER (PARTITION BY key) AS n,
               row_number() OVER (PARTITION BY key ORDER BY seq) AS place
        FROM asked WHERE NOT EXISTS (SELECT FROM seen WHERE seen.id = asked.id)
    ),
    bump AS (
        INSERT INTO counters AS c (key, value)
        SELECT key, count(*) FROM fresh GROUP BY key ORDER BY key COLLATE "C" {_ADD}
    ),
    done AS (
        SELECT seq, fresh.key, id, bump.value - n + place AS value FROM fresh JOIN bump USING (key)
    ),
    entry AS (
        INSERT INTO ledger (id, key, value)
        SELECT id, key, value FROM done WHERE id IS NOT NULL ORDER BY id COLLATE "C"
    )
    SELECT seq, key, value FROM done
    UNION ALL SELECT seq, seen.key, value FROM asked JOIN seen USING (id) ORDER BY seq
"""  # noqa: S608 -- constants

Answered = tuple[str, int]
"""A counter's key and the value that one increment gave it."""

Run = Callable[[Callable[[PgConnection], Awaitable[list[Answered]]]], Awaitable["tuple[list[Answered], Cost]"]]
"""The backend's way to run work on a link, with its retries and its errors."""


class _Entry:
    """One increment that waits: its key, its ledger id, and where its answer goes."""

    __slots__ = ("answer", "entry_id", "key", "since")

    def __init__(self, key: str, entry_id: str | None) -> None:
        self.key = key
        self.entry_id = entry_id
        self.since = perf_counter()
        self.answer: asyncio.Future[tuple[int, Cost]] = asyncio.get_running_loop().create_future()


class Coalescer:
    """A queue of at most `max_queue`, drained in batches of at most `max_batch`, `batches` of them at once."""

    def __init__(self, run: Run, *, max_batch: int, max_queue: int, batches: int) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._batches = batches
        self._queue: deque[_Entry] = deque()
        self._by_id: dict[str, _Entry] = {}
        self._running = 0
        self._drains: set[asyncio.Task[None]] = set()

    async def increment(self, key: str, entry_id: str | None) -> tuple[int, Cost]:
        """Wait for the commit of a batch that holds this increment. A full queue is 503, aborted."""
        if entry_id is not None and (twin := self._by_id.get(entry_id)):
            if twin.key != key:
                raise unprocessable("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used for another counter")
            try:
                value, cost = await asyncio.shield(twin.answer)
            except ServiceError as error:
                raise error.again() from None
            return value, Cost(pool_wait_ms=cost.pool_wait_ms, transactions=0)  # the twin's share stands for both
        if len(self._queue) >= self._max_queue:
            raise ServiceError(503, "COALESCE_FULL", "too many increments wait for a batch")
        entry = _Entry(key, entry_id)
        self._queue.append(entry)
        if entry_id is not None:
            self._by_id[entry_id] = entry
        if self._running < self._batches:
            # A task counts until its last look at the queue, not until its callbacks have run: in between,
            # an increment would find all drains "running" and none that looks again.
            self._running += 1
            task = asyncio.get_running_loop().create_task(self._drain())
            self._drains.add(task)
            task.add_done_callback(self._drains.discard)
        return await asyncio.shield(entry.answer)

    async def close(self) -> None:
        """Wait until what was accepted is answered."""
        await asyncio.gather(*self._drains)

    async def _drain(self) -> None:
        try:
            while self._queue:
                size = min(len(self._queue), self._max_batch)
                await self._answer([self._queue.popleft() for _ in range(size)])
        finally:
            self._running -= 1

    async def _answer(self, batch: Sequence[_Entry]) -> None:
        started = perf_counter()
        failure = ServiceError(500, "INTERNAL", "the batch was interrupted", "unknown")
        try:
            await self._commit(batch, started)
        except ServiceError as error:
            failure = error
        finally:
            for entry in batch:
                if entry.entry_id is not None:
                    del self._by_id[entry.entry_id]
                if not entry.answer.done():
                    share = failure.cost and _share(failure.cost, batch, started - entry.since)
                    entry.answer.set_exception(failure.again(share))
                    entry.answer.exception()  # fetched here: a client that is gone does not

    async def _commit(self, batch: Sequence[_Entry], started: float) -> None:
        statement = _plain if all(entry.entry_id is None for entry in batch) else _with_ledger
        answers, cost = await self._run(lambda link: statement(link, batch))
        for entry, answered in zip(batch, answers, strict=True):
            share = _share(cost, batch, started - entry.since)
            try:
                value = once(entry.key, answered)
            except ServiceError as error:
                entry.answer.set_exception(error.again(share))
                entry.answer.exception()
                continue
            entry.answer.set_result((value, share))


def _share(cost: Cost, batch: Sequence[_Entry], waited: float) -> Cost:
    """What one request of the batch cost, which waited so many seconds until the batch began."""
    return Cost(
        pool_wait_ms=waited * 1000 + cost.pool_wait_ms,
        retries=cost.retries / len(batch),
        transactions=cost.transactions / len(batch),
    )


async def _plain(link: PgConnection, batch: Sequence[_Entry]) -> list[Answered]:
    """Without the ledger: send each key once, deal the values out in the order of arrival."""
    counts = Counter(entry.key for entry in batch)
    rows = await link.autocommit(_BATCH, (list(counts), list(counts.values())))
    before = {key: value - counts[key] for key, value in rows}
    answers = []
    for entry in batch:
        before[entry.key] += 1
        answers.append((entry.key, before[entry.key]))
    return answers


async def _with_ledger(link: PgConnection, batch: Sequence[_Entry]) -> list[Answered]:
    """With it: the statement leaves out what the ledger has, and numbers the rest."""
    parameters = ([entry.key for entry in batch], [entry.entry_id for entry in batch])
    return [(key, value) for _, key, value in await link.autocommit(_BATCH_ONCE, parameters)]
