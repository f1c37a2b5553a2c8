"""What a provision would change, without changing anything: hosts, limits, variables, code and packages.

What the roles would change on the hosts is not predicted: they compare each host with what is wanted while they run.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.model import Host
from harness.provision import bundle, doctor, image
from harness.provision.inventory_model import Inventory
from harness.provision.providers import PROVIDERS
from harness.provision.source import wanted_rig
from harness.provision.topology import cpu_limits, require_distinct
from harness.rig import network, state
from harness.rig.state import RigState, Variables
from harness.text import printable

KEPT_NOTE = "made again where its image, memory, address or rights differ"
ROLES_NOTE = "what the roles change on the hosts is found while they run; what is as wanted stays as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would change. `code`, `packages`: old and new hash, equal where nothing changes; empty: not known yet.

    `cpus`: host -> cores before and after; `variables`: names of those whose values differ; `machine`: what this
    machine lacks. `remove`: hosts that are deleted, or from existing machines what was installed.
    """

    rig: str
    provider: str
    inventory: str
    ready: bool
    create: tuple[str, ...]
    start: tuple[str, ...]
    remove: tuple[str, ...]
    keep: tuple[str, ...]
    cpus: Mapping[str, tuple[float | None, float | None]]
    variables: tuple[str, ...]
    code: tuple[str, str]
    packages: tuple[str, str]
    machine: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yields lines for the terminal."""
        where = f"provider {self.provider}, inventory {printable(self.inventory)}"
        yield f"rig '{self.rig}', {where}: nothing is changed now"
        for word, names in (
            ("create", self.create),
            ("start", self.start),
            ("remove", self.remove),
            ("keep", self.keep),
        ):
            if names:
                note = f" ({KEPT_NOTE})" if word == "keep" and PROVIDERS[self.provider].MAKES_HOSTS else ""
                yield f"  {word:<9} {len(names)}: {', '.join(names)}{note}"
        for host, (before, after) in self.cpus.items():
            yield f"  cpus      {host}: {_cores(before)} -> {_cores(after)}"
        if self.variables:
            yield f"  variables {', '.join(self.variables)}"
        for word, (old, new) in (("code", self.code), ("packages", self.packages)):
            change = f"{old or 'none'} -> {new or 'known when the hosts answer'}"
            yield f"  {word:<9} {f'unchanged ({old})' if old == new else change}"
        for line in self.machine:
            yield f"  machine   {line}"
        yield f"  roles     {ROLES_NOTE}"

    def as_json(self) -> dict[str, object]:
        """Returns the preview as plain data."""
        return asdict(self)


def _cores(limit: float | None) -> str:
    return "no limit" if limit is None else f"{limit:g}"


def preview(
    name: str, *, inventory: Path | None = None, provider: str | None = None, hosts: int | None = None
) -> Preview:
    """Returns what `provision` with these arguments would change. Raises what it would raise for them."""
    before = state.load(name)
    source, hosts = wanted_rig(name, before, inventory, provider, hosts)
    maker = PROVIDERS[source.provider]
    others = state.readable(without=name)
    subnet = before.network if before else ""
    if not subnet and maker.MAKES_HOSTS:
        subnet = next(iter(network.free_networks([other.network for other in others if other.network])), "")
    wanted = maker.place_hosts(source, subnet, hosts, before, others)
    require_distinct(wanted, source.path)
    names = [host.name for host in wanted]
    running = maker.running(name) if maker.MAKES_HOSTS else {host.name: "running" for host in wanted}
    known = [host.name for host in before.hosts] if before else []
    there = [*running, *(() if maker.MAKES_HOSTS else known)]
    return Preview(
        rig=name,
        provider=source.provider,
        inventory=str(source.path),
        ready=before is not None and before.ready,
        create=tuple(host for host in names if host not in running),
        start=tuple(host for host in names if running.get(host, "running") != "running"),
        remove=tuple(dict.fromkeys(host for host in there if host not in names)),
        keep=tuple(host for host in names if running.get(host) == "running"),
        cpus=_cpus(before, cpu_limits(source, wanted) if maker.LIMITS_CPUS else {}),
        variables=_variables(before, source),
        code=(before.code_hash if before else "", bundle.checkout_hash()),
        packages=(before.wheels_hash if before else "", _packages() if maker.MAKES_HOSTS else ""),
        machine=tuple(_lacking(wanted)) if maker.MAKES_HOSTS else (),
    )


def _cpus(before: RigState | None, after: Mapping[str, float]) -> dict[str, tuple[float | None, float | None]]:
    limits = before.cpus if before else {}
    hosts = [host for host in after if before is not None and any(host == known.name for known in before.hosts)]
    return {host: (limits.get(host), after[host]) for host in hosts if limits.get(host) != after[host]}


def _variables(before: RigState | None, source: Inventory) -> tuple[str, ...]:
    """Returns the names of the variables that differ from those of the last provision; none for a new rig."""
    if before is None:
        return ()
    variables: Variables = {**image.role_defaults(state.ROLES_DIR), **source.variables}
    for group in source.groups:
        variables = {**variables, **group.variables}
    return tuple(
        sorted(key for key in {*variables, *before.variables} if variables.get(key) != before.variables.get(key))
    )


def _packages() -> str:
    """Returns the hash of the packages on hosts that are made here, which have one Python and this architecture."""
    return bundle.hash_wheels(bundle.LOCK.read_bytes(), bundle.HOST_PYTHON, platform.machine())


def _lacking(hosts: tuple[Host, ...]) -> Iterator[str]:
    for check in doctor.examine(len(hosts)):
        if check.status == "fail":
            yield f"{check.name}: {check.detail}" + (f" ({check.cure})" if check.cure else "")
