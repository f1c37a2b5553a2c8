"""Reads the counters of an external service: from its database (--dsn), or from its API (weaker evidence).

Readings of the database are read-only. A remote workload that writes gets a new schema and its own connection.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from time import monotonic, sleep
from typing import Any, Protocol
from urllib.parse import quote

import psycopg
from psycopg import sql

from harness.errors import RigError, UsageError
from harness.isolation.postgres_connection import (
    Connection,
    apply,
    connect,
    message,
    require_primary,
    require_sessions,
)
from harness.load.outcome import integer
from harness.record import BulkRows
from harness.targets.postgres_queries import bulk_rows, server_settings
from harness.targets.service_client import ServiceClient
from harness.targets.url import CONTRACT, Address
from harness.text import printable

READERS = 8
READING_S = 300.0
"""For all counters of one reading of the API: 10,000 of them, if each response takes 0.2 s."""
READ_S = 60.0
"""For one statement."""
RESTART_S = 30.0
SECRET_SETTINGS = re.compile("conninfo|command|passphrase|key|password")
"""Names of server settings that may hold secrets."""


class CounterSource(Protocol):
    """A source of counter values."""

    def counters(self, keys: Sequence[str]) -> dict[str, int]:
        """Returns the values of these keys; a key that was never written is absent. Raises RigError."""
        ...


class ApiCounters:
    """Reads counters from the service: GET /api/counter."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def counters(self, keys: Sequence[str]) -> dict[str, int]:
        """See CounterSource. Sends requests over several connections; 404: never written."""
        stripes = [keys[first::READERS] for first in range(min(READERS, len(keys)))]
        deadline, stop = monotonic() + READING_S, threading.Event()
        with ThreadPoolExecutor(READERS) as pool:
            try:
                parts = list(pool.map(lambda stripe: self._read(stripe, deadline, stop), stripes))
            except BaseException:
                stop.set()  # the pool waits for the other readers
                raise
        return {key: value for part in parts for key, value in part.items()}

    def _read(self, keys: Sequence[str], deadline: float, stop: threading.Event) -> dict[str, int]:
        values = {}
        with ServiceClient(self._address) as client:
            for number, key in enumerate(keys):
                if stop.is_set():
                    break
                try:
                    response = client.get(f"/api/counter/{quote(key, safe='')}", limit_s=deadline - monotonic())
                except RigError:
                    if monotonic() < deadline:
                        raise
                    raise RigError(
                        f"{self._address}: the counters were not read within {READING_S:g} s: one of {READERS} readers "
                        f"has {number:,} of {len(keys):,}",
                        hint="GET /api/counter is too slow; use --dsn, or a load with fewer keys",
                    ) from None
                value = integer(response.fields.get("value"))
                if response.status == 200 and value is not None:
                    values[key] = value
                elif response.status != 404:
                    raise RigError(f"{self._address}: GET /api/counter/{key} answers {response}", hint=CONTRACT)
        return values


