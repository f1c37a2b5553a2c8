"""Makes and removes rigs: decides what is wanted, lets Ansible do it, and times the stages.

The order is always the same: inventory, state and keys on the controller; the provider's play; SSH; then
site.yml and verify.yml. What broke half-way goes on where it stopped, or is removed by `destroy`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UsageError
from harness.model import MAX_HOSTS
from harness.provision import doctor, image, podman_cli
from harness.provision.ansible import Echo, PlayResult, run_playbooks
from harness.provision.bundle import Bundle, build_bundle
from harness.provision.certificates import certify
from harness.provision.inventory import Inventory, read_inventory
from harness.provision.providers import podman, static, vm
from harness.provision.status import wait_for_ssh
from harness.provision.topology import ansible_inventory, caps, hosts_of
from harness.rig import network, state
from harness.rig.state import RigState

INVENTORIES: Mapping[str, str] = {"podman": "inventory/local.yml", "vm": "inventory/vm.yml"}
"""The source inventory of a provider where the user names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionReport:
    """What a provision did: the rig as it is now, how much had to change, seconds by stage."""

    rig: RigState
    changed: int
    stages: Mapping[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyReport:
    """What a destroy removed (`container …`, `network …`, `volume …`, `machine …`, `state`; or nothing)."""

    rig: str
    removed: tuple[str, ...]
    images: tuple[str, ...]
    """Images that stay cached for the next provision."""


class _Stages(dict[str, float]):
    """Seconds by stage, in the order in which they ended."""

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.add(name, time.monotonic() - began)

    def add(self, name: str, seconds: float) -> None:
        self[name] = round(self.get(name, 0.0) + seconds, 2)

    def split(self, result: PlayResult, first: str) -> None:
        """A playbook run's time by play; what belongs to none (Ansible's own start) goes to `first`."""
        for play in result.plays:
            by_play = play.playbook in INVENTORIES
            self.add(play.name.split(":")[0].lower() if by_play else play.playbook, play.seconds)
        self.add(first, result.seconds - sum(play.seconds for play in result.plays))


def provision(
    name: str,
    *,
    echo: Echo,
    inventory: Path | None = None,
    provider: str | None = None,
    hosts: int | None = None,
) -> ProvisionReport:
    """Makes the rig `name`, or brings it to what is asked for; where nothing differs it changes nothing.

    A rig remembers its inventory and its number of app hosts. Raises UsageError for a wrong inventory or
    number, RigError where the machine, a host or a role fails.
    """
    if hosts is not None and not 1 <= hosts <= MAX_HOSTS:
        raise UsageError(f"--hosts {hosts} is out of range", hint=f"give 1 to {MAX_HOSTS}")
    with state.locked(name):
        stages = _Stages()
        if made_by_run := os.environ.get("PGCRUCIBLE_VENV_S"):
            stages.add("venv", float(made_by_run))
        before = state.load(name)
        source = _read_source(before, inventory, provider)
        if hosts is None and inventory is None and before is not None:
            hosts = sum(host.role == "app" for host in before.hosts)
        changed, runtime, acceleration = 0, "", ""
        checks: list[doctor.Check] = []
        if source.provider == "podman":
            wanted = sum(hosts if group.role == "app" and hosts else group.count for group in source.groups)
            with stages.timed("doctor"):
                checks, runtime, installed = podman.prepare_machine(name, wanted, echo)
            changed += installed.changed if installed else 0
        elif source.provider == "vm":
            with stages.timed("doctor"):
                checks, acceleration, installed = vm.prepare_machine(name, source, echo)
            changed += installed.changed if installed else 0
        rig = replace(_allot(name, before, source, hosts), runtime=runtime, acceleration=acceleration)
        _write_inventory(rig, source)
        if source.provider == "podman":
            recipe = image.prepare(state.ROLES_DIR)
            rig = replace(rig, image=recipe.tag)
            with stages.timed("caps"):
                podman.lift_caps(rig)
            made = podman.make(rig, source, recipe, echo)
            stages.split(made, "hosts")
            changed += made.changed
        elif source.provider == "vm":
            base, recipe_of_base = vm.base_of(source)
            rig = replace(rig, image=str(base))
            state.save(rig)
            made = vm.make(rig, source, base, recipe_of_base, echo)
            stages.split(made, "hosts")
            changed += made.changed
        bundle, done = _deploy(rig, source, stages, echo)
        stages.split(done, "site")
        if source.provider == "podman":
            with stages.timed("caps"):
                podman.set_caps(rig)
        rig = replace(rig, ready=True, stages=dict(stages), code_hash=bundle.code_hash, wheels_hash=bundle.wheels_hash)
        state.save(rig)
        return ProvisionReport(
            rig=rig,
            changed=changed + done.changed,
            stages=rig.stages,
            warnings=tuple(f"{check.name}: {check.detail}" for check in checks if check.status == "warn"),
        )


def _deploy(rig: RigState, source: Inventory, stages: _Stages, echo: Echo) -> tuple[Bundle, PlayResult]:
    """Once every host answers: what each of them gets, then the roles and their proof."""
    variables: dict[str, Any] = state.read_secrets(rig.name)
    if rig.variables.get("tls"):
        variables |= certify(rig.name, rig.hosts)
    if source.provider == "static":
        with stages.timed("ssh"):
            kinds = static.kinds(rig.hosts)
        with stages.timed("bundle"):
            deployed = static.bundles(rig.hosts, kinds, echo)
            bundle = next(iter(deployed.values()))
        _write_inventory(rig, source, {name: made.variables() for name, made in deployed.items()})
    else:
        with stages.timed("ssh"):
            wait_for_ssh(rig)
        with stages.timed("bundle"):
            bundle = build_bundle()
        variables |= bundle.variables()
    return bundle, run_playbooks(rig.name, ["site.yml", "verify.yml"], variables=variables, echo=echo)


def _read_source(before: RigState | None, inventory: Path | None, provider: str | None) -> Inventory:
    if provider is not None and provider not in INVENTORIES and inventory is None:
        raise UsageError(
            f"--provider {provider}: no inventory is known for it", hint="give --inventory FILE, or --provider podman"
        )
    if inventory is None:
        remembered = Path(before.inventory) if before else state.ROOT / INVENTORIES["podman"]
        inventory = state.ROOT / INVENTORIES[provider] if provider else remembered
    source = read_inventory(inventory, state.ROLES_DIR)
    if provider is not None and provider != source.provider:
        raise UsageError(f"{inventory}: its provider is {source.provider}, not {provider}")
    if before is not None and before.provider != source.provider:
        raise UsageError(
            f"rig {before.name} is made by {before.provider}, {inventory} says {source.provider}",
            hint=f"./run destroy --rig {before.name}, or choose another --rig",
        )
    return source


def _allot(name: str, before: RigState | None, source: Inventory, app_hosts: int | None) -> RigState:
    """The rig as it shall be, with a network of its own; stored as not ready, so that destroy knows of it."""
    state.make_folder(name)
    with network.network_lock():
        subnet = before.network if before else ""
        others = [other for rig in state.names() if rig != name and (other := state.load(rig))]
        if not subnet and source.provider != "static":
            engine = podman_cli.networks() if shutil.which("podman") else []
            subnet = network.free_network([*engine, *doctor.routes(), *(o.network for o in others if o.network)])
        variables = {**image.role_defaults(state.ROLES_DIR), **source.variables}
        for group in source.groups:
            variables |= group.variables
        placed = hosts_of(source, subnet, app_hosts)
        if source.provider == "vm":
            placed = vm.with_ports(placed, before, others)
        rig = RigState(
            name=name,
            provider=source.provider,
            inventory=str(source.path.resolve()),
            network=subnet,
            hosts=placed,
            cpus=caps(source, placed) if source.provider == "podman" else {},
            variables=variables,
        )
        state.save(rig)
    return rig


def _write_inventory(rig: RigState, source: Inventory, own: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    base = state.folder(rig.name)
    effective = ansible_inventory(source, rig.name, rig.hosts, base, own or {})
    state.write_private(base / "inventory.yml", yaml.safe_dump(effective, sort_keys=False))


def destroy(name: str, *, echo: Echo, purge: bool = False) -> DestroyReport:
    """Removes all that is labelled with the rig's name, proves that nothing is left, then forgets its state.

    Works on a rig that is half-made and on one whose state is lost; where there is none, nothing is removed
    and that is no error. `purge` removes cached images and bundles too, unless another rig runs on them.
    """
    with state.locked(name):
        known, engine = state.folder(name).exists(), shutil.which("podman") is not None
        removed: tuple[str, ...] = ()
        if engine and (known or purge or name in podman_cli.labelled_rigs()):
            state.make_folder(name)
            removed = podman.remove(name, echo, purge=purge)
        removed += vm.remove(name)
        if (rig := state.load(name) if known else None) and rig.provider == "static":
            removed += static.remove(rig, echo)
        shutil.rmtree(state.folder(name), ignore_errors=not known)
        if purge:
            vm.purge_cache()
        images = tuple(podman_cli.images()) if engine else ()
    return DestroyReport(rig=name, removed=(*removed, "state") if known else removed, images=images)
