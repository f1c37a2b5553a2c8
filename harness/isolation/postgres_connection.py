"""Connections for checks of a database: bounded waits, explicit settings, and proof of a session.

Nothing is inherited that changes a result: a role, a database or a pooler may set time-outs, a default isolation level
or a client encoding. No message contains a part of the password.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from harness.errors import RigError, UsageError
from harness.text import printable

CONNECT_S = 10
NAME = "pgcrucible isolation"
"""The start of the application_name of sessions that `require_sessions` checks."""
SETTINGS: Mapping[str, str] = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO",
    "default_table_access_method": "heap",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "standard_conforming_strings": "on",
    "synchronous_commit": "on",
    "transaction_timeout": "0",
}
"""Settings of every session, whatever role, database and pooler set; those that a server does not have are left out."""
SET = (
    "SELECT set_config(name, value, %s) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value) "
    "WHERE current_setting(name, true) IS NOT NULL"
)
POOLER = (
    "sessions need the server itself: give --dsn its own host and port; a pooler (PgBouncer, pgpool, …) may give "
    "another server process to each transaction"
)
RV = TypeVar("RV")


class Connection(psycopg.Connection[Any]):
    """A connection whose every wait for the server ends after `limit_s`; it is closed then."""

    limit_s: float = 60.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Waits for the server. Raises OperationalError at the limit."""
        try:
            return super().wait(gen, interval, self.limit_s if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001  # its base class also means a lost connection
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server gave no response within {self.limit_s:g} s") from None


def parse_dsn(dsn: str) -> dict[str, str | int | None]:
    """Returns the fields of a connection string. Raises UsageError without repeating any of it.

    In a URL a password with an unescaped @ or / ends up in part as host, port or database name, which libpq's messages
    repeat.
    """
    hint = "--dsn 'host=… dbname=… user=…', the password in ~/.pgpass or PGPASSWORD"
    if not dsn.strip():
        raise UsageError("--dsn is empty", hint=f"is a variable unset? {hint}")
    try:
        fields = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:  # its message may quote the password
        raise UsageError("--dsn is not a connection string", hint=hint) from None
    host, port, name = (str(fields.get(key, "")) for key in ("host", "port", "dbname"))
    is_url = dsn.strip().startswith(("postgresql:", "postgres:"))
    if "@" in host or re.search(r"[^\d,]", port) or (is_url and "@" in name):
        raise UsageError(
            "--dsn: host, port or database name contain what may be a part of a password",
            hint="in a URL write @ as %40 and / as %2F, or leave the password out: ~/.pgpass or PGPASSWORD",
        )
    return fields


def message(error: psycopg.Error, fields: Mapping[str, object]) -> str:
    """Returns an error's text in one line, without the password."""
    text = " ".join(str(error).split())
    for key in ("password", "sslpassword"):
        if fields.get(key):
            text = text.replace(str(fields[key]), "***")
    return printable(text, 500)


def connect(dsn: str, *, limit_s: float = Connection.limit_s, place: str = "--dsn") -> Connection:
    """Opens a connection in autocommit mode; `limit_s` bounds each wait, `place` is for errors.

    Raises UsageError for the string, RigError if the server cannot be reached; neither contains the password.
    """
    fields = parse_dsn(dsn)
    try:
        connection = Connection.connect(
            dsn,
            autocommit=True,
            prepare_threshold=None,  # a pooler may give the next statement to another server process
            connect_timeout=CONNECT_S,
            tcp_user_timeout=10_000,
            client_encoding="UTF8",
            application_name="pgcrucible",
        )
    except psycopg.Error as error:
        raise RigError(f"{place}: {message(error, fields)}", hint="is the database up?") from None
    connection.limit_s = limit_s
    return connection


def apply(connection: Connection, settings: Mapping[str, str], *, local: bool) -> None:
    """Sets SETTINGS and more settings, for the transaction if `local`, else for the session. Raises psycopg.Error."""
    wanted = {**SETTINGS, **settings}
    connection.execute(SET, (local, list(wanted), list(wanted.values())))


def require_sessions(connections: Sequence[Connection], observer: Connection) -> None:
    """Raises UsageError unless each connection has one server process to itself, on the observer's server.

    Each connection sets a name and reads it back in another transaction, with its process id. Through a pooler these
    change, or the process id differs from the one that the server sent when the connection was opened.
    """
    names = [f"{NAME} {secrets.token_hex(8)}" for _ in connections]
    try:
        for connection, name in zip(connections, names, strict=True):
            connection.execute("SELECT set_config('application_name', %s, false)", (name,))
        for connection, name in reversed(list(zip(connections, names, strict=True))):
            row = connection.execute("SELECT pg_backend_pid(), current_setting('application_name')").fetchone()
            if row != (connection.info.backend_pid, name):
                raise UsageError("--dsn: its connections are not sessions of the server", hint=POOLER)
        rows = observer.execute(
            "SELECT application_name, pid FROM pg_stat_activity WHERE application_name = ANY(%s)", (names,)
        ).fetchall()
    except psycopg.Error as error:
        raise RigError(f"--dsn: {message(error, {})}", hint="is the database up?") from None
    pids = {name: connection.info.backend_pid for name, connection in zip(names, connections, strict=True)}
    if dict(rows) != pids:
        raise UsageError("--dsn: its connections do not all reach the same server", hint=POOLER)


def require_primary(connection: Connection) -> None:
    """Raises UsageError on a standby: it may be behind, and the updates that it lacks would count as lost."""
    row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    if row != (False,):
        raise UsageError("--dsn: the server is a standby", hint="give the primary, which the service writes to")
