"""The SQLite backends: one file shared by all instances; each has one writer thread and several reader threads.

    sqlite-naive   as the original system: rollback journal, no busy timeout, deferred transactions that read
                   first; a locked file is SQLITE_BUSY at once
    sqlite-tuned   WAL, synchronous=FULL (as durable as PostgreSQL's default), BEGIN IMMEDIATE, busy timeout

The profile determines how an increment is done, so `upsert` is the only strategy.
sqlite3 blocks, so all calls run in threads, none in the event loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn, TypeVar

from app.backends.base import CostTotals, Isolation, PoolStats, RequestCost
from app.backends.filesystem import refuse_network
from app.backends.strategies import replayed_value
from app.errors import ServiceError, from_sqlite, sqlite_code, unprocessable
from app.settings import Settings

Result = TypeVar("Result")

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, value INTEGER NOT NULL DEFAULT 0,"
    " last_modified TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)",
    "CREATE TABLE IF NOT EXISTS data (id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " content TEXT NOT NULL CHECK (length(content) <= 65536),"
    " container_id TEXT, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)",
    "CREATE INDEX IF NOT EXISTS idx_data_created_at ON data (created_at)",
    "CREATE TABLE IF NOT EXISTS ledger (id TEXT PRIMARY KEY, key TEXT NOT NULL, value INTEGER NOT NULL,"
    " created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)",
)
_MAX_VALUE = 2**63 - 1
"""The largest INTEGER (SQLite, "Datatypes"); `value + 1` in SQL would become a REAL, and sqlite3 cannot bind it."""
_BUSY_SECONDS = 10.0
_START_SECONDS = 20.0
_READ_BACK = ("journal_mode", "synchronous", "busy_timeout", "wal_autocheckpoint", "page_size", "cache_size")


class SqliteBackend:
    """See `base.Backend`."""

    strategies: Sequence[str] = ("upsert",)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.cost_totals = CostTotals()
        self._tuned = settings.backend == "sqlite-tuned"
        self._path = Path(settings.sqlite_path)
        self._begin = "BEGIN IMMEDIATE" if self._tuned else "BEGIN DEFERRED"
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._facts: dict[str, Any] = {}
        self._peak = 0
        self._waiting = 0
        self._running = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._readers = ThreadPoolExecutor(settings.pool_size, thread_name_prefix="sqlite-reader")

    async def open(self) -> None:
        refuse_network(self._path.parent)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._prepare_file)

    async def close(self) -> None:
        for threads in (self._writer, self._readers):
            await asyncio.get_running_loop().run_in_executor(None, threads.shutdown)
        for connection in self._opened:
            connection.close()

    async def increment(self, key: str, strategy: str, entry_id: str | None) -> tuple[int, RequestCost]:  # noqa: ARG002
        return await self._write(lambda connection: _increment(connection, key, entry_id))

    async def counter(self, key: str) -> int | None:
        rows, _ = await self._read("SELECT value FROM counters WHERE key = ?", (key,))
        return int(rows[0][0]) if rows else None

    async def bulk_insert(self, rows: Sequence[str]) -> tuple[list[int], RequestCost]:
        container = self._settings.container_id

        def work(connection: sqlite3.Connection) -> list[int]:
            insert = "INSERT INTO data (content, container_id) VALUES (?, ?)"
            return [connection.execute(insert, (row, container)).lastrowid or 0 for row in rows]

        return await self._write(work)

    async def transaction(
        self,
        keys: Sequence[str],
        hold_ms: float,
        *,
        retry: bool,  # noqa: ARG002 -- one lock for the whole file: no deadlocks
    ) -> tuple[list[int], RequestCost]:
        def work(connection: sqlite3.Connection) -> list[int]:
            for _ in keys:
                connection.execute("SELECT value FROM counters LIMIT 1").fetchall()
                time.sleep(hold_ms / 1000)
            return [_increment(connection, key, None) for key in keys]

        if not keys:
            _, cost = await self._read("SELECT sleep(?)", (hold_ms / 1000,), counts=True)
            return [], cost
        return await self._write(work)

    async def list_transaction(self, *_: Any, **__: Any) -> NoReturn:
        raise unprocessable("TXN_NOT_OFFERED", "SQLite does not offer transactions over lists")

    async def isolation(self, level: str) -> Isolation:
        if level != "SERIALIZABLE":
            raise unprocessable("LEVEL_NOT_OFFERED", "SQLite runs every transaction SERIALIZABLE")
        names = ("key", "value", "last_modified")

        def work(connection: sqlite3.Connection) -> Isolation:
            rows = connection.execute("SELECT key, value, last_modified FROM counters LIMIT 10").fetchall()
            # SQLite's only setting of a level: whether connections that share a cache may read dirty pages.
            (dirty,) = connection.execute("PRAGMA read_uncommitted").fetchone()
            observed = "READ UNCOMMITTED" if dirty else "SERIALIZABLE"
            return Isolation(observed=observed, rows=[dict(zip(names, row, strict=True)) for row in rows])

        result, _ = await self._in_thread(
            self._readers, lambda: self._transaction(work, begin="BEGIN DEFERRED"), counts=False
        )
        return result

    async def database_time(self) -> str:
        # The clock alone would not access the file.
        ((now, _tables),), _ = await self._read(
            "SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'), (SELECT count(*) FROM sqlite_master)", ()
        )
        return str(now)

    async def totals(self) -> dict[str, int | None]:
        ((data, counters, most, own),), _ = await self._read(
            "SELECT (SELECT count(*) FROM data), (SELECT count(*) FROM counters),"
            " (SELECT max(value) FROM counters), (SELECT count(*) FROM data WHERE container_id = ?)",
            (self._settings.container_id,),
        )
        return {
            "total_records": data,
            "total_counters": counters,
            "max_counter_value": most,
            "container_records": own,
        }

    def lost(self) -> ServiceError | None:
        return None  # the file was opened before the first request

    def pool_stats(self) -> PoolStats:
        total = len(self._opened)
        idle = max(0, total - self._running)
        return PoolStats(total=total, idle=idle, waiting=self._waiting, peak=max(self._peak, total))

    def facts(self) -> dict[str, Any]:
        return dict(self._facts)

    # These run in the event loop.

    async def _write(self, work: Callable[[sqlite3.Connection], Result]) -> tuple[Result, RequestCost]:
        return await self._in_thread(self._writer, lambda: self._transaction(work, begin=self._begin), counts=True)

    async def _read(
        self, sql: str, parameters: Sequence[Any], *, counts: bool = False
    ) -> tuple[list[tuple[Any, ...]], RequestCost]:
        def work() -> list[tuple[Any, ...]]:
            try:
                return self._connection().execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise from_sqlite(error, in_doubt=False) from None

        return await self._in_thread(self._readers, work, counts=counts)

    async def _in_thread(
        self, threads: ThreadPoolExecutor, work: Callable[[], Result], *, counts: bool
    ) -> tuple[Result, RequestCost]:
        if self._waiting >= self._settings.pool_max_waiting:
            raise ServiceError(503, "POOL_FULL", "too many requests are waiting for the database file")
        queued = perf_counter()
        loop = asyncio.get_running_loop()
        waited_ms, begun = 0.0, 0

        def job() -> Result:
            nonlocal waited_ms, begun
            loop.call_soon_threadsafe(self._started)
            waited_ms = (perf_counter() - queued) * 1000
            if waited_ms > self._settings.pool_wait_seconds * 1000:
                raise ServiceError(503, "POOL_TIMEOUT", "the database file did not become free in time")
            begun = 1
            try:
                return work()
            except ServiceError as error:
                error.cost = RequestCost(pool_wait_ms=waited_ms)
                raise

        self._waiting += 1
        try:
            result = await loop.run_in_executor(threads, job)
        finally:
            self._running -= 1
            self.cost_totals.transactions += begun if counts else 0
            self._peak = max(self._peak, len(self._opened))
        return result, RequestCost(pool_wait_ms=waited_ms)

    def _started(self) -> None:
        self._waiting -= 1
        self._running += 1

    # These run in a thread.

    def _connection(self) -> sqlite3.Connection:
        """Returns this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path,
                timeout=_BUSY_SECONDS if self._tuned else 0.0,
                isolation_level=None,  # no implicit BEGIN and COMMIT
                check_same_thread=False,  # another thread closes it after its own has ended
            )
            self._local.connection = connection
            self._opened.append(connection)
            connection.create_function("sleep", 1, time.sleep)  # in seconds, as PostgreSQL's pg_sleep
            connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _transaction(self, work: Callable[[sqlite3.Connection], Result], *, begin: str) -> Result:
        committing = False
        try:
            connection = self._connection()
            connection.execute(begin)
            result = work(connection)
            committing = True
            connection.execute("COMMIT")
        except BaseException as error:  # any: an open transaction would keep the lock of the whole file
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                raise from_sqlite(error, in_doubt=committing) from None
            raise
        return result

    def _roll_back(self) -> None:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None and connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                # After the close, the next connection that opens the file rolls back the journal.
                connection.close()
                self._opened.remove(connection)
                del self._local.connection

    def _prepare_file(self) -> None:
        """Makes the tables, sets the journal mode and reads it back. Retries, because instances start together."""
        wanted = "wal" if self._tuned else "delete"
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                connection = self._connection()
                ((effective,),) = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchall()
                for statement in _SCHEMA:
                    connection.execute(statement)
                break
            except sqlite3.Error as error:
                if sqlite_code(error) != "SQLITE_BUSY" or time.monotonic() > deadline:
                    raise RuntimeError(f"the SQLite file {self._path} cannot be prepared: {error}") from None
                time.sleep(0.05)
        if effective != wanted:
            raise RuntimeError(f"the SQLite file {self._path} has journal mode {effective}, expected {wanted}")
        self._facts = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _READ_BACK}
        self._facts |= {"sqlite_version": sqlite3.sqlite_version, "begin": self._begin}


def _increment(connection: sqlite3.Connection, key: str, entry_id: str | None) -> int:
    """Reads, then writes, in the open transaction: correct, because a transaction has the file to itself."""
    if entry_id is not None:
        entry = connection.execute("SELECT key, value FROM ledger WHERE id = ?", (entry_id,)).fetchone()
        if entry:
            return replayed_value(key, entry)
    row = connection.execute("SELECT value FROM counters WHERE key = ?", (key,)).fetchone()
    if row:
        if type(row[0]) is not int or row[0] >= _MAX_VALUE:
            raise unprocessable("OUT_OF_RANGE", f"the counter's value is {_MAX_VALUE}, the largest, or not an integer")
        value = row[0] + 1
        connection.execute(
            "UPDATE counters SET value = ?, last_modified = CURRENT_TIMESTAMP WHERE key = ?", (value, key)
        )
    else:
        value = 1
        connection.execute("INSERT INTO counters (key, value) VALUES (?, 1)", (key,))
    if entry_id is not None:
        connection.execute("INSERT INTO ledger (id, key, value) VALUES (?, ?, ?)", (entry_id, key, value))
    return value
