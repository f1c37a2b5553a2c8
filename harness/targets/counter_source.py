"""Who says what the counters of a foreign service are: its database, or, weaker, the service itself.

The database is read over a connection that is read only; a driver that must write gets a schema of its own there.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import quote

import psycopg
from psycopg import sql

from harness.errors import RigError, UsageError
from harness.record import BulkRows
from harness.targets.postgres_queries import bulk_rows, server_settings
from harness.targets.url import CONTRACT, TIMEOUT_S, Address, ask

READERS = 8
SECRET_SETTINGS = re.compile("conninfo|command|passphrase|key|password")
"""Names of server settings whose values are not stored."""


class CounterSource(Protocol):
    """Reads counters by key; one that was never written is absent."""

    def counters(self, keys: Sequence[str]) -> dict[str, int]: ...


class ApiCounters:
    """The service's own GET /api/counter."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def counters(self, keys: Sequence[str]) -> dict[str, int]:
        """Asked over a few connections at once. Raises RigError for an answer that is neither a value nor 404."""
        stripes = [keys[first::READERS] for first in range(min(READERS, len(keys)))]
        with ThreadPoolExecutor(READERS) as pool:
            return {key: value for part in pool.map(self._read, stripes) for key, value in part.items()}

    def _read(self, keys: Sequence[str]) -> dict[str, int]:
        found = {}
        with contextlib.closing(self._address.open()) as line:
            for key in keys:
                status, answer = ask(self._address, "GET", f"/api/counter/{quote(key, safe='')}", line=line)
                value = answer.get("value") if isinstance(answer, dict) else None
                if status == 200 and type(value) is int:
                    found[key] = value
                elif status != 404:
                    said = f"{status} {json.dumps(answer)[:200]}"
                    raise RigError(f"{self._address}: GET /api/counter/{key} answers {said}", hint=CONTRACT)
        return found


class DatabaseCounters:
    """The service's database, by the user's DSN; `permit` is asked about the address it leads to."""

    def __init__(self, dsn: str, permit: Callable[[str], None]) -> None:
        self._dsn, self._permit = dsn, permit
        self._db = self._connect(read_only=True)

    def _connect(self, *, read_only: bool) -> psycopg.Connection[Any]:
        """Raises UsageError or RigError, neither of which repeats the DSN."""
        try:
            connection = psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=int(TIMEOUT_S), application_name="pgcrucible"
            )
        except psycopg.ProgrammingError:  # its message may quote the DSN, and with it the password
            raise UsageError("--dsn is not a connection string", hint="--dsn 'host=… dbname=… user=…'") from None
        except psycopg.OperationalError as error:
            raise RigError(f"--dsn: {' '.join(str(error).split())}", hint="is the database up?") from None
        try:
            connection.read_only = read_only
            if connection.info.hostaddr:  # empty: a socket of this machine
                self._permit(connection.info.hostaddr)
        except UsageError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Ends the connection."""
        self._db.close()

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            with self._db.transaction():  # BEGIN READ ONLY; outside of one, nothing would hold us to it
                yield
        except psycopg.Error as error:
            raise RigError(
                f"--dsn: {' '.join(str(error).split())}",
                hint=f"the oracle reads {what}; without --dsn it asks the service",
            ) from None

    def counters(self, keys: Sequence[str]) -> dict[str, int]:
        """From the table `counters`. Raises RigError."""
        with self._reading("the table counters (key, value)"):
            rows = self._db.execute("SELECT key, value FROM counters WHERE key = ANY(%s)", [list(keys)]).fetchall()
        return {str(key): int(value) for key, value in rows}

    def ledger(self, keys: Sequence[str]) -> dict[str, tuple[str, int]] | None:
        """The keys' rows of the ledger; None where there is none. Raises RigError."""
        with self._reading("the table ledger (id, key, value)"):
            if self._one("SELECT to_regclass('ledger')") is None:
                return None
            rows = self._db.execute("SELECT id, key, value FROM ledger WHERE key = ANY(%s)", [list(keys)]).fetchall()
        return {i: (k, v) for i, k, v in rows}

    def newest(self) -> int:
        """The largest id of `data`. Raises RigError."""
        with self._reading("the table data (id, content)"):
            return int(self._one("SELECT coalesce(max(id), 0) FROM data"))

    def bulk_rows(self, after: int) -> BulkRows:
        """What requests of ours left in `data` beyond the id `after`. Raises RigError."""
        with self._reading("the table data (id, content)"):
            return bulk_rows(self._db, after=after, form=r"^9?\d{12}-\d+$")

    def connections(self) -> int:
        """The server's max_connections."""
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
        """What a driver's job needs to work here: the DSN and a schema of its own, which is dropped at the end."""
        schema = f"pgcrucible_{secrets.token_hex(6)}"
        with contextlib.closing(self._connect(read_only=False)) as connection:
            try:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            except psycopg.Error as error:
                raise UsageError(
                    f"--dsn: {' '.join(str(error).split())}",
                    hint="isolation and deadlocks work in a schema of their own: they need CREATE on the database",
                ) from None
            try:
                yield {"dsn": self._dsn, "schema": schema}
            finally:
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
