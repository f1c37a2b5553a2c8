"""The current status of a rig, as the controller observes it: which hosts run and accept SSH."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import RigError
from harness.provision.providers import PROVIDERS, provider_of
from harness.rig import state
from harness.rig.state import RigState


@dataclass(frozen=True, slots=True, kw_only=True)
class RigStatus:
    """A rig (None: its state is lost) and `up`, or what is wrong, for each of its hosts."""

    rig: RigState | None
    hosts: Mapping[str, str]

    def lines(self) -> list[str]:
        """Returns lines for the terminal."""
        if self.rig is None:
            return ["no stored state, but containers or machines of this name run: ./run destroy removes them"]
        ready = "ready" if self.rig.ready else "NOT READY: the last provision failed or was interrupted"
        where = f" on {self.rig.network}" if self.rig.network else ""
        summary = f"{ready}; provider {self.rig.provider}{where}; code {self.rig.code_hash or 'none'}"
        width = max((len(host.name) for host in self.rig.hosts), default=0)
        return [summary] + [
            f"{host.name:<{width}}  {host.role:<4}  {host.address:<15}  {self.hosts.get(host.name, 'missing')}"
            for host in self.rig.hosts
        ]


def status(name: str) -> RigStatus:
    """Returns the status of each host of the rig. Raises RigError if there is no such rig."""
    rig = state.load(name)
    if rig is not None:
        return RigStatus(rig=rig, hosts=provider_of(rig).host_status(rig))
    running = {host: text for provider in PROVIDERS.values() for host, text in provider.running(name).items()}
    if not running:
        raise RigError(f"there is no rig '{name}'", hint=f"build it with: ./run provision --rig {name}")
    return RigStatus(rig=None, hosts=running)
