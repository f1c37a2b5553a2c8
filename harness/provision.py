"""Makes, describes and removes rigs: decides what is wanted, lets Ansible do it, and times the stages.

The order is always the same: inventory, state and keys on the controller; the provider's play; SSH; then
site.yml and verify.yml. What broke half-way goes on where it stopped, or is removed by `destroy`. A
provider is a play, playbooks/<provider>.yml, and a function here that prepares its variables.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from harness import doctor, image, podman, state
from harness.bundle import build_bundle
from harness.config import MAX_HOSTS
from harness.errors import RigError, UsageError
from harness.hosts import ansible_inventory, caps, hosts_of
from harness.inventory import Inventory, read_inventory
from harness.model import Host
from harness.playbook import Echo, PlayResult, run_playbooks
from harness.state import RigState

INVENTORIES: Mapping[str, str] = {"podman": "inventory/local.yml"}
"""The source inventory of a provider where the user names none."""

SSH_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionReport:
    """What a provision did: the rig as it is now (with `stages` in seconds), and how much had to change."""

    rig: RigState
    changed: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyReport:
    """What a destroy removed (`container …`, `network …`, `volume …`, `state`; empty: there was nothing)."""

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
            named = play.name.split(":")[0].lower() if ":" in play.name else play.playbook
            self.add(named, play.seconds)
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
        stamp = state.ROOT / ".venv/stamp"
        if stamp.exists():
            stages.add("venv", float(stamp.read_text().strip() or 0))
        before = state.load(name)
        source = _read_source(before, inventory, provider)
        if hosts is None and inventory is None and before is not None:
            hosts = sum(host.role == "app" for host in before.hosts)
        warnings: tuple[str, ...] = ()
        runtime, changed = "", 0
        if source.provider == "podman":
            warnings, runtime, changed = _prepare_machine(name, echo, stages)
        rig = _allot(name, before, source, hosts, runtime)
        _write_inventory(rig, source)
        if source.provider == "podman":
            made = _make_containers(rig, source, echo)
            stages.split(made, "hosts")
            changed += made.changed
        with stages.timed("ssh"):
            wait_for_ssh(rig.hosts)
        with stages.timed("bundle"):
            bundle = build_bundle()
        variables = {**state.read_secrets(name), **bundle.variables()}
        done = run_playbooks(name, ["site.yml", "verify.yml"], variables=variables, echo=echo)
        stages.split(done, "site")
        if source.provider == "podman":
            podman.set_cpus(name, caps(source, rig.hosts))
        rig = replace(rig, ready=True, stages=dict(stages), code_hash=bundle.code_hash, wheels_hash=bundle.wheels_hash)
        state.save(rig)
        return ProvisionReport(rig=rig, changed=changed + done.changed, warnings=warnings)


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


def _prepare_machine(name: str, echo: Echo, stages: _Stages) -> tuple[tuple[str, ...], str, int]:
    """Installs what is missing and checks the machine: warnings, the OCI runtime, and how much changed."""
    changed = 0
    with stages.timed("doctor"):
        machine = doctor.probe()
    if machine.missing and machine.apt and machine.privileged:
        state.make_folder(name)
        variables = {"controller_become": _become(), "controller_packages": list(machine.missing)}
        installed = run_playbooks(name, ["controller.yml"], variables=variables, echo=echo, mitogen=False)
        stages.split(installed, "controller")
        changed = installed.changed
        with stages.timed("doctor"):
            machine = doctor.probe()
    checks = doctor.judge(machine)
    failure = doctor.first_failure(checks)
    if failure is not None:
        raise failure
    warnings = tuple(f"{check.name}: {check.detail}" for check in checks if check.status == "warn")
    return warnings, machine.runtime, changed


def _allot(name: str, before: RigState | None, source: Inventory, app_hosts: int | None, runtime: str) -> RigState:
    """The rig as it shall be, with a network of its own; stored as not ready, so that destroy knows of it."""
    state.make_folder(name)
    with state.network_lock():
        network = before.network if before else ""
        if not network and source.provider == "podman":
            others = [other.network for rig in state.names() if rig != name and (other := state.load(rig))]
            network = state.free_network([*podman.networks(), *doctor.routes(), *filter(None, others)])
        rig = RigState(
            name=name,
            provider=source.provider,
            inventory=str(source.path.resolve()),
            network=network,
            hosts=hosts_of(source, network, app_hosts),
            variables={**image.role_defaults(state.ROLES_DIR), **source.variables},
            runtime=runtime,
        )
        state.save(rig)
    return rig


def _write_inventory(rig: RigState, source: Inventory) -> None:
    base = state.folder(rig.name)
    effective = ansible_inventory(source, rig.name, rig.hosts, base)
    state.write_private(base / "inventory.yml", yaml.safe_dump(effective, sort_keys=False))
    link = base / "group_vars"
    link.unlink(missing_ok=True)
    beside = source.path.resolve().parent / "group_vars"
    if beside.is_dir():
        link.symlink_to(beside)


def _make_containers(rig: RigState, source: Inventory, echo: Echo) -> PlayResult:
    """Image, network, volume and containers. Caps come last of all: a capped host is slow to provision."""
    state.make_keys(rig.name, rig.hosts)
    recipe = image.prepare(state.ROLES_DIR)
    running = {record["Names"][0] for record in podman.containers(rig.name) if record["State"] == "running"}
    cores = float(os.cpu_count() or 1)
    podman.set_cpus(rig.name, {h.name: cores for h in rig.hosts if f"pgcrucible-{rig.name}-{h.name}" in running})
    limits = {key: value for key, value in rig.variables["common_sysctl"].items() if key.startswith("net.")}
    variables: dict[str, Any] = {
        "controller_become": _become(),
        "rig": rig.name,
        "rig_network": rig.network,
        "rig_keys": str(state.folder(rig.name) / "hosts"),
        "rig_sysctl": {key: str(value) for key, value in limits.items()},
        "rig_hosts": [
            {
                "name": host.name,
                "role": host.role,
                "address": host.address,
                "memory": source.group(host.role).variables.get("host_memory", ""),
            }
            for host in rig.hosts
        ],
        "image_tag": recipe.tag,
        "image_recipe": str(recipe.folder),
        "oci_runtime": rig.runtime,
        "app_sqlite_directory": rig.variables["app_sqlite_directory"],
    }
    return run_playbooks(rig.name, ["podman.yml"], variables=variables, echo=echo, mitogen=False)


def _become() -> bool:
    return os.geteuid() != 0


def wait_for_ssh(hosts: tuple[Host, ...], timeout_s: float = SSH_WAIT_S) -> None:
    """Returns once every host's sshd greets. Raises RigError that names the first one that does not."""
    deadline = time.monotonic() + timeout_s

    def greets(host: Host) -> str:
        last = "no answer"
        while time.monotonic() < deadline:
            try:
                with socket.create_connection((host.ssh_address, host.ssh_port), timeout=2) as connection:
                    connection.settimeout(5)
                    if connection.recv(4) == b"SSH-":
                        return ""
                    last = "something that is not sshd answers"
            except OSError as error:
                last = error.strerror or str(error) or "no answer"
            time.sleep(0.1)
        return f"{host.name} ({host.ssh_address}:{host.ssh_port}): {last} within {timeout_s:g} s"

    with ThreadPoolExecutor(min(16, len(hosts))) as pool:
        silent = [text for text in pool.map(greets, hosts) if text]
    if silent:
        raise RigError(f"SSH: {silent[0]}", hint="podman logs, or ./run destroy and again")
