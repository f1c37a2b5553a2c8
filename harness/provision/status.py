"""The current status of a rig, as the controller observes it: which hosts run and accept SSH, which services work."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from harness.errors import RigError
from harness.provision.pgadmin import server as pgadmin
from harness.provision.providers import PROVIDERS, provider_of
from harness.provision.services import ServiceStatus, ask_services
from harness.rig import state
from harness.rig.rig import rig_of
from harness.rig.state import RigState
from harness.text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class RigStatus:
    """A rig (None: its state is lost) and `up`, or what is wrong, for each of its hosts.

    `services` are those of the hosts that are up. `error`: why the rig has no status.
    """

    rig: RigState | None
    hosts: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, tuple[ServiceStatus, ...]] = field(default_factory=dict)
    error: str = ""
    pgadmin: str = ""
    """Address of the rig's pgAdmin, with what is wrong if it does not answer; empty if none runs."""

    def lines(self) -> list[str]:
        """Returns lines for the terminal."""
        if self.error:
            return [self.error]
        if self.rig is None:
            return ["no stored state, but containers or machines of this name run: ./run destroy removes them"]
        ready = "ready" if self.rig.ready else "NOT READY: the last provision failed or was interrupted"
        where = f" on {self.rig.network}" if self.rig.network else ""
        lines = [f"{ready}; provider {self.rig.provider}{where}; code {self.rig.code_hash or 'none'}"]
        width = max((len(host.name) for host in self.rig.hosts), default=0)
        now = time.time()
        for host in self.rig.hosts:
            state_of_host = printable(self.hosts.get(host.name, "missing"))
            lines.append(f"{host.name:<{width}}  {host.role:<4}  {host.address:<15}  {state_of_host}")
            lines += [f"{'':<{width}}  {service.line(now)}" for service in self.services.get(host.name, ())]
        return [*lines, f"pgAdmin: {self.pgadmin}"] if self.pgadmin else lines

    def as_json(self) -> dict[str, object]:
        """Returns the status as plain data, without the inventory's variables, which may hold passwords.

        docs/results.md describes its keys.
        """
        record = asdict(self)
        if record["rig"]:
            del record["rig"]["variables"]
        return record


def status(name: str) -> RigStatus:
    """Returns the status of each host of the rig and of its services. Raises RigError if there is no such rig."""
    rig = state.load(name)
    owners = {kind: owner for kind, provider in PROVIDERS.items() if (owner := provider.foreign_owner(name))}
    if rig is not None:
        provider = provider_of(rig)
        if rig.provider in owners:
            raise RigError(
                f"rig '{name}': its hosts belong to the checkout in {owners[rig.provider]}, which took over the name",
                hint=f"use it there; or ./run destroy --rig {name} --take-over and ./run provision --rig {name}",
            )
        hosts = provider.host_status(rig)
        with rig_of(rig) as opened:
            services = ask_services(opened, [host for host in rig.hosts if hosts.get(host.name) == "up"])
        return RigStatus(rig=rig, hosts=hosts, services=services, pgadmin=pgadmin.address(name))
    running = {host: text for provider in PROVIDERS.values() for host, text in provider.running(name).items()}
    if running:
        return RigStatus(rig=None, hosts=running)
    owned = "".join(f" in this checkout; one of this name belongs to {owner}" for owner in owners.values())
    raise RigError(f"there is no rig '{name}'{owned}", hint=f"build it with: ./run provision --rig {name}")


def status_of_all() -> dict[str, RigStatus]:
    """Returns the status of every rig, by name; an error of one rig is that rig's status."""
    statuses = {}
    for name in state.names():
        try:
            statuses[name] = status(name)
        except RigError as error:
            statuses[name] = RigStatus(rig=None, error=" | ".join(part for part in (error.message, error.hint) if part))
    return statuses
