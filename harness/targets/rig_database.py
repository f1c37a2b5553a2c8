"""The database of a rig during a bench: reset before each trial, and read; its errors name its host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg

from harness.errors import RigError


class RigDatabase:
    """One autocommit connection as the harness's role. `host`: the name of the database host."""

    def __init__(self, connection: psycopg.Connection[Any], host: str) -> None:
        self.connection, self._host = connection, host

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turns an error of the database, or a lost connection, into a RigError that names its host."""
        try:
            yield
        except psycopg.Error as error:
            raise RigError(
                f"{self._host}: PostgreSQL: {' '.join(str(error).split())[:300]}",
                hint="measured trials are kept; see ./run status, then resume with: bench --resume RUN",
            ) from error

    def one(self, sql: str) -> tuple[Any, ...]:
        """Returns the first row of a query that has one."""
        row = self.connection.execute(sql.encode()).fetchone()
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
        with self.errors(), self._warnings() as warnings:
            self.connection.execute("TRUNCATE counters, data, ledger RESTART IDENTITY")
            self.connection.execute("VACUUM ANALYZE counters, data, ledger")
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

        self.connection.add_notice_handler(collect)
        try:
            yield warnings
        finally:
            self.connection.remove_notice_handler(collect)
