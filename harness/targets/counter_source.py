"""Reads the counters of an external service: from its database (--dsn), or from its API (weaker evidence).

The connection to the database is read-only. A remote workload that writes gets a new schema and its own connection.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import quote

import psycopg
from psycopg import sql

from harness.errors import RigError, UsageError
from harness.load.outcome import integer
from harness.record import BulkRows
from harness.targets.postgres_queries import bulk_rows, server_settings
from harness.targets.service_client import TIMEOUT_S, ServiceClient
from harness.targets.url import CONTRACT, Address

READERS = 8
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
        with ThreadPoolExecutor(READERS) as pool:
            return {key: value for part in pool.map(self._read, stripes) for key, value in part.items()}

    def _read(self, keys: Sequence[str]) -> dict[str, int]:
        values = {}
        with ServiceClient(self._address) as client:
            for key in keys:
                response = client.get(f"/api/counter/{quote(key, safe='')}")
                value = integer(response.fields.get("value"))
                if response.status == 200 and value is not None:
                    values[key] = value
                elif response.status != 404:
                    raise RigError(f"{self._address}: GET /api/counter/{key} answers {response}", hint=CONTRACT)
        return values


class DatabaseCounters:
    """Reads from the service's database. `permit` raises UsageError for an address that must not be used."""

    def __init__(self, dsn: str, permit: Callable[[str], None]) -> None:
        self._dsn, self._permit = dsn, permit
        self._db = self._connect(read_only=True)

    def _connect(self, *, read_only: bool) -> psycopg.Connection[Any]:
        """Raises UsageError or RigError; neither contains the DSN."""
        try:
            connection = psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=int(TIMEOUT_S), application_name="pgcrucible"
            )
        except psycopg.ProgrammingError:  # its message may quote the DSN with the password
            raise UsageError("--dsn is not a connection string", hint="--dsn 'host=… dbname=… user=…'") from None
        except psycopg.OperationalError as error:
            raise RigError(f"--dsn: {' '.join(str(error).split())}", hint="is the database up?") from None
        try:
            connection.read_only = read_only
            if connection.info.hostaddr:  # empty for a Unix socket
                self._permit(connection.info.hostaddr)
        except UsageError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            with self._db.transaction():  # BEGIN READ ONLY: psycopg applies read_only to transactions
                yield
        except psycopg.Error as error:
            raise RigError(
                f"--dsn: {' '.join(str(error).split())}",
                hint=f"the oracle reads {what}; without --dsn it reads from the service",
            ) from None

    def counters(self, keys: Sequence[str]) -> dict[str, int]:
        """See CounterSource. Reads the table `counters`."""
        with self._reading("the table counters (key, value)"):
            rows = self._db.execute("SELECT key, value FROM counters WHERE key = ANY(%s)", [list(keys)]).fetchall()
        return {str(key): int(value) for key, value in rows}

    def ledger(self, keys: Sequence[str]) -> dict[str, tuple[str, int]] | None:
        """Returns the rows of the ledger for these keys; None without such a table. Raises RigError."""
        with self._reading("the table ledger (id, key, value)"):
            if self._one("SELECT to_regclass('ledger')") is None:
                return None
            rows = self._db.execute("SELECT id, key, value FROM ledger WHERE key = ANY(%s)", [list(keys)]).fetchall()
        return {i: (k, v) for i, k, v in rows}

    def newest(self) -> int:
        """Returns the largest id of the table `data`. Raises RigError."""
        with self._reading("the table data (id, content)"):
            return int(self._one("SELECT coalesce(max(id), 0) FROM data"))

    def bulk_rows(self, after: int) -> BulkRows:
        """Returns the rows that the load inserted into `data` above the id `after`. Raises RigError."""
        with self._reading("the table data (id, content)"):
            return bulk_rows(self._db, after=after, form=r"^9?\d{12}-\d+$")

    def connections(self) -> int:
        """Returns the server's max_connections."""
        with self._reading("its settings"):
            return int(self._one("SELECT current_setting('max_connections')::int"))

    def settings(self) -> Mapping[str, str]:
        """Returns the server's settings as `server_settings` does, without those that may hold a secret."""
        with self._reading("its settings"):
            settings = server_settings(self._db)
        return {name: value for name, value in settings.items() if not SECRET_SETTINGS.search(name)}

    def _one(self, query: str) -> Any:
        row = self._db.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    @contextlib.contextmanager
    def scratch(self) -> Iterator[dict[str, str]]:
        """Creates a schema, drops it at the end; yields the fields of a remote workload's job: `dsn` and `schema`."""
        schema = f"pgcrucible_{secrets.token_hex(6)}"
        with contextlib.closing(self._connect(read_only=False)) as connection:
            try:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            except psycopg.Error as error:
                raise UsageError(
                    f"--dsn: {' '.join(str(error).split())}",
                    hint="isolation and deadlocks create a schema: the role needs CREATE on the database",
                ) from None
            try:
                yield {"dsn": self._dsn, "schema": schema}
            finally:
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
