"""What can go wrong, as one kind of exception: HTTP status, code, outcome, one sentence.

`aborted` means surely not applied; `unknown` means that it may have been. The rule, for PostgreSQL:

- Nothing was sent that could commit (no connection, not yet at COMMIT, a bad request): aborted.
- The server answered with severity ERROR: it rolled back, so aborted, also at COMMIT
  (PostgreSQL manual, "Message Formats: ErrorResponse"). Not so for 40003, which says it does not know.
- The session ended (FATAL, PANIC, connection lost) after a commit was asked for: unknown. 57P01 too: the
  server may have committed, and been told to go before it could say so.

No message holds a DSN, a password or a traceback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import psycopg

if TYPE_CHECKING:
    from app.backends.base import Cost

Outcome = Literal["aborted", "unknown"]

CONFLICTS = frozenset({"40001", "40P01", "23505"})
"""Lost against another transaction: serialization failure, deadlock, a twin's unique key. Worth a retry."""

_STATUS = {"23505": 409, "23514": 422, "42501": 503, "42P01": 503}
_CLASS_STATUS = {
    "08": 503,  # connection exception
    "22": 422,  # data exception: a value out of range
    "23": 409,  # integrity constraint violation
    "25": 503,  # invalid transaction state: a read-only standby
    "28": 503,  # invalid authorization
    "40": 409,  # transaction rollback: serialization failure, deadlock
    "53": 503,  # insufficient resources: disk full, out of memory, too many connections
    "55": 503,  # object not in prerequisite state: lock_timeout
    "57": 503,  # operator intervention: statement_timeout, shutdown
    "58": 503,  # system error
}
_CONNECT = {
    # libpq's own words; one of them is "root certificate file … does not exist".
    "certificate": "TLS_REFUSED",
    "server does not support SSL": "TLS_REFUSED",
    # When a login fails, libpq passes the server's words on, not its SQLSTATE.
    "too many clients": "53300",
    "too many connections": "53300",
    "remaining connection slots": "53300",
    "no more connections allowed": "53300",  # PgBouncer
    "the database system is": "57P03",
    "password authentication failed": "28P01",
    "no pg_hba.conf entry": "28000",
    "pg_hba.conf rejects": "28000",
    "does not exist": "3D000",
}


class ServiceError(Exception):
    """An answer that is not a success."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        outcome: Outcome = "aborted",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.headers = headers or {}
        self.status = status
        self.code = code
        self.message = message
        self.outcome = outcome
        self.cost: Cost | None = None
        """What the request cost all the same; None where no database transaction was begun for it."""

    def again(self, cost: Cost | None = None) -> ServiceError:
        """An equal one, for the next of many requests that fail together, with its share of what they cost."""
        error = ServiceError(self.status, self.code, self.message, self.outcome, headers=self.headers)
        error.cost = cost
        return error


def bad_request(code: str, message: str) -> ServiceError:
    """The request breaks the contract's syntax: a field is missing or of the wrong type."""
    return ServiceError(400, code, message)


def unprocessable(code: str, message: str) -> ServiceError:
    """The request is well-formed, and asks for what cannot be."""
    return ServiceError(422, code, message)


def from_connect(error: Exception) -> ServiceError:
    """A connection could not be opened: nothing was sent."""
    text = str(error)
    code = next((code for words, code in _CONNECT.items() if words in text), "CONNECT_FAILED")
    reason = {
        "53300": "too many connections",
        "57P03": "the database is starting or stopping",
        "TLS_REFUSED": "its certificate cannot be verified",
    }
    return ServiceError(503, code, f"no database connection: {reason.get(code, 'could not connect')}")


def from_postgres(error: psycopg.Error, *, in_doubt: bool) -> ServiceError:
    """`in_doubt`: the failed statement could have committed."""
    code = error.sqlstate
    if code is None:
        lost = isinstance(error, psycopg.OperationalError)
        return ServiceError(
            503 if lost else 500,
            "CONNECTION_LOST" if lost else "DRIVER_ERROR",
            "the database connection was lost" if lost else f"driver error {type(error).__name__}",
            "unknown" if in_doubt else "aborted",
        )
    rolled_back = error.diag.severity_nonlocalized == "ERROR" and code != "40003"
    status = _STATUS.get(code) or _CLASS_STATUS.get(code[:2], 500)
    message = error.diag.message_primary or type(error).__name__
    return ServiceError(status, code, message, "unknown" if in_doubt and not rolled_back else "aborted")


def from_sqlite(error: sqlite3.Error, *, in_doubt: bool) -> ServiceError:
    """`in_doubt`: COMMIT was asked for. A busy COMMIT leaves the transaction open, to be rolled back: aborted."""
    code = sqlite_code(error)
    if code in {"SQLITE_BUSY", "SQLITE_LOCKED"}:
        return ServiceError(503, "SQLITE_BUSY", "the database file is locked by another connection")
    if isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError)):
        return unprocessable(code, "a value is out of range")
    return ServiceError(503, code, f"SQLite: {error}", "unknown" if in_doubt else "aborted")


def sqlite_code(error: sqlite3.Error) -> str:
    """The primary result code's name; Python before 3.11 gives only the words."""
    name: str = getattr(error, "sqlite_errorname", "")
    if not name:
        name = "SQLITE_BUSY" if "locked" in str(error) else "SQLITE_ERROR"
    return "_".join(name.split("_")[:2])
