"""Provider podman: hosts as system containers of this machine, made by playbooks/podman_create.yml.

All that is made carries the label `pgcrucible.rig=<name>`, which is how it is found again and removed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from harness.errors import RigError
from harness.provision import doctor, image, podman_cli, ssh_keys
from harness.provision.ansible import Echo, PlayResult, run_playbooks
from harness.provision.inventory import Inventory
from harness.rig import state
from harness.rig.state import RigState


def prepare_machine(name: str, hosts: int, echo: Echo) -> tuple[list[doctor.Check], str, PlayResult | None]:
    """Installs what is missing: the doctor's checks, the OCI runtime that works, and what the play did.

    `hosts` is how many the rig will have. Raises RigError for the first check that fails.
    """
    installed = None
    machine = doctor.probe()
    if machine.missing and machine.apt and machine.privileged:
        state.make_folder(name)
        packages = {"controller_become": _become(), "controller_packages": list(machine.missing)}
        installed = run_playbooks(name, ["controller_packages.yml"], variables=packages, echo=echo, mitogen=False)
        machine = doctor.probe()
    checks = doctor.check_machine(machine, hosts)
    for check in checks:
        if check.status == "fail":
            raise RigError(f"{check.name}: {check.detail}", hint=check.cure)
    return checks, machine.runtime, installed


def make(rig: RigState, source: Inventory, recipe: image.Recipe, echo: Echo) -> PlayResult:
    """Image, network, volume and containers."""
    ssh_keys.make_keys(rig.name, rig.hosts)
    backlog = str(rig.variables["haproxy_backlog"])
    variables: dict[str, Any] = {
        "controller_become": _become(),
        "rig": rig.name,
        "rig_network": rig.network,
        "rig_keys": str(state.folder(rig.name) / "hosts"),
        "rig_sysctl": {"net.core.somaxconn": backlog, "net.ipv4.tcp_max_syn_backlog": backlog},
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
        "shared_directory": rig.variables["app_sqlite_directory"],
    }
    return run_playbooks(rig.name, ["podman_create.yml"], variables=variables, echo=echo, mitogen=False)


def lift_caps(rig: RigState) -> None:
    """Gives every running host all cores: one that is capped to a tenth of a core installs slowly."""
    running = running_hosts(rig.name)
    cores = float(os.cpu_count() or 1)
    podman_cli.set_cpus(rig.name, {name: cores for name in rig.cpus if running.get(name) == "running"})


def set_caps(rig: RigState) -> None:
    """Caps every host as the inventory says. Raises RigError where one cannot be."""
    podman_cli.set_cpus(rig.name, rig.cpus)


def running_hosts(name: str) -> Mapping[str, str]:
    """The state (running, exited, paused …) of each container of the rig, by host name."""
    prefix = f"pgcrucible-{name}-"
    return {record["Names"][0].removeprefix(prefix): str(record["State"]) for record in podman_cli.containers(name)}


def remove(name: str, echo: Echo, *, purge: bool) -> tuple[str, ...]:
    """Removes what is labelled with the rig's name, proves that nothing is left, and says what it removed."""
    variables = {"controller_become": _become(), "rig": name, "purge": purge}
    result = run_playbooks(name, ["podman_destroy.yml"], variables=variables, echo=echo, mitogen=False)
    return tuple(line for task in result.tasks for line in task.removed)


def _become() -> bool:
    return os.geteuid() != 0
