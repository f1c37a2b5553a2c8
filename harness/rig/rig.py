"""A provisioned rig: its hosts by role, commands on many hosts at once, and a connection to its database.

A thread pool runs commands on many hosts. Fabric's group has neither limit nor timeout, and loses results of hosts
that share an address.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict, TypeVar

import psycopg

from harness.errors import RigError
from harness.model import ROLES, Host, Role
from harness.rig import database_connection, state
from harness.rig.database_connection import DeadlineConnection
from harness.rig.ssh import CONNECT_TIMEOUT_S, SshConnection
from harness.rig.state import READ_HERE, RigState, Variables, authority_file
from harness.text import closest

T = TypeVar("T")

WORKERS = 16


class ConnectionOptions(TypedDict):
    """Options of libpq; the last two with TLS."""

    port: int
    dbname: str
    user: str
    password: str
    sslmode: NotRequired[str]
    sslrootcert: NotRequired[str]


@dataclass(kw_only=True)
class Rig:
    """A provisioned rig: its stored state, and what opens its hosts (secrets are masked in the repr)."""

    state: RigState
    key: Path | None
    known_hosts: Path | None
    secrets: Mapping[str, str] = field(repr=False)
    authority: Path | None = None
    """With TLS: the certificate authority that servers of the rig are verified against."""
    _open: dict[str, SshConnection] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The rig's name."""
        return self.state.name

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts, in the order of roles."""
        return self.state.hosts

    @property
    def variables(self) -> Variables:
        """The variables of the roles, defaults included."""
        return self.state.variables

    @property
    def authority_on_hosts(self) -> str:
        """Path of the same certificate on the rig's hosts; empty without TLS."""
        return f"{self.variables['common_settings_directory']}/ca.pem" if self.authority else ""

    def role(self, role: Role) -> list[Host]:
        """Returns the hosts of a role, in their order."""
        return [host for host in self.hosts if host.role == role]

    def at(self, host: Host | str) -> SshConnection:
        """Returns the connection to a host (a name or a record); it is opened on first use and then shared."""
        name = host if isinstance(host, str) else host.name
        if name not in self._open:
            record = next(h for h in self.hosts if h.name == name)
            self._open[name] = SshConnection(record, self.key, self.known_hosts)
        return self._open[name]

    def each(self, hosts: Sequence[Host], work: Callable[[SshConnection], T]) -> dict[str, T]:
        """Runs `work` on all hosts at once; host name -> result. Raises the first host's error.

        Ctrl-C closes the connections of the hosts that are still at work.
        """
        if not hosts:
            return {}
        connections = [self.at(host) for host in hosts]
        with ThreadPoolExecutor(min(WORKERS, len(connections))) as pool:
            try:
                return dict(zip([c.name for c in connections], pool.map(work, connections), strict=True))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                for connection in connections:
                    connection.close()  # commands that still run on the host fail at once
                raise

    def connection_options(self, authority: str) -> ConnectionOptions:
        """Returns libpq's options for a connection as the harness's role, all but the host.

        `authority`: the path of the certificate authority on the client's machine; empty without TLS.
        """
        options = ConnectionOptions(
            port=int(self.variables["postgres_port"]),
            dbname=str(self.variables["postgres_database"]),
            user=str(self.variables["postgres_harness_user"]),
            password=self.secrets["harness_password"],
        )
        if authority:
            options |= {"sslmode": "verify-full", "sslrootcert": authority}
        return options

    @contextlib.contextmanager
    def database(self, limit_s: float = database_connection.ANSWER_S) -> Iterator[psycopg.Connection[Any]]:
        """Opens an autocommit connection to the rig's database as the harness's role, through an SSH tunnel.

        `limit_s`: the longest wait for the result of a statement.
        """
        host = self.role("db")[0]
        options = self.connection_options(str(self.authority or ""))
        with self.at(host).tunnel(options["port"]) as local_port:
            options["port"] = local_port
            try:
                connection = DeadlineConnection.connect(
                    **{**database_connection.options(limit_s), **options},
                    host=host.name if self.authority else "127.0.0.1",
                    hostaddr="127.0.0.1",
                    connect_timeout=CONNECT_TIMEOUT_S,
                    autocommit=True,
                )
            except psycopg.OperationalError as error:
                raise RigError(
                    f"{host.name}: PostgreSQL does not answer: {' '.join(str(error).split())}",
                    hint=f"./run provision --rig {self.name} starts PostgreSQL if it is down",
                ) from None
            connection.limit_s = limit_s + database_connection.GRACE_S
            with contextlib.closing(connection):  # psycopg's own `with` would wait for a statement of another thread
                yield connection

    def close(self) -> None:
        """Closes all connections."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_rig(name: str) -> Rig:
    """Opens a provisioned rig. Raises RigError if it does not exist or is not ready."""
    rig = existing_rig(name)
    if not rig.state.ready:
        raise RigError(
            f"rig '{name}' is not ready: its last provision failed or was interrupted",
            hint=f"./run provision --rig {name}",
        )
    _require_complete(rig.state)
    return rig


def existing_rig(name: str) -> Rig:
    """Opens a rig that was provisioned, if only in part. Raises RigError if it does not exist."""
    stored = state.load(name)
    if stored is None:
        known = state.names()
        others = f" (existing rigs: {', '.join(known)})" if known else ""
        build = "build it with: ./run provision" + ("" if name == "local" else f" --rig {name}")
        similar = closest(name, known)
        raise RigError(f"there is no rig '{name}'{others}", hint=f"{similar} Or {build}" if similar else build)
    return rig_of(stored)


def _require_complete(stored: RigState) -> None:
    """Raises RigError where the state of a provisioned rig lacks what a bench reads: its file was changed."""
    missing = [f"host of role {role}" for role in ROLES if all(host.role != role for host in stored.hosts)]
    missing += [f"variable {name}" for name in READ_HERE if name not in stored.variables]
    numbers = [name for name in READ_HERE if name.endswith(("_port", "_workers", "_processes"))]
    missing += [f"number {name}" for name in numbers if not str(stored.variables.get(name, 0)).isdecimal()]
    if missing:
        raise RigError(
            f"{state.folder(stored.name) / 'rig.json'}: damaged: it has no {missing[0]}",
            hint=f"write it again with: ./run provision --rig {stored.name}",
        )


def rig_of(stored: RigState) -> Rig:
    """Returns the rig of a stored state, ready or not."""
    name = stored.name
    folder = state.folder(name)
    return Rig(
        state=stored,
        key=folder / "id_ed25519" if (folder / "id_ed25519").exists() else None,
        known_hosts=folder / "known_hosts" if (folder / "known_hosts").exists() else None,
        secrets=state.read_secrets(name),
        authority=authority_file(name) if stored.variables.get("tls") else None,
    )