class DatabaseCounters:
    """Reads from the service's database. `permit` raises UsageError for an address that must not be used.

    Every reading has a new connection: one that lasts as long as a trial may be closed by the server or on the way.
    """

    def __init__(self, dsn: str, permit: Callable[[str], None]) -> None:
        self._dsn, self._permit = dsn, permit
        self._answered = False
        with self._reading("nothing yet"):
            pass

    def _connect(self) -> Connection:
        """Raises UsageError or RigError; neither contains the DSN."""
        connection = connect(self._dsn, limit_s=READ_S)
        try:
            if connection.info.hostaddr:  # empty for a Unix socket
                self._permit(connection.info.hostaddr)
        except UsageError:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[Connection]:
        """A transaction that cannot write, on the primary, at our own settings. Raises UsageError, RigError."""
        with contextlib.closing(self._reconnect()) as connection:
            try:
                connection.read_only = True
                with connection.transaction():  # BEGIN READ ONLY: psycopg applies read_only to transactions
                    apply(connection, {"statement_timeout": str(int(READ_S * 1000))}, local=True)
                    require_primary(connection)
                    yield connection
            except psycopg.Error as error:
                raise RigError(
                    f"--dsn: {message(error, {})}",
                    hint=f"the oracle reads {what}; without --dsn it reads from the service",
                ) from None
            except ValueError as error:  # psycopg cannot decode a value: a number of 5,000 digits in jsonb, a bad text
                reason = printable(error, 200)
                raise RigError(f"--dsn: {what} has a value that cannot be read: {reason}", hint=CONTRACT) from None

    def _reconnect(self) -> Connection:
        """Connects; after the first time it waits for a database that restarts, at most RESTART_S."""
        deadline = monotonic() + (RESTART_S if self._answered else 0)
        while True:
            try:
                connection = self._connect()
            except RigError:
                if monotonic() > deadline:
                    raise
                sleep(1)
            else:
                self._answered = True
                return connection

    def counters(self, keys: Sequence[str]) -> dict[str, int]:
        """See CounterSource. Reads the table `counters`; a padded key (char(n)) is the key without its blanks."""
        with self._reading("the table counters (key, value)") as db:
            rows = db.execute(
                "SELECT wanted.key, value FROM counters JOIN unnest(%s::text[]) AS wanted (key) "
                "ON counters.key = wanted.key",
                [list(keys)],
            ).fetchall()
        values: dict[str, int] = {}
        for key, value in rows:
            count = _count(value)
            if key in values or count is None:
                reason = "more than one row" if key in values else f"the value {printable(value, 40)}"
                raise RigError(f"--dsn: the table counters has {reason} for the key '{key}'", hint=CONTRACT)
            values[key] = count
        return values

    def ledger(self, keys: Sequence[str]) -> dict[str, tuple[str, int]] | None:
        """Returns the rows of the ledger for these keys; None without such a table. Raises RigError."""
        with self._reading("the table ledger (id, key, value)") as db:
            if _one(db, "SELECT to_regclass('ledger')") is None:
                return None
            rows = db.execute(
                "SELECT rtrim(id::text), rtrim(key::text), value FROM ledger WHERE key = ANY(%s)", [list(keys)]
            ).fetchall()
        entries: dict[str, tuple[str, int]] = {}
        for ident, key, value in rows:
            count = _count(value)
            if count is None:
                reason = f"the value {printable(value, 40)} for the id '{ident}' and the key '{key}'"
                raise RigError(f"--dsn: the table ledger has {reason}", hint=CONTRACT)
            entries[ident] = (key, count)
        return entries

    def newest(self) -> int:
        """Returns the largest id of the table `data`. Raises RigError."""
        with self._reading("the table data (id, content)") as db:
            return int(_one(db, "SELECT coalesce(max(id), 0) FROM data"))

    def bulk_rows(self, after: int) -> BulkRows:
        """Returns the rows that the load inserted into `data` above the id `after`. Raises RigError."""
        with self._reading("the table data (id, content)") as db:
            return bulk_rows(db, after=after, form=r"^9?\d{12}-\d+$")

    def connections(self) -> int:
        """Returns the server's max_connections."""
        with self._reading("its settings") as db:
            return int(_one(db, "SELECT current_setting('max_connections')::int"))

    def settings(self) -> Mapping[str, str]:
        """Returns the server's settings as `server_settings` does, without those that may hold a secret."""
        with self._reading("its settings") as db:
            settings = server_settings(db)
        return {name: value for name, value in settings.items() if not SECRET_SETTINGS.search(name)}

    @contextlib.contextmanager
    def scratch(self) -> Iterator[dict[str, str]]:
        """Creates a schema, drops it at the end; yields the fields of a remote workload's job: `dsn` and `schema`."""
        schema = f"pgcrucible_{secrets.token_hex(6)}"
        with contextlib.closing(self._connect()) as connection, contextlib.closing(self._connect()) as observer:
            require_sessions([connection], observer)
            try:
                apply(connection, {"statement_timeout": str(int(READ_S * 1000))}, local=False)
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            except psycopg.Error as error:
                raise UsageError(
                    f"--dsn: {message(error, {})}",
                    hint="isolation and deadlocks create a schema: the role needs CREATE on the database",
                ) from None
            try:
                yield {"dsn": self._dsn, "schema": schema}
            finally:
                self._drop(schema)

    def _drop(self, schema: str) -> None:
        """Drops the schema over a new connection: the first may have been closed while the workload ran."""
        with contextlib.closing(self._reconnect()) as connection:
            try:
                limits = {"lock_timeout": "10s", "statement_timeout": str(int(READ_S * 1000))}
                apply(connection, limits, local=False)
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
            except psycopg.Error as error:
                raise RigError(
                    f"--dsn: the schema {schema} was not dropped: {message(error, {})}",
                    hint=f"drop it with: DROP SCHEMA {schema} CASCADE",
                ) from None


def _count(value: object) -> int | None:
    """Returns a column's value as an integer of 64 bits; None if it is something else, as NaN or an interval."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        count = int(value)
    except (ValueError, OverflowError):  # NaN, infinity
        return None
    return integer(count) if count == value else None


def _one(connection: Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
