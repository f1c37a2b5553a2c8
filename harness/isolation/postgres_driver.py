"""Session driver for PostgreSQL: one connection per session, and an observer that queries pg_blocking_pids.

PostgreSQL grants a released lock before it answers COMMIT, so after a step has ended the observer reads the state
that this step led to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from harness.errors import RigError, UsageError
from harness.isolation.case_model import Level
from harness.isolation.stepper import LIMIT_S, StatementError
from harness.isolation.transcript import Rows

BEGIN: Mapping[Level, str] = {
    "READ UNCOMMITTED": "BEGIN ISOLATION LEVEL READ UNCOMMITTED",
    "READ COMMITTED": "BEGIN ISOLATION LEVEL READ COMMITTED",
    "REPEATABLE READ": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "SERIALIZABLE": "BEGIN ISOLATION LEVEL SERIALIZABLE",
}
BLOCKERS = "SELECT pid, pg_blocking_pids(pid) FROM unnest(%s::int[]) AS pid"
SETTINGS = (
    "deadlock_timeout",
    "default_transaction_isolation",
    "lock_timeout",
    "max_connections",
    "max_pred_locks_per_transaction",
    "statement_timeout",
)


class Postgres:
    """One server, one scratch schema. Context manager; an advisory lock keeps a second run out of the schema."""

    level_sql = "SHOW transaction_isolation"

    def __init__(self, dsn: str, schema: str, *, limit_s: float = LIMIT_S) -> None:
        """Connects the observer. The role needs CREATE on `schema`, which must exist.

        Raises UsageError for an invalid schema name or DSN, RigError if the server cannot be reached.
        """
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
            raise UsageError(
                f"invalid schema name {schema!r}", hint="use lower case letters, digits and _, 63 characters at most"
            )
        self._schema = schema
        self._statement_timeout_ms = int(limit_s * 2000)  # ends a statement on the server if this process fails to
        try:
            self._dsn = make_conninfo(
                dsn, connect_timeout=5, tcp_user_timeout=10_000, application_name="pgcrucible isolation"
            )
        except psycopg.Error:  # its message may quote the DSN, and with it the password
            raise UsageError("the DSN cannot be parsed", hint="give host=… dbname=… user=…") from None
        self._sessions: dict[str, psycopg.Connection[Any]] = {}
        try:
            self._observer = self._connect()
        except psycopg.Error as error:
            raise RigError(f"cannot connect to PostgreSQL: {error}") from error
        try:
            self._lock_schema()
        except BaseException:
            self._observer.close()
            raise

    def _lock_schema(self) -> None:
        """Checks that the schema exists and takes its advisory lock, which ends with the observer's connection."""
        exists, locked = self.admin(
            f"SELECT to_regnamespace('{self._schema}') IS NOT NULL, "
            f"pg_try_advisory_lock(hashtext('pgcrucible isolation {self._schema}'))"
        )[0]
        if not exists:
            raise RigError(f"schema {self._schema} does not exist", hint="create it for the harness's role")
        if not locked:
            raise RigError(f"another run uses schema {self._schema}", hint="wait for it to end")

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end_sessions()
        self._observer.close()

    def _connect(self) -> psycopg.Connection[Any]:
        conn = psycopg.connect(self._dsn, autocommit=True, prepare_threshold=None)
        try:
            conn.execute(
                "SELECT set_config('search_path', %s, false), set_config('statement_timeout', %s, false)",
                (self._schema, str(self._statement_timeout_ms)),
            )
        except BaseException:
            conn.close()
            raise
        return conn

    def facts(self) -> dict[str, object]:
        """Returns the version and the settings on which the results depend, to be stored with them."""
        version, number = self.admin("SELECT version(), current_setting('server_version_num')::int")[0]
        settings = {name: self.admin(f"SHOW {name}")[0][0] for name in SETTINGS}
        timeout = "SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout'"  # in ms
        return {
            "version": version,
            "version_num": number,
            "deadlock_timeout_ms": self.admin(timeout)[0][0],
            "settings": settings,
        }

    def begin(self, level: Level, *, writes: bool) -> str:  # noqa: ARG002 (SQLite's driver needs it)
        """Returns BEGIN with the level in the same statement. SET TRANSACTION before BEGIN has no effect."""
        return BEGIN[level]

    def open(self, sessions: Sequence[str]) -> Mapping[str, int]:
        """Opens one connection per session."""
        for session in sessions:
            try:
                self._sessions[session] = self._connect()
            except psycopg.Error as error:
                raise StatementError(error.sqlstate or "08001", f"{session} cannot connect: {error}") from error
        self._names = {conn.info.backend_pid: name for name, conn in self._sessions.items()}
        return {name: pid for pid, name in self._names.items()}

    def execute(self, session: str, sql: str) -> Rows:
        """Runs one statement and returns its rows, if any."""
        return _execute(self._sessions[session], sql)

    def waiting(self, sessions: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Returns the sessions that wait for a lock which other sessions of the case hold or queue for first.

        Waits for other backends (autovacuum, another client) are not counted, because they end independently.
        """
        pids = [self._sessions[session].info.backend_pid for session in sessions]
        waiting = {}
        for pid, blockers in self.admin(BLOCKERS, (pids,)):
            holders = tuple(self._names[b] for b in blockers if b in self._names)
            if holders:
                waiting[self._names[pid]] = holders
        return waiting

    def interrupt(self) -> None:
        """Terminates the backends that still run a statement; their threads then get an error."""
        active = psycopg.pq.TransactionStatus.ACTIVE
        infos = [conn.info for conn in self._sessions.values() if not conn.closed]
        busy = [info.backend_pid for info in infos if info.transaction_status == active]
        if busy:
            self.admin("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (busy,))

    def end_sessions(self) -> None:
        """Closes the connections. The server rolls back open transactions."""
        for conn in self._sessions.values():
            conn.close()
        self._sessions.clear()

    def admin(self, sql: str, parameters: Sequence[object] | None = None) -> Rows:
        """Runs a statement on the observer's connection. Raises RigError if the connection is lost."""
        try:
            return _execute(self._observer, sql, parameters)
        except StatementError as error:
            if self._observer.closed:
                raise RigError(f"the observer's connection to PostgreSQL is lost: {error}") from error
            raise


def _execute(conn: psycopg.Connection[Any], sql: str, parameters: Sequence[object] | None = None) -> Rows:
    try:
        cursor = conn.execute(sql.encode(), parameters)
        return tuple(cursor.fetchall()) if cursor.description else ()
    except psycopg.Error as error:
        primary = error.diag.message_primary or str(error).strip()
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        raise StatementError(error.sqlstate or "08006", primary + detail) from error
