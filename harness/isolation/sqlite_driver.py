"""SQLite as the stepper sees it: a connection a session on one file, in threads of one process.

SQLite has one level: every transaction is serializable. (READ UNCOMMITTED exists between connections that
share a cache inside one process; hosts that share a file cannot.) It has no pg_blocking_pids either, so
waiting is observed in two halves: a statement is first sent without busy time-out, and SQLITE_BUSY is the
sight of its waiting; it is then sent again under the profile's time-out, and counts as waiting for as long as
the observer, too, cannot have the write lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import RigError, UsageError
from harness.host_scripts.shared_directory import NETWORK, type_of
from harness.isolation.case_model import Level
from harness.isolation.sqlite_profiles import PROFILES
from harness.isolation.stepper import Refused
from harness.isolation.transcript import Rows

ADMIN_MS = 5000
SOMEBODY = ("the holder of the write lock",)


class Sqlite:
    """A database file of our own, which must not exist yet and is removed at the end. Context manager."""

    level_sql = "PRAGMA read_uncommitted"

    def __init__(self, path: Path, profile: str) -> None:
        """Create the file. Raises UsageError for an unknown profile or a file that is there already, RigError where
        the filesystem is none that SQLite's locks hold on."""
        if profile not in PROFILES:
            raise UsageError(f"no SQLite profile {profile!r}", hint=f"choose from {', '.join(PROFILES)}")
        if path.exists():
            raise UsageError(f"{path} exists", hint="give a path at which a scratch file can be made")
        if NETWORK.fullmatch(kind := type_of(path.parent)):
            raise RigError(f"{path} is on {kind}: SQLite's locks do not hold there", hint="give a local path")
        self._path = path
        self._profile = PROFILES[profile]
        self._sessions: dict[str, sqlite3.Connection] = {}
        self._retrying: set[str] = set()
        try:
            self._admin = self._connect(ADMIN_MS)
        except sqlite3.Error as error:
            raise RigError(f"cannot create {path}: {error}") from error
        self._observer = self._connect(0)
        granted = self.admin(f"PRAGMA journal_mode={self._profile.journal_mode}")[0][0]
        if granted != self._profile.journal_mode:
            self.__exit__()
            raise RigError(f"SQLite granted journal mode {granted}, not {self._profile.journal_mode}")

    def __enter__(self) -> Sqlite:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end_sessions()
        self._observer.close()
        self._admin.close()
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _connect(self, busy_timeout_ms: int) -> sqlite3.Connection:
        conn = sqlite3.connect(self._path, timeout=busy_timeout_ms / 1e3, isolation_level=None, check_same_thread=False)
        conn.execute(f"PRAGMA synchronous={self._profile.synchronous}")
        return conn

    def facts(self) -> dict[str, Any]:
        """Version, set-up (journal mode and synchronous as read back), and whether the file is whole after all."""
        settings = asdict(self._profile)
        try:
            for pragma in ("journal_mode", "synchronous"):
                settings[pragma] = self.admin(f"PRAGMA {pragma}")[0][0]
            with closing(sqlite3.connect(self._path, timeout=ADMIN_MS / 1e3)) as fresh:  # what it sees, no cache holds
                integrity = [str(row[0]) for row in _execute(fresh, "PRAGMA integrity_check")]
        except Refused as error:  # of a damaged file there is nothing else to say
            integrity = [error.message]
        return {
            "version": f"SQLite {sqlite3.sqlite_version}",
            "settings": settings,
            "integrity_check": integrity,
        }

    def begin(self, level: Level, *, writes: bool) -> str:  # noqa: ARG002 (there is only one level)
        """BEGIN as the profile does it for a transaction that will write, or not."""
        return self._profile.begin if writes else "BEGIN"

    def open(self, sessions: Sequence[str]) -> Mapping[str, int]:
        """A connection each; no processes to name."""
        for session in sessions:
            self._sessions[session] = self._connect(0)
        return {}

    def execute(self, session: str, sql: str) -> Rows:
        """One statement; if the file is locked, again with the profile's busy time-out."""
        conn = self._sessions[session]
        if sql == "ROLLBACK" and not conn.in_transaction:
            return ()  # SQLite has rolled back already, or never began
        if sql == self.level_sql:
            shared = _execute(conn, sql)[0][0]
            return (("read uncommitted" if shared else "serializable",),)
        try:
            return _execute(conn, sql)
        except Refused as error:
            if not error.code.startswith("SQLITE_BUSY") or not self._profile.busy_timeout:
                raise
        self._retrying.add(session)
        try:
            _execute(conn, f"PRAGMA busy_timeout={self._profile.busy_timeout}")
            return _execute(conn, sql)
        finally:
            with suppress(Refused):
                _execute(conn, "PRAGMA busy_timeout=0")
            self._retrying.discard(session)

    def waiting(self, sessions: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """The sessions whose statement was answered BUSY, while the write lock is not to be had."""
        retrying = [session for session in sessions if session in self._retrying]
        if not retrying:
            return {}
        try:
            _execute(self._observer, "BEGIN IMMEDIATE")
        except Refused:
            return dict.fromkeys(retrying, SOMEBODY)
        _execute(self._observer, "ROLLBACK")
        return {}

    def interrupt(self) -> None:
        """Stop running statements; a busy time-out ends by itself."""
        for conn in self._sessions.values():
            conn.interrupt()

    def end_sessions(self) -> None:
        """Close the connections; what is open is rolled back."""
        for conn in self._sessions.values():
            conn.close()
        self._sessions.clear()
        self._retrying.clear()

    def admin(self, sql: str) -> Rows:
        """On a connection of its own, with a busy time-out."""
        return _execute(self._admin, sql)


def _execute(conn: sqlite3.Connection, sql: str) -> Rows:
    try:
        return tuple(conn.execute(sql).fetchall())
    except sqlite3.Error as error:
        raise Refused(_code(error), str(error)) from error


def _code(error: sqlite3.Error) -> str:
    """The result code's name; Python tells it since 3.11, before that the message has to do."""
    name = getattr(error, "sqlite_errorname", None)
    return str(name) if name else "SQLITE_BUSY" if "database is locked" in str(error) else "SQLITE_ERROR"
