"""Session driver for PostgreSQL: one connection per session, and an observer that queries pg_blocking_pids.

PostgreSQL grants a released lock before it answers COMMIT, so after a step has ended the observer reads the state
that this step led to.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence

import psycopg

from harness.errors import RigError, UsageError
from harness.isolation.case_model import Level
from harness.isolation.postgres_connection import Connection, apply, connect, message, require_sessions
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
    "track_counts",
)


class Postgres:
    """One server, one scratch schema. Context manager; an advisory lock keeps a second run out of the schema."""

    level_sql = "SELECT current_setting('transaction_isolation'), pg_backend_pid()"

    def __init__(self, dsn: str, schema: str, *, limit_s: float = LIMIT_S) -> None:
        """Connects the observer. The role needs CREATE on `schema`, which must exist.

        Raises UsageError for an invalid schema name or DSN, RigError if the server cannot be reached.
        """
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
            raise UsageError(
                f"invalid schema name {schema!r}", hint="use lower case letters, digits and _, 63 characters at most"
            )
        self._schema = schema
        self._limit_s = limit_s
        self._dsn = dsn
        self._sessions: dict[str, Connection] = {}
        self._observer = self._connect()
        try:
            self._require_sessions()
            self._lock_schema()
        except BaseException:
            self._observer.close()
            raise

    def _require_sessions(self) -> None:
        with contextlib.closing(self._connect()) as other:
            require_sessions([self._observer, other], self._observer)

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

    def _connect(self) -> Connection:
        """Raises UsageError or RigError. The server ends a statement if this process fails to."""
        connection = connect(self._dsn, limit_s=self._limit_s * 2 + 5, place="cannot connect to PostgreSQL")
        timeout_ms = str(int(self._limit_s * 2000))
        try:
            apply(connection, {"search_path": self._schema, "statement_timeout": timeout_ms}, local=False)
            self._detect_deadlocks(connection)
        except psycopg.Error as error:
            connection.close()
            raise RigError(f"PostgreSQL: {message(error, {})}", hint="is the database up?") from error
        return connection

    def _detect_deadlocks(self, connection: Connection) -> None:
        """Lowers a deadlock_timeout that is longer than a case may last, where the role may do so."""
        most_ms = round(self._limit_s * 1000 / 3)
        longer = f"SELECT setting::int > {most_ms} FROM pg_settings WHERE name = 'deadlock_timeout'"  # noqa: S608
        if connection.execute(longer.encode()).fetchone() == (True,):
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):  # its cases are `unknown` then
                connection.execute(f"SET deadlock_timeout = {most_ms}".encode())

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
            except RigError as error:
                raise StatementError("08001", f"{session} cannot connect: {error}") from error
        require_sessions(list(self._sessions.values()), self._observer)
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


def _execute(conn: Connection, sql: str, parameters: Sequence[object] | None = None) -> Rows:
    try:
        cursor = conn.execute(sql.encode(), parameters)
        return tuple(cursor.fetchall()) if cursor.description else ()
    except psycopg.Error as error:
        primary = error.diag.message_primary or str(error).strip()
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        raise StatementError(error.sqlstate or "08006", primary + detail) from error
