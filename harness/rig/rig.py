"""The provisioned hosts together: who has which role, all of them at once, and the rig's database.

Many hosts are worked on by a thread pool of our own (fabric's group has neither limit nor time-out, and loses
results of hosts that share an address).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg

from harness.errors import RigError
from harness.model import Host, Role
from harness.rig import state
from harness.rig.ssh import CONNECT_TIMEOUT_S, SshConnection
from harness.rig.state import RigState, authority_file

T = TypeVar("T")

WORKERS = 16


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
    def variables(self) -> Mapping[str, Any]:
        """The variables of the roles, defaults included."""
        return self.state.variables

    @property
    def authority_on_hosts(self) -> str:
        """The path of that certificate on the rig's hosts; empty without TLS."""
        return f"{self.variables['common_settings_directory']}/ca.pem" if self.authority else ""

    def role(self, role: Role) -> list[Host]:
        """The hosts of a role, in their order."""
        return [host for host in self.hosts if host.role == role]

    def at(self, host: Host | str) -> SshConnection:
        """The Station of a host (by name or record)."""
        name = host if isinstance(host, str) else host.name
        if name not in self._open:
            record = next(h for h in self.hosts if h.name == name)
            self._open[name] = SshConnection(record, self.key, self.known_hosts)
        return self._open[name]

    def each(self, hosts: Sequence[Host], work: Callable[[SshConnection], T]) -> dict[str, T]:
        """Runs `work` on all hosts at once; host name -> answer. Raises the first host's error;
        Ctrl-C lets go of those still at work."""
        if not hosts:
            return {}
        stations = [self.at(host) for host in hosts]
        with ThreadPoolExecutor(min(WORKERS, len(stations))) as pool:
            try:
                return dict(zip([s.name for s in stations], pool.map(work, stations), strict=True))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                for station in stations:
                    station.close()  # what still runs there fails at once
                raise

    def connection_options(self, authority: str) -> dict[str, Any]:
        """Returns libpq's options for a connection as the harness's role, all but the host.

        `authority`: the path of the certificate authority on the client's machine; empty without TLS.
        """
        verify = {"sslmode": "verify-full", "sslrootcert": authority} if authority else {}
        return {
            "port": int(self.variables["postgres_port"]),
            "dbname": str(self.variables["postgres_database"]),
            "user": str(self.variables["postgres_harness_user"]),
            "password": self.secrets["harness_password"],
            **verify,
        }

    @contextlib.contextmanager
    def database(self) -> Iterator[psycopg.Connection[Any]]:
        """An autocommit connection to the rig's database as the harness's role, through an SSH tunnel."""
        host = self.role("db")[0]
        options = self.connection_options(str(self.authority or ""))
        with self.at(host).tunnel(options["port"]) as local_port:
            try:
                connection = psycopg.connect(
                    **options | {"port": local_port},
                    host=host.name if self.authority else "127.0.0.1",
                    hostaddr="127.0.0.1",
                    application_name="pgcrucible",
                    connect_timeout=CONNECT_TIMEOUT_S,
                    autocommit=True,
                )
            except psycopg.OperationalError as error:
                raise RigError(
                    f"{host.name}: PostgreSQL does not answer: {' '.join(str(error).split())}",
                    hint="see ./run status; ./run provision starts what is down",
                ) from None
            with connection:
                yield connection

    def close(self) -> None:
        """Ends all connections."""
        for station in self._open.values():
            station.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_rig(name: str) -> Rig:
    """The rig as it was provisioned. Raises RigError where there is none, or where it is not ready."""
    known = state.load(name)
    if known is None:
        others = ", ".join(state.names())
        raise RigError(
            f"there is no rig '{name}' yet" + (f" (there are: {others})" if others else ""),
            hint="build it with: ./run provision" + ("" if name == "local" else f" --rig {name}"),
        )
    if not known.ready:
        raise RigError(f"rig '{name}' was not provisioned to its end", hint=f"./run provision --rig {name}")
    folder = state.folder(name)
    return Rig(
        state=known,
        key=folder / "id_ed25519" if (folder / "id_ed25519").exists() else None,
        known_hosts=folder / "known_hosts" if (folder / "known_hosts").exists() else None,
        secrets=state.read_secrets(name),
        authority=authority_file(name) if known.variables.get("tls") else None,
    )
