"""The PostgreSQL backend: pool, strategies, retries with jitter, classified errors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from time import perf_counter
from typing import Any, TypeVar

import psycopg

from app.backends import base, list_operations
from app.backends.base import CostTotals, Isolation, PoolStats, RequestCost
from app.backends.coalesce import Coalescer
from app.backends.pg_connection import PgConnection
from app.backends.pool import Pool
from app.backends.strategies import STRATEGIES, LostRaceError, hold, lock_and_increment
from app.backends.watch import Watch
from app.errors import CONFLICTS, ServiceError, ended_session, from_postgres
from app.list_transaction import ListTransaction
from app.list_transaction import Result as ListResult
from app.settings import Settings

Result = TypeVar("Result")

_BEGIN = {level: f"BEGIN ISOLATION LEVEL {level}" for level in base.LEVELS}
_BULK = """
    INSERT INTO data (content, container_id)
    SELECT content, $2 FROM unnest($1::text[]) WITH ORDINALITY AS row (content, place) ORDER BY place
    RETURNING id
"""
_TOTALS = """
    SELECT (SELECT count(*) FROM data), (SELECT count(*) FROM counters), (SELECT max(value) FROM counters),
           (SELECT count(*) FROM data WHERE container_id = $1)
"""
_LOWER_LIMITS = """
    SELECT set_config(name, most || 'ms', false) FROM unnest($1::text[], $2::int[]) AS wanted (name, most)
    WHERE (SELECT now = interval '0' OR now > most * interval '1 ms'
           FROM (SELECT current_setting(name)::interval) AS setting (now))
