"""Session driver for SQLite: one connection per session on one file, in threads of one process.

SQLite has one level: every transaction is serializable. (READ UNCOMMITTED exists between connections that share a
cache inside one process; hosts that share a file cannot.) SQLite has no pg_blocking_pids, so waiting is observed in
two steps. A statement is first sent without a busy timeout; SQLITE_BUSY shows that it has to wait. It is then sent
again with the profile's timeout, and counts as waiting for as long as a session between two statements has the write
lock. (Another connection that cannot get the lock would prove less: the statement itself may have got it just now.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

from harness.errors import RigError, UsageError
from harness.host_scripts.shared_directory import NETWORK, type_of
from harness.isolation.case_model import Level
from harness.isolation.sqlite_profiles import PROFILES
from harness.isolation.stepper import StatementError
from harness.isolation.transcript import Rows

ADMIN_MS = 5000
LOCKING = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE")
"""Statements after which a transaction has the write lock until it ends."""


class Sqlite:
    """A scratch database file, which must not exist yet and is removed at the end. Context manager."""

    level_sql = "PRAGMA read_uncommitted"

    def __init__(self, path: Path, profile: str) -> None:
        """Creates the file.

        Raises UsageError for an unknown profile or if the file exists, RigError on a network filesystem, where SQLite's
        locks do not work.
        """
        if profile not in PROFILES:
            raise UsageError(f"unknown SQLite profile {profile!r}", hint=f"choose from {', '.join(PROFILES)}")
        if path.exists():
            raise UsageError(f"{path} exists", hint="give the path of a new scratch file")
        if NETWORK.fullmatch(kind := type_of(path.parent)):
            raise RigError(f"{path} is on {kind}, where SQLite's locks do not work", hint="give a path on a local disk")
        self._path = path
        self._profile = PROFILES[profile]
        self._sessions: dict[str, sqlite3.Connection] = {}
        self._retrying: set[str] = set()
        self._lock_holders: set[str] = set()
        try:
            self._admin = self._connect(ADMIN_MS)
        except sqlite3.Error as error:
            raise RigError(f"cannot create {path}: {error}") from error
        granted = self.admin(f"PRAGMA journal_mode={self._profile.journal_mode}")[0][0]
        if granted != self._profile.journal_mode:
            self.__exit__()
            raise RigError(f"{path}: SQLite set journal mode {granted} instead of {self._profile.journal_mode}")

    def __enter__(self) -> Sqlite:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end_sessions()
        self._admin.close()
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _connect(self, busy_timeout_ms: int) -> sqlite3.Connection:
        conn = sqlite3.connect(self._path, timeout=busy_timeout_ms / 1e3, isolation_level=None, check_same_thread=False)
        conn.execute(f"PRAGMA synchronous={self._profile.synchronous}")
        return conn

    def facts(self) -> dict[str, object]:
        """Returns version, settings (journal mode and synchronous as read back) and the result of integrity_check."""
        settings = asdict(self._profile)
        try:
            for pragma in ("journal_mode", "synchronous"):
                settings[pragma] = self.admin(f"PRAGMA {pragma}")[0][0]
            with closing(sqlite3.connect(self._path, timeout=ADMIN_MS / 1e3)) as fresh:  # has no cached pages
                integrity = [str(row[0]) for row in _execute(fresh, "PRAGMA integrity_check")]
        except StatementError as error:  # a damaged file: the error is the result
            integrity = [error.message]
        return {
            "version": f"SQLite {sqlite3.sqlite_version}",
            "settings": settings,
            "integrity_check": integrity,
        }

    def begin(self, level: Level, *, writes: bool) -> str:  # noqa: ARG002 (there is only one level)
        """Returns the profile's BEGIN for a transaction that writes, or a plain BEGIN."""
        return self._profile.begin if writes else "BEGIN"

    def open(self, sessions: Sequence[str]) -> Mapping[str, int]:
        """Opens one connection per session. There are no server processes to return."""
        for session in sessions:
            self._sessions[session] = self._connect(0)
        return {}

    def execute(self, session: str, sql: str) -> Rows:
        """Runs one statement; if the file is locked, again with the profile's busy timeout."""
        conn = self._sessions[session]
        if sql == "ROLLBACK" and not conn.in_transaction:
            return ()  # SQLite has rolled back already, or the transaction never began
        if sql == self.level_sql:
            shared = _execute(conn, sql)[0][0]
            return (("read uncommitted" if shared else "serializable",),)
        try:
            return self._send(session, sql)
        except StatementError as error:
            if not error.code.startswith("SQLITE_BUSY") or not self._profile.busy_timeout:
                raise
        self._retrying.add(session)
        try:
            _execute(conn, f"PRAGMA busy_timeout={self._profile.busy_timeout}")
            return self._send(session, sql)
        finally:
            with suppress(StatementError):
                _execute(conn, "PRAGMA busy_timeout=0")
            self._retrying.discard(session)

    def _send(self, session: str, sql: str) -> Rows:
        conn = self._sessions[session]
        try:
            rows = _execute(conn, sql)
            if conn.in_transaction and sql.startswith(LOCKING):
                self._lock_holders.add(session)
            return rows
        finally:
            if not conn.in_transaction:
                self._lock_holders.discard(session)

    def waiting(self, sessions: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Returns the sessions whose statement got SQLITE_BUSY, while a session outside `sessions` has the lock."""
        holders = tuple(self._lock_holders - set(sessions))
        return dict.fromkeys((session for session in sessions if session in self._retrying), holders) if holders else {}

    def interrupt(self) -> None:
        """Interrupts running statements. A busy timeout ends by itself."""
        for conn in self._sessions.values():
            conn.interrupt()

    def end_sessions(self) -> None:
        """Closes the connections, which rolls back open transactions."""
        for conn in self._sessions.values():
            conn.close()
        self._sessions.clear()
        self._retrying.clear()
        self._lock_holders.clear()

    def admin(self, sql: str) -> Rows:
        """Runs a statement on a separate connection with a busy timeout."""
        return _execute(self._admin, sql)


def _execute(conn: sqlite3.Connection, sql: str) -> Rows:
    try:
        return tuple(conn.execute(sql).fetchall())
    except sqlite3.Error as error:
        raise StatementError(_code(error), str(error)) from error


def _code(error: sqlite3.Error) -> str:
    """Returns the result code's name. Before Python 3.11 it is derived from the message."""
    if name := getattr(error, "sqlite_errorname", None):
        return str(name)
    return "SQLITE_BUSY" if "database is locked" in str(error) else "SQLITE_ERROR"
