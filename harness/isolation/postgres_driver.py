"""PostgreSQL as the stepper sees it: a connection a session, and an observer that asks pg_blocking_pids.

PostgreSQL grants a released lock before it answers COMMIT, so what the observer sees after a step has ended is
the state that step led to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from harness.errors import RigError, UsageError
from harness.isolation.case_model import Level
from harness.isolation.stepper import LIMIT_S, Refused
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
    """One server, one scratch schema. Context manager; the schema is held against a second run."""

    level_sql = "SHOW transaction_isolation"

    def __init__(self, dsn: str, schema: str, *, limit_s: float = LIMIT_S) -> None:
        """Connect the observer. The role needs CREATE on `schema`, which must exist.

        Raises UsageError for a bad schema name or DSN, RigError if the server cannot be had.
        """
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
            raise UsageError(f"{schema!r} is no schema name: lower case letters, digits and _ only")
        self._schema = schema
        self._patience_ms = int(limit_s * 2000)  # the server's own bound, should this process lose track
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
            self._hold()
        except BaseException:
            self._observer.close()
            raise

    def _hold(self) -> None:
        """See that the schema is there and nobody else works in it; the lock ends with the observer."""
        exists, ours = self.admin(
            f"SELECT to_regnamespace('{self._schema}') IS NOT NULL, "
            f"pg_try_advisory_lock(hashtext('pgcrucible isolation {self._schema}'))"
        )[0]
        if not exists:
            raise RigError(f"schema {self._schema} does not exist", hint="create it for the harness's role")
        if not ours:
            raise RigError(f"another run works in schema {self._schema}", hint="wait for it to end")

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
                (self._schema, str(self._patience_ms)),
            )
        except BaseException:
            conn.close()
            raise
        return conn

    def facts(self) -> dict[str, Any]:
        """Version and settings on which the results depend, to be stored with them."""
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
        """BEGIN with the level in the same statement: SET TRANSACTION before BEGIN would do nothing."""
        return BEGIN[level]

    def open(self, sessions: Sequence[str]) -> Mapping[str, int]:
        """A connection each."""
        for session in sessions:
            try:
                self._sessions[session] = self._connect()
            except psycopg.Error as error:
                raise Refused(error.sqlstate or "08001", f"{session} cannot connect: {error}") from error
        self._names = {conn.info.backend_pid: name for name, conn in self._sessions.items()}
        return {name: pid for pid, name in self._names.items()}

    def execute(self, session: str, sql: str) -> Rows:
        """One statement, its rows if it has any."""
        return _execute(self._sessions[session], sql)

    def waiting(self, sessions: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Waiting for a lock that another of our sessions holds or is first in line for.

        Who waits for a stranger (autovacuum, another client) is not counted: that ends without us.
        """
        pids = [self._sessions[session].info.backend_pid for session in sessions]
        seen = {}
        for pid, blockers in self.admin(BLOCKERS, (pids,)):
            holders = tuple(self._names[b] for b in blockers if b in self._names)
            if holders:
                seen[self._names[pid]] = holders
        return seen

    def interrupt(self) -> None:
        """Terminate the backends that still run something; their threads then get an error."""
        active = psycopg.pq.TransactionStatus.ACTIVE
        infos = [conn.info for conn in self._sessions.values() if not conn.closed]
        busy = [info.backend_pid for info in infos if info.transaction_status == active]
        if busy:
            self.admin("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (busy,))

    def end_sessions(self) -> None:
        """Close the connections; the server then rolls back what is open."""
        for conn in self._sessions.values():
            conn.close()
        self._sessions.clear()

    def admin(self, sql: str, parameters: Sequence[object] | None = None) -> Rows:
        """Through the observer. RigError if its connection is lost: then nothing can be said any more."""
        try:
            return _execute(self._observer, sql, parameters)
        except Refused as error:
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
        raise Refused(error.sqlstate or "08006", primary + detail) from error
