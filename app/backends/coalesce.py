"""The strategy `coalesce`: waiting increments share one statement, so one row lock and one WAL flush.

A row lock is held until the WAL flush ends, so a hot row allows at most 1 / (execute + flush) commits per second. A
commit can contain many increments, though. A request is answered after the commit of its batch. Every batch locks its
rows in the order of their keys, so two batches never deadlock. For the same reason the ledger rows follow after all
counters, in the order of their ids.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Protocol

from app.backends.base import RequestCost
from app.backends.pg_connection import PgConnection
from app.backends.strategies import replayed_value
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

Increment = tuple[str, int]
"""A counter's key and the value that one increment gave it."""

Work = Callable[[PgConnection], Awaitable[list[Increment]]]


class Run(Protocol):
    """The backend's function that runs work on a connection, with retries and error handling."""

    def __call__(self, work: Work, *, due: float, repeatable: bool) -> Awaitable[tuple[list[Increment], RequestCost]]:
        """`due` in seconds of perf_counter. `repeatable`: work that is done twice has the effect of once."""


class _Entry:
    """A waiting increment: its key, its ledger id and the future of its result."""

    __slots__ = ("answer", "entry_id", "key", "retries", "since", "transactions")

    def __init__(self, key: str, entry_id: str | None) -> None:
        self.key = key
        self.entry_id = entry_id
        self.since = perf_counter()
        self.retries = 0.0
        self.transactions = 0.0
        """The share of the cost of refused batches."""
        self.answer: asyncio.Future[tuple[int, RequestCost]] = asyncio.get_running_loop().create_future()


class Coalescer:
    """A queue of at most `max_queue` increments, committed in batches of at most `max_batch`, `batches` at once."""

    def __init__(self, run: Run, *, max_batch: int, max_queue: int, batches: int, request_seconds: float) -> None:
        self._run = run
        self._request_seconds = request_seconds
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._batches = batches
        self._queue: deque[_Entry] = deque()
        self._by_id: dict[str, _Entry] = {}
        self._running = 0
        self._drains: set[asyncio.Task[None]] = set()

    async def increment(self, key: str, entry_id: str | None) -> tuple[int, RequestCost]:
        """Waits for the commit of this increment's batch. A full queue is 503, aborted."""
        if entry_id is not None and (duplicate := self._by_id.get(entry_id)):
            if duplicate.key != key:
                raise unprocessable("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used for another counter")
            try:
                value, cost = await asyncio.shield(duplicate.answer)
            except ServiceError as error:
                raise error.again() from None
            # The first request with this id has the share of the batch's counts.
            return value, RequestCost(pool_wait_ms=cost.pool_wait_ms, transactions=0, backend=cost.backend)
        if len(self._queue) >= self._max_queue:
            raise ServiceError(503, "COALESCE_FULL", "too many increments are waiting for a batch")
        entry = _Entry(key, entry_id)
        self._queue.append(entry)
        if entry_id is not None:
            self._by_id[entry_id] = entry
        if self._running < self._batches:
            # A task counts as running until its last check of the queue, not until its callbacks have run: an
            # increment in between would count on a drain that does not check the queue again.
            self._running += 1
            task = asyncio.get_running_loop().create_task(self._drain())
            self._drains.add(task)
            task.add_done_callback(self._drains.discard)
        return await asyncio.shield(entry.answer)

    async def close(self) -> None:
        """Waits until all accepted increments are answered."""
        await asyncio.gather(*self._drains)

    async def _drain(self) -> None:
        try:
            while self._queue:
                size = min(len(self._queue), self._max_batch)
                await self._answer([self._queue.popleft() for _ in range(size)])
        finally:
            self._running -= 1

    async def _answer(self, batch: Sequence[_Entry]) -> None:
        """Commits a batch and answers its requests. A refused batch is halved until the refused request is alone.

        PostgreSQL refuses (422) the whole statement if one counter is at its limit; the other counters are not.
        """
        started = perf_counter()
        failure = ServiceError(500, "INTERNAL", "the batch was interrupted", "unknown")
        halves: tuple[Sequence[_Entry], ...] = ()
        try:
            await self._commit(batch, started)
        except ServiceError as error:
            failure = error
            if error.status == 422 and len(batch) > 1:
                middle = len(batch) // 2
                halves = (batch[:middle], batch[middle:])
        finally:
            for entry in () if halves else batch:
                if entry.entry_id is not None:
                    del self._by_id[entry.entry_id]
                if not entry.answer.done():
                    share = failure.cost and _share(failure.cost, batch, started, entry)
                    entry.answer.set_exception(failure.again(share))
                    entry.answer.exception()  # marks it as retrieved: a disconnected client does not
        for half in halves:
            for entry in half:
                if failure.cost:
                    entry.retries += failure.cost.retries / len(batch)
                    entry.transactions += failure.cost.transactions / len(batch)
            await self._answer(half)

    async def _commit(self, batch: Sequence[_Entry], started: float) -> None:
        ids = sum(entry.entry_id is not None for entry in batch)
        statement = _with_ledger if ids else _plain
        results, cost = await self._run(
            lambda connection: statement(connection, batch),
            due=batch[0].since + self._request_seconds,
            repeatable=ids == len(batch),
        )
        for entry, result in zip(batch, results, strict=True):
            share = _share(cost, batch, started, entry)
            try:
                value = replayed_value(entry.key, result)
            except ServiceError as error:
                entry.answer.set_exception(error.again(share))
                entry.answer.exception()
                continue
            entry.answer.set_result((value, share))


def _share(cost: RequestCost, batch: Sequence[_Entry], started: float, entry: _Entry) -> RequestCost:
    """Returns the cost of one request of a batch of that cost, which began at `started`."""
    return RequestCost(
        pool_wait_ms=(started - entry.since) * 1000 + cost.pool_wait_ms,
        retries=entry.retries + cost.retries / len(batch),
        transactions=entry.transactions + cost.transactions / len(batch),
        backend=cost.backend,
    )


async def _plain(connection: PgConnection, batch: Sequence[_Entry]) -> list[Increment]:
    """Runs a batch without ledger ids: sends each key once, assigns the values in the order of arrival."""
    counts = Counter(entry.key for entry in batch)
    rows = await connection.autocommit(_BATCH, (list(counts), list(counts.values())))
    before = {key: value - counts[key] for key, value in rows}
    answers = []
    for entry in batch:
        before[entry.key] += 1
        answers.append((entry.key, before[entry.key]))
    return answers


async def _with_ledger(connection: PgConnection, batch: Sequence[_Entry]) -> list[Increment]:
    """Runs a batch with ledger ids: the statement skips the ids that the ledger has, and numbers the rest."""
    parameters = ([entry.key for entry in batch], [entry.entry_id for entry in batch])
    return [(key, value) for _, key, value in await connection.autocommit(_BATCH_ONCE, parameters)]
