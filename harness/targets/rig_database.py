"""The database of a rig during a bench: reset before each trial, and read; its errors name its host."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

import psycopg

from harness.errors import RigError

Connection = psycopg.Connection[Any]
T = TypeVar("T")
LOST_S = 2.0
"""A connection that was lost earlier fails within this time."""
SILENT_S = 30.0
"""For so long a host that was found silent is not read: each reading would wait for its own deadline."""


class RigDatabase:
    """An autocommit connection as the harness's role, opened again where it was lost. Use as a context manager.

    `connect` opens one, `host` is the name of the database host, `is_alive` asks it for a sign of life.
    """

    def __init__(
        self,
        connect: Callable[[], contextlib.AbstractContextManager[Connection]],
        host: str,
        is_alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._connect, self.host, self._is_alive = connect, host, is_alive
        self._unread_until_s = 0.0
        self._connection: Connection | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.connection  # noqa: B018  # opens it, so that a server that is down is reported at the start
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connection(self) -> Connection:
        """The open connection; a new one after an error that ended the last. Raises RigError."""
        if self._connection is None or self._connection.closed:
            self.close()
            self._connection = self._stack.enter_context(self._connect())
        return self._connection

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        if self._connection is not None:
            self._connection.close()  # first: psycopg's own `with` leaves it open where its COMMIT fails
            self._connection = None
        with contextlib.suppress(psycopg.Error, OSError):
            self._stack.close()

    def is_silent(self) -> bool:
        """Asks the host for a sign of life; without one, readings fail at once for the next `SILENT_S`."""
        silent = not self._is_alive()
        self._unread_until_s = time.monotonic() + SILENT_S if silent else 0.0
        if silent:
            self.close()
        return silent

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turns an error of the database, or a lost connection, into a RigError that names its host."""
        try:
            yield
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                self.close()
            raise RigError(
                f"{self.host}: PostgreSQL: {' '.join(str(error).split())[:300]}",
                hint="measured trials are kept; see ./run status, then resume with: bench --resume RUN",
            ) from error

    def reading(self, query: Callable[[Connection], T]) -> T:
        """Returns the result of a query that may run twice: once more on a new connection where the first is lost.

        A server that was silent until the deadline is not asked again. Raises RigError.
        """
        started = time.monotonic()
        if started < self._unread_until_s:
            raise RigError(f"{self.host}: the host gives no sign of life", hint="see ./run status")
        with self.errors():
            try:
                return query(self.connection)
            except psycopg.OperationalError:
                if time.monotonic() - started > LOST_S:
                    raise
        self.close()
        with self.errors():
            return query(self.connection)

    def one(self, sql: str) -> tuple[Any, ...]:
        """Returns the first row of a query that has one. Raises RigError."""
        row = self.reading(lambda connection: connection.execute(sql.encode()).fetchone())
        assert row is not None
        return tuple(row)

    def reset(self) -> list[str]:
        """Empties and vacuums the tables and makes a checkpoint: every trial starts from the same state.

        This comes before the warm-up and not between it and the measured window. The first change of a page after a
        checkpoint writes the whole page to the log (full_page_writes); in a steady state few changes do. The warm-up
        bears that cost. And the next timed checkpoint is a whole checkpoint_timeout (5 minutes) away, later than the
        end of an ordinary trial's window.
        Returns a message for each step that the harness's role may not do.
        """
        self._unread_until_s = 0.0
        self.one("SELECT 1")  # opens the connection again where the last trial lost it
        with self.errors(), self._warnings() as warnings:
            self.connection.execute("TRUNCATE counters, data, ledger, lists RESTART IDENTITY")
            self.connection.execute("VACUUM ANALYZE counters, data, ledger, lists")
            messages = [f"the tables were not vacuumed before each trial: {warning}" for warning in warnings]
            try:
                self.connection.execute("CHECKPOINT")
            except psycopg.errors.InsufficientPrivilege:  # PostgreSQL 14 has no pg_checkpoint
                messages.append("no CHECKPOINT before each trial: the harness's role may not (pg_checkpoint)")
        return messages

    @contextlib.contextmanager
    def _warnings(self) -> Iterator[list[str]]:
        """Collects the warnings that the server sends while the context lasts."""
        warnings: list[str] = []

        def collect(notice: psycopg.errors.Diagnostic) -> None:
            if notice.severity_nonlocalized == "WARNING":
                warnings.append(notice.message_primary or "")

        connection = self.connection
        connection.add_notice_handler(collect)
        try:
            yield warnings
        finally:
            connection.remove_notice_handler(collect)