"""
"""Sets each time-out that the role or the server does not limit already to as much or less; 0 is no limit."""
_SESSIONS = 3
"""Sessions that a request may use, if each of them ends."""
_JITTER_MS = (1.0, 50.0)
"""Backoff after a lost conflict: a random wait up to the first value, doubled per retry, at most the second."""


class PostgresBackend:
    """See `base.Backend`."""

    strategies: Sequence[str] = (*STRATEGIES, "coalesce")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.cost_totals = CostTotals()
        self._version = ""
        self._pool = Pool(
            self._connect,
            size=settings.pool_size,
            minimum=settings.pool_min,
            idle_seconds=settings.pool_idle_seconds,
            wait_seconds=min(settings.pool_wait_seconds, settings.request_seconds),
            max_waiting=settings.pool_max_waiting,
        )
        self._coalescer = Coalescer(
            self._run,
            max_batch=settings.coalesce_max_batch,
            max_queue=settings.coalesce_max_queue,
            batches=settings.coalesce_batches,
            request_seconds=settings.request_seconds,
        )
        self._watch = Watch(self._pool, settings.postgres_host, settings.postgres_port)

    async def open(self) -> None:
        self._pool.open()
        self._watch.start()

    async def close(self) -> None:
        await self._coalescer.close()
        await self._watch.close()
        await self._pool.close()

    async def increment(self, key: str, strategy: str, entry_id: str | None) -> tuple[int, RequestCost]:
        if strategy == "coalesce":
            return await self._coalescer.increment(key, entry_id)
        increment = STRATEGIES[strategy]
        return await self._run(lambda connection: increment(connection, key, entry_id), repeatable=entry_id is not None)

    async def counter(self, key: str) -> int | None:
        rows = await self._read("SELECT value FROM counters WHERE key = $1", (key,))
        return int(rows[0][0]) if rows else None

    async def bulk_insert(self, rows: Sequence[str]) -> tuple[list[int], RequestCost]:
        parameters = (list(rows), self._settings.container_id)
        ids, cost = await self._run(lambda connection: connection.autocommit(_BULK, parameters))
        return [int(row[0]) for row in ids], cost

    async def transaction(self, keys: Sequence[str], hold_ms: float, *, retry: bool) -> tuple[list[int], RequestCost]:
        work = lock_and_increment if keys else hold
        limit = self._settings.retry_limit if retry else 0
        due = perf_counter() + self._settings.request_seconds + max(1, len(keys)) * hold_ms / 1000
        return await self._run(lambda connection: work(connection, keys, hold_ms), limit=limit, due=due)

    async def list_transaction(
        self, request: ListTransaction, entry_id: str | None
    ) -> tuple[list[ListResult], RequestCost]:
        return await self._run(lambda connection: list_operations.run(connection, request, entry_id), limit=0)

    async def isolation(self, level: str) -> Isolation:
        async def work(connection: PgConnection) -> Isolation:
            ((observed,),) = await connection.query("SHOW transaction_isolation")
            rows = await connection.query("SELECT key, value, last_modified FROM counters LIMIT 10")
            names = ("key", "value", "last_modified")
            return Isolation(
                observed=str(observed).upper(),
                rows=[dict(zip(names, (key, value, at.isoformat()), strict=True)) for key, value, at in rows],
            )

        result: Isolation
        result, _ = await self._run(lambda connection: connection.transaction(_BEGIN[level], work))
        return result

    async def database_time(self) -> str:
        ((now,),) = await self._read("SELECT now()", (), urgent=True)
        return str(now.isoformat())

    async def totals(self) -> dict[str, int | None]:
        ((data, counters, most, own),) = await self._read(_TOTALS, (self._settings.container_id,), urgent=True)
        return {
            "total_records": data,
            "total_counters": counters,
            "max_counter_value": most,
            "container_records": own,
        }

    def lost(self) -> ServiceError | None:
        return self._watch.reason

    def pool_stats(self) -> PoolStats:
        return self._pool.stats()

    def facts(self) -> dict[str, Any]:
        return {"server_version": self._version} if self._version else {}

    async def _connect(self) -> PgConnection:
        settings = self._settings
        connection = await psycopg.AsyncConnection.connect(
            host=settings.postgres_host,
            port=settings.postgres_port,
            dbname=settings.postgres_db,
            user=settings.postgres_user,
            password=settings.postgres_password or None,
            sslmode=settings.postgres_sslmode,
            sslrootcert=settings.postgres_sslrootcert or None,
            application_name=settings.container_id,
            connect_timeout=settings.pool_timeout_seconds,
            # Detects a host that has gone within 3 s, whether or not data is on the way.
            keepalives_idle=1,
            keepalives_interval=1,
            keepalives_count=2,
            tcp_user_timeout=3_000,
            prepare_threshold=5 if settings.prepare else None,
            autocommit=True,
        )
        if settings.prepare:  # behind PgBouncer a setting would stay with a session that other clients use
            await self._lower_limits(connection)
        self._version = connection.info.parameter_status("server_version") or ""
        return PgConnection(connection, prepare=bool(settings.prepare))

    async def _lower_limits(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        """Applies the service's own time-outs where they are shorter than those of the role. Closes it on failure."""
        settings = self._settings
        limits = {
            "statement_timeout": settings.statement_timeout_ms,
            "lock_timeout": settings.lock_timeout_ms,
            "idle_in_transaction_session_timeout": settings.idle_transaction_ms,
        }
        limits = {name: most for name, most in limits.items() if most}
        cursor = psycopg.AsyncRawCursor(connection)
        try:
            query = cursor.execute(_LOWER_LIMITS, (list(limits), list(limits.values())))
            await asyncio.wait_for(query, settings.pool_timeout_seconds)
        except BaseException as error:
            connection.pgconn.finish()
            if isinstance(error, asyncio.TimeoutError):
                raise psycopg.OperationalError("the login did not end in time") from None
            raise

    async def _read(self, sql: str, parameters: Sequence[Any], *, urgent: bool = False) -> list[tuple[Any, ...]]:
        """Runs one reading statement; an `urgent` one (monitoring) does not wait behind the load."""
        wait = self._settings.pool_timeout_seconds if urgent else inf
        connection = await self._pool.acquire(urgent=urgent, wait_seconds=wait)
        connection.due = perf_counter() + self._settings.request_seconds
        try:
            return await connection.query(sql, parameters)
        except psycopg.Error as error:
            raise from_postgres(error, in_doubt=False) from None
        finally:
            self._pool.release(connection)

    async def _run(
        self,
        work: Callable[[PgConnection], Awaitable[Result]],
        *,
        limit: int | None = None,
        due: float | None = None,
        repeatable: bool = False,
    ) -> tuple[Result, RequestCost]:
        """Runs work that writes; retries it after a lost conflict, at most `limit` times, until `due`.

        If its session ends, it is retried in another one if nothing was applied, or if it is `repeatable`: done twice,
        it has the effect of once. `due` is in seconds of perf_counter.
        """
        limit = self._settings.retry_limit if limit is None else limit
        asked = perf_counter()
        due = asked + self._settings.request_seconds if due is None else due
        failure: ServiceError | None = None
        for _ in range(_SESSIONS):
            if asked > due:
                break
            try:
                connection = await self._pool.acquire(wait_seconds=due - asked)
            except ServiceError as error:
                raise failure or error from None
            connection.due = due
            waited_ms = (perf_counter() - asked) * 1000
            try:
                result, cost = await self._retry(work, connection, limit, waited_ms)
            except ServiceError as error:
                if failure and error.cost:
                    error.cost += failure.cost
                if failure and failure.outcome == "unknown":  # whatever the retry says
                    failure.cost = error.cost
                else:
                    failure = error
                if not (connection.ended and limit and (repeatable or error.outcome == "aborted")):
                    break
            else:
                return result, cost + failure.cost if failure else cost
            finally:
                self.cost_totals.transactions += connection.transactions
                self._pool.release(connection)
            asked = perf_counter()
        raise failure or ServiceError(503, "REQUEST_TIMEOUT", "the request waited too long")

    async def _retry(
        self, work: Callable[[PgConnection], Awaitable[Result]], connection: PgConnection, limit: int, waited_ms: float
    ) -> tuple[Result, RequestCost]:
        retries = 0
        while True:
            connection.in_doubt = again = False
            try:
                result = await work(connection)
            except LostRaceError:
                failure, again = ServiceError(409, "LOST_RACE", "another request changed the counter first"), True
            except psycopg.Error as error:
                failure = from_postgres(error, in_doubt=connection.in_doubt)
                again = error.sqlstate in CONFLICTS and connection.idle
                connection.ended = ended_session(error)
            except ServiceError as error:
                failure = error
            else:
                return result, _cost(connection, waited_ms, retries)
            if not again or retries == limit or perf_counter() > connection.due:
                failure.cost = _cost(connection, waited_ms, retries)
                raise failure
            retries += 1
            self.cost_totals.retries += 1
            first_ms, most_ms = _JITTER_MS
            await asyncio.sleep(random.uniform(0, min(most_ms, first_ms * 2 ** min(retries, 10))) / 1000)


def _cost(connection: PgConnection, pool_wait_ms: float, retries: int) -> RequestCost:
    return RequestCost(
        pool_wait_ms=pool_wait_ms,
        retries=retries,
        transactions=connection.transactions,
        backend=connection.backend,
    )
