"""Provisions and destroys rigs: decides what is wanted, lets Ansible do it, and times the stages.

The provider (harness/provision/providers) creates the hosts; site.yml and verify.yml configure and check them. A
provision that failed continues where it stopped when it is run again; `destroy` removes a half-made rig as well.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from harness.errors import RigError, UsageError
from harness.model import MAX_HOSTS, Host
from harness.provision import doctor, image, play_log, play_processes, podman_cli
from harness.provision.ansible import PlayResult, run_playbooks
from harness.provision.bundle import Bundle, build_bundle
from harness.provision.inventory_model import Inventory
from harness.provision.path_quoting import check_path
from harness.provision.pgadmin import server as pgadmin
from harness.provision.play_events import Echo, Play
from harness.provision.providers import PROVIDERS, provider_of
from harness.provision.providers.base import Platform, Provider
from harness.provision.reconfigure import secret_variables
from harness.provision.source import foreign_rig, wanted_rig
from harness.provision.topology import ansible_inventory, cpu_limits, require_distinct
from harness.rig import network, state
from harness.rig.state import RigState, Variables
from harness.text import plural

RUNS_CODE = ("app", "load")
"""Roles that our code and its packages are deployed for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionReport:
    """Result of a provision: the rig as it is now, the number of changes, and seconds by stage."""

    rig: RigState
    changed: int
    stages: Mapping[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyReport:
    """Result of a destroy: what was removed (`container …`, `network …`, `volume …`, `machine …`, `state`).

    `remaining`: with `forget`, what could not be removed, and why.
    """

    rig: str
    removed: tuple[str, ...]
    remaining: tuple[str, ...] = ()


class _Stages(dict[str, float]):
    """Seconds by stage, in the order in which the stages ended."""

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.add(name, time.monotonic() - began)

    def add(self, name: str, seconds: float) -> None:
        self[name] = round(self.get(name, 0.0) + seconds, 2)

    def add_plays(self, result: PlayResult, stage_of: Callable[[Play], str], rest: str) -> None:
        """Adds the time of each play to its stage, and the time outside plays (Ansible's start) to `rest`."""
        for play in result.plays:
            self.add(stage_of(play), play.seconds)
        self.add(rest, result.seconds - sum(play.seconds for play in result.plays))


def provision(
    name: str,
    *,
    echo: Echo,
    inventory: Path | None = None,
    provider: str | None = None,
    hosts: int | None = None,
) -> ProvisionReport:
    """Creates the rig `name`, or changes it to what is asked for; an unchanged rig is left as it is.

    The steps: read the inventory; prepare this machine; place the hosts and store the state, so that destroy
    knows of them; create the hosts; wait for them; bundle the code; run site.yml and verify.yml; limit CPUs;
    store the state as ready.

    A rig remembers its inventory and its number of app hosts. Raises UsageError for an invalid inventory or
    number, RigError if this machine, a host or a role fails.
    """
    if hosts is not None and not 1 <= hosts <= MAX_HOSTS:
        raise UsageError(f"--hosts {hosts} is out of range", hint=f"give 1 to {MAX_HOSTS}")
    check_path(state.folder(name))
    check_path(state.PLAYBOOKS)
    with state.locked(name), ExitStack() as held:
        play_processes.remove_leftovers(state.folder(name))
        stages = _Stages()
        if venv_s := os.environ.get("PGCRUCIBLE_VENV_S"):
            stages.add("venv", float(venv_s))
        before = state.load(name)
        source, hosts = wanted_rig(name, before, inventory, provider, hosts)
        maker = PROVIDERS[source.provider]
        with stages.timed("doctor"):
            ready = maker.prepare(name, source, hosts, echo)
        uncleaned = _release(name, before, source, hosts, echo)
        rig = _place(name, before, source, hosts, held)
        echo(f"{plural(len(rig.hosts), 'host')}: {', '.join(host.name for host in rig.hosts)}")
        echo(f"the log is {state.folder(name) / play_log.FILE}")
        rig = replace(rig, runtime=ready.runtime, acceleration=ready.acceleration)
        _write_inventory(rig, source, {})
        _lift_cpu_limits(rig, maker, stages)
        rig, created = maker.create(rig, source, echo)
        if created:
            stages.add_plays(created, lambda play: play.name.split(":")[0].lower(), rest="hosts")
        with stages.timed("ssh"):
            platforms = maker.wait_for_hosts(rig)
        with stages.timed("bundle"):
            bundles = build_bundles(rig.hosts, platforms, echo)
        _write_inventory(rig, source, {host: bundle.variables() for host, bundle in bundles.items()})
        deployed = run_playbooks(name, ["site.yml", "verify.yml"], variables=secret_variables(rig), echo=echo)
        stages.add_plays(deployed, lambda play: play.playbook, rest="site")
        _limit_cpus(rig, maker, stages)
        bundle = next(iter(bundles.values()))
        rig = replace(rig, ready=True, stages=dict(stages), code_hash=bundle.code_hash, wheels_hash=bundle.wheels_hash)
        state.save(rig)
        return ProvisionReport(
            rig=rig,
            changed=ready.changed + (created.changed if created else 0) + deployed.changed,
            stages=rig.stages,
            warnings=(
                *uncleaned,
                *(f"{check.name}: {check.detail}" for check in ready.checks if check.status == "warn"),
            ),
        )


def _place(name: str, before: RigState | None, source: Inventory, app_hosts: int | None, held: ExitStack) -> RigState:
    """Returns the wanted rig, with its network if it needs one; stores it as not ready.

    A new network is reserved until `held` closes.
    """
    state.make_folder(name)
    maker = PROVIDERS[source.provider]
    with network.choosing():
        subnet = before.network if before else ""
        others = state.readable(without=name)
        if not subnet and maker.MAKES_HOSTS:
            engine = podman_cli.networks() if shutil.which("podman") else []
            taken = [*engine, *doctor.routes(), *(other.network for other in others if other.network)]
            subnet = network.reserve(taken, held)
        hosts = maker.place_hosts(source, subnet, app_hosts, before, others)
        require_distinct(hosts, source.path)
        variables = {**image.role_defaults(state.ROLES_DIR), **source.variables}
        for group in source.groups:
            variables |= group.variables
        rig = RigState(
            name=name,
            provider=source.provider,
            inventory=str(source.path.absolute()),  # group_vars are beside a symbolic link, not its target
            network=subnet,
            hosts=hosts,
            cpus=cpu_limits(source, hosts) if maker.LIMITS_CPUS else {},
            variables=variables,
            faults_allowed=bool(source.variables.get("faults_allowed")),
        )
        state.save(rig)
    return rig


def _release(
    name: str, before: RigState | None, source: Inventory, app_hosts: int | None, echo: Echo
) -> tuple[str, ...]:
    """Cleans existing machines that the rig is about to lose: the smaller inventory, or --hosts, names them no more."""
    maker = PROVIDERS[source.provider]
    if before is None or maker.MAKES_HOSTS:
        return ()
    return maker.release(name, maker.place_hosts(source, "", app_hosts, before, ()), echo)


def _write_inventory(rig: RigState, source: Inventory, host_variables: Mapping[str, Variables]) -> None:
    effective = ansible_inventory(source, rig, provider_of(rig).variables(rig, source), host_variables)
    state.write_private(state.folder(rig.name) / "inventory.yml", yaml.safe_dump(effective, sort_keys=False))


def _lift_cpu_limits(rig: RigState, maker: Provider, stages: _Stages) -> None:
    """Gives running hosts all cores: a host limited to a tenth of a core installs slowly."""
    if rig.cpus:
        with stages.timed("caps"):
            running, cores = maker.running(rig.name), float(os.cpu_count() or 1)
            maker.limit_cpus(rig.name, {host: cores for host in rig.cpus if running.get(host) == "running"})


def _limit_cpus(rig: RigState, maker: Provider, stages: _Stages) -> None:
    """Limits every host as the inventory says. Raises RigError."""
    if rig.cpus:
        with stages.timed("caps"):
            maker.limit_cpus(rig.name, rig.cpus)


def build_bundles(hosts: Sequence[Host], platforms: Mapping[str, Platform], echo: Echo) -> dict[str, Bundle]:
    """Builds one bundle per platform of the hosts that run our code; returns the bundle of each host, by name.

    A host without our code gets any bundle: it reads only the hash. Raises RigError with the package that a
    platform lacks.
    """
    built = {}
    for platform in dict.fromkeys(platforms[host.name] for host in hosts if host.role in RUNS_CODE):
        echo(f"bundle: packages for Python {platform.python} on {platform.machine}")
        built[platform] = build_bundle(python=platform.python, machine=platform.machine)
    first = next(iter(built.values()))
    return {host.name: built.get(platforms[host.name], first) for host in hosts}


def destroy(
    name: str, *, echo: Echo, purge: bool = False, take_over: bool = False, forget: bool = False
) -> DestroyReport:
    """Removes everything that the providers find of the rig, checks that nothing is left, then deletes its state.

    Works on a half-made rig and on one whose state is lost or damaged; a rig that does not exist is no error. `purge`
    also removes cached images and bundles that no other rig uses. `take_over` also removes what another checkout
    created. `forget` deletes the state even if something cannot be removed, such as files on a machine that is gone.
    """
    with state.locked(name):
        play_processes.remove_leftovers(state.folder(name))
        pgadmin.stop(name)
        known = state.folder(name).exists()
        stored = _readable_state(name, echo)
        removed: list[str] = []
        remaining: list[str] = []
        for kind, provider in PROVIDERS.items():
            try:
                if not take_over and (owner := provider.foreign_owner(name)):
                    if stored is not None and stored.provider != kind:
                        continue  # the other checkout's rig has the same name and is of another kind
                    raise foreign_rig(name, owner)
                removed += provider.remove(name, echo, purge=purge, take_over=take_over)
            except RigError as error:
                if not forget:
                    raise
                remaining.append(error.message)
        if stored is not None and not forget:
            provider_of(stored)  # a provider that this version does not know has removed nothing
        shutil.rmtree(state.folder(name), ignore_errors=not known)
    return DestroyReport(rig=name, removed=(*removed, "state") if known else tuple(removed), remaining=tuple(remaining))


def _readable_state(name: str, echo: Echo) -> RigState | None:
    try:
        return state.load(name)
    except RigError as error:
        echo(f"{error.message}: the rig is removed without it")
        return None
