"""ServiceError, the only exception of a request: HTTP status, code, outcome and message.

`aborted`: the request was certainly not applied. `unknown`: it may have been applied. The rule for PostgreSQL:

- Nothing was sent that can commit (no connection, before COMMIT, a bad request): aborted.
- The server answered with severity ERROR: it rolled back, so aborted, also at COMMIT (PostgreSQL manual,
  "Message Formats: ErrorResponse"). The exception is 40003, statement completion unknown.
- The session ended (FATAL, PANIC, connection lost) after a commit was requested: unknown. This includes 57P01: the
  server may have committed before it shut down the session.

No message contains a DSN, a password or a traceback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import psycopg

if TYPE_CHECKING:
    from app.backends.base import RequestCost

Outcome = Literal["aborted", "unknown"]

CONFLICTS = frozenset({"40001", "40P01", "23505"})
"""Conflicts with another transaction, worth a retry: serialization failure, deadlock, duplicate ledger id."""

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
    # Messages of libpq; one is "root certificate file … does not exist".
    "certificate": "TLS_REFUSED",
    "server does not support SSL": "TLS_REFUSED",
    # For a failed login libpq gives the server's message, not its SQLSTATE.
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
    """A response that is not a success."""

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
        self.cost: RequestCost | None = None
        """The cost of the failed request; None if no database transaction was begun for it."""

    def again(self, cost: RequestCost | None = None) -> ServiceError:
        """Returns a copy for the next of several requests that fail together, with its share of their cost."""
        error = ServiceError(self.status, self.code, self.message, self.outcome, headers=self.headers)
        error.cost = cost
        return error


def bad_request(code: str, message: str) -> ServiceError:
    """Returns a 400: a field is missing or has the wrong type."""
    return ServiceError(400, code, message)


def unprocessable(code: str, message: str) -> ServiceError:
    """Returns a 422: the request is well-formed and cannot be fulfilled."""
    return ServiceError(422, code, message)


def from_connect(error: Exception) -> ServiceError:
    """Returns the error for a connection that could not be opened; nothing was sent, so it is aborted."""
    text = str(error)
    code = next((code for words, code in _CONNECT.items() if words in text), "CONNECT_FAILED")
    reason = {
        "53300": "too many connections",
        "57P03": "the database is starting or stopping",
        "TLS_REFUSED": "its certificate cannot be verified",
    }
    return ServiceError(503, code, f"no database connection: {reason.get(code, 'could not connect')}")


def from_postgres(error: psycopg.Error, *, in_doubt: bool) -> ServiceError:
    """Returns the error for a failed statement; `in_doubt` if that statement could have committed."""
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


def ended_session(error: psycopg.Error) -> bool:
    """Returns whether the session ended with this error: connection lost, FATAL or PANIC."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.diag.severity_nonlocalized in {"FATAL", "PANIC"}


def from_sqlite(error: sqlite3.Error, *, in_doubt: bool) -> ServiceError:
    """Returns the error for a failed statement; `in_doubt` if COMMIT was sent.

    A busy COMMIT leaves the transaction open and the caller rolls it back: aborted.
    """
    code = sqlite_code(error)
    if code in {"SQLITE_BUSY", "SQLITE_LOCKED"}:
        return ServiceError(503, "SQLITE_BUSY", "the database file is locked by another connection")
    if isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError)):
        return unprocessable(code, "a value is out of range")
    return ServiceError(503, code, f"SQLite: {error}", "unknown" if in_doubt else "aborted")


def sqlite_code(error: sqlite3.Error) -> str:
    """Returns the name of the primary result code; Python before 3.11 has only the message."""
    name: str = getattr(error, "sqlite_errorname", "")
    if not name:
        name = "SQLITE_BUSY" if "locked" in str(error) else "SQLITE_ERROR"
    return "_".join(name.split("_")[:2])
