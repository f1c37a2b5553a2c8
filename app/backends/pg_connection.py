"""A PostgreSQL connection that runs statements and tracks whether one may have committed."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from time import perf_counter
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor, Error
from psycopg.pq import TransactionStatus

Row = tuple[Any, ...]


class PgConnection:
    """A connection in autocommit with one cursor, and the state that error handling needs."""

    def __init__(self, connection: AsyncConnection[Row], *, prepare: bool) -> None:
        self._connection = connection
        self._cursor = AsyncRawCursor(connection)
        self._prepare = prepare
        self.backend = connection.pgconn.backend_pid
        """Process id of the session on the server."""
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)
        self.idle_since = 0.0
        self.in_doubt = False
        """True while a statement that can commit is running."""
        self.ended = False
        """True once its session has ended."""
        self.due = inf
        """Until when its request may last, in seconds of perf_counter."""
        self.cancelled_at = 0.0
        """When it was cancelled, in seconds of perf_counter. Then no other request uses it: the server may be late."""
        self.transactions = 0
        """Database transactions begun since the connection was taken from the pool."""

    async def query(self, sql: str, parameters: Sequence[Any] | None = None) -> list[Row]:
        """Runs one statement of an open transaction, or one that only reads."""
        prepare = self._prepare and parameters is not None
        cursor = await self._cursor.execute(sql, parameters, prepare=prepare)
        result = cursor.pgresult  # `description` would build an object per column
        return await cursor.fetchall() if result and result.nfields else []

    async def read(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        """Runs one statement as its own transaction, which only reads."""
        self.transactions += 1
        return await self.query(sql, parameters)

    async def autocommit(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        """Runs one statement as its own transaction, which may write."""
        self.transactions += 1
        self.in_doubt = True
        rows = await self.query(sql, parameters)
        self.in_doubt = False
        return rows

    async def transaction(self, begin: str, work: Callable[[PgConnection], Awaitable[Any]]) -> Any:
        """Runs `work` between `begin` and COMMIT; rolls back if it raises."""
        self.transactions += 1
        try:
            await self.query(begin)
            result = await work(self)
            self.in_doubt = True
            await self.query("COMMIT")
        except Exception:  # any exception is re-raised, after the open transaction is rolled back
            if self._connection.pgconn.transaction_status in {
                TransactionStatus.INTRANS,
                TransactionStatus.INERROR,
            }:
                await self._roll_back()
            raise
        self.in_doubt = False
        return result

    async def _roll_back(self) -> None:
        # psycopg drops all prepared statements at a ROLLBACK, because DDL may have run before it. There is no DDL here,
        # and a strategy with many retries would prepare its statements again at each retry.
        threshold, self._connection.prepare_threshold = self._connection.prepare_threshold, None
        try:
            await self.query("ROLLBACK")
        finally:
            self._connection.prepare_threshold = threshold

    @property
    def idle(self) -> bool:
        """Whether the connection works and has no open transaction, as far as the client knows."""
        return self._connection.pgconn.transaction_status == TransactionStatus.IDLE

    def silent(self) -> bool:
        """Returns False if the server sent data while the connection was idle: it is closing the connection."""
        return not self._poll.poll(0)

    async def cancel(self, seconds: float) -> None:
        """Asks the server to cancel the running statement; gives up after `seconds`."""
        self.cancelled_at = perf_counter()
        with contextlib.suppress(Error, OSError):
            await self._connection.cancel_safe(timeout=seconds)

    def disconnect(self) -> None:
        """Shuts the socket down, so that the running statement fails: its session has ended."""
        self.cancelled_at = perf_counter()
        with contextlib.suppress(Error, OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends the session at once, even if a statement is running."""
        self._connection.pgconn.finish()
