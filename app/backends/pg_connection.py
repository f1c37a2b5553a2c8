"""One PostgreSQL connection: what is run on it, and what must be known of it when something fails."""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.pq import TransactionStatus

Row = tuple[Any, ...]


class PgConnection:
    """A connection in autocommit with one cursor, and what must be known of it when something fails."""

    def __init__(self, connection: AsyncConnection[Row], *, prepare: bool) -> None:
        self._connection = connection
        self._cursor = AsyncRawCursor(connection)
        self._prepare = prepare
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)
        self.idle_since = 0.0
        self.in_doubt = False
        """A statement that can commit is under way."""
        self.transactions = 0
        """Database transactions begun since the link was taken from the pool."""

    async def query(self, sql: str, parameters: Sequence[Any] | None = None) -> list[Row]:
        """Run one statement of an open transaction, or one that only reads."""
        prepare = self._prepare and parameters is not None
        cursor = await self._cursor.execute(sql, parameters, prepare=prepare)
        result = cursor.pgresult  # `description` would build an object for each column
        return await cursor.fetchall() if result and result.nfields else []

    async def autocommit(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        """Run one statement that is a transaction of its own and may write."""
        self.transactions += 1
        self.in_doubt = True
        rows = await self.query(sql, parameters)
        self.in_doubt = False
        return rows

    async def transaction(self, begin: str, work: Callable[[PgConnection], Awaitable[Any]]) -> Any:
        """Run `work` between `begin` and COMMIT, or roll back what it raises."""
        self.transactions += 1
        try:
            await self.query(begin)
            result = await work(self)
            self.in_doubt = True
            await self.query("COMMIT")
        except Exception:  # whatever it is: it goes on from here, but not with an open transaction
            if self._connection.pgconn.transaction_status in {
                TransactionStatus.INTRANS,
                TransactionStatus.INERROR,
            }:
                await self._roll_back()
            raise
        self.in_doubt = False
        return result

    async def _roll_back(self) -> None:
        # psycopg forgets all prepared statements at a ROLLBACK, lest there was DDL before it. Here is none, and a
        # strategy that lives by retries would prepare everything again for each.
        threshold, self._connection.prepare_threshold = self._connection.prepare_threshold, None
        try:
            await self.query("ROLLBACK")
        finally:
            self._connection.prepare_threshold = threshold

    @property
    def idle(self) -> bool:
        """In working order and outside a transaction, as far as the client knows."""
        return self._connection.pgconn.transaction_status == TransactionStatus.IDLE

    def silent(self) -> bool:
        """False when the server has spoken unasked: it has closed the connection, or is about to."""
        return not self._poll.poll(0)

    def close(self) -> None:
        """End the session; at once, without a word to the server if a statement is under way."""
        self._connection.pgconn.finish()
