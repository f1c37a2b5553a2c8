"""Provider podman: hosts as system containers of this machine, created by playbooks/podman_create.yml.

Everything created has the label `pgcrucible.rig=<name>`, by which it is found and removed, and one that names the
checkout that owns it: names of containers and networks are the machine's, and another checkout's are left alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from harness.errors import RigError
from harness.model import Host
from harness.provision import doctor, image, podman_cli, ssh_keys, topology
from harness.provision.ansible import PlayResult, run_playbooks
from harness.provision.inventory_model import Inventory
from harness.provision.play_events import Echo
from harness.provision.providers import local_hosts
from harness.provision.providers.base import Platform, Preparation
from harness.rig import state
from harness.rig.state import RigState, Variables

INVENTORY = "inventory/local.yml"
MAKES_HOSTS = True
NETWORK_IS_LOCAL = True
LIMITS_CPUS = True

SSH_WAIT_S = 60.0


def prepare(name: str, source: Inventory, app_hosts: int | None, echo: Echo) -> Preparation:
    """Installs missing packages and finds an OCI runtime. Raises RigError for the first failed check."""
    changed = 0
    machine = doctor.probe()
    if machine.missing and machine.apt and machine.privileged:
        changed = local_hosts.install_packages(name, machine.missing, echo)
        machine = doctor.probe()
    checks = doctor.check_machine(machine, source.host_count(app_hosts))
    for check in checks:
        if check.status == "fail":
            raise RigError(f"{check.name}: {check.detail}", hint=check.cure)
    return Preparation(checks=checks, changed=changed, runtime=machine.runtime)


def place_hosts(
    source: Inventory, network: str, app_hosts: int | None, before: RigState | None, others: Sequence[RigState]
) -> tuple[Host, ...]:
    """Returns the rig's hosts, each at its role's address of the rig's network."""
    del before, others
    return topology.numbered_hosts(source, network, app_hosts)


def variables(rig: RigState, source: Inventory) -> Variables:
    """Returns Ansible variables for SSH with the rig's own key."""
    del source
    return local_hosts.ssh_variables(state.folder(rig.name))


def create(rig: RigState, source: Inventory, echo: Echo) -> tuple[RigState, PlayResult]:
    """Creates image, network, volume and containers."""
    recipe = image.prepare(state.ROLES_DIR)
    ssh_keys.make_keys(rig.name, rig.hosts)
    backlog = str(rig.variables["haproxy_backlog"])
    play_variables: dict[str, object] = {
        "controller_become": local_hosts.become(),
        "rig": rig.name,
        "rig_owner": quote(state.OWNER),
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
        "faults_allowed": rig.faults_allowed,
    }
    result = run_playbooks(rig.name, ["podman_create.yml"], variables=play_variables, echo=echo, mitogen=False)
    return replace(rig, image=recipe.tag), result


def wait_for_hosts(rig: RigState) -> Mapping[str, Platform]:
    """Returns each host's platform once sshd runs in every container."""
    local_hosts.wait_for_ssh(rig.hosts, SSH_WAIT_S)
    return local_hosts.platforms(rig.hosts)


def foreign_owner(name: str) -> str:
    """Returns the folder of the other checkout that owns containers, network or volume of this name, or nothing.

    Objects without an owner are of an earlier version: they are ours if this checkout has the rig's state.
    """
    if shutil.which("podman") is None:
        return ""
    foreign = podman_cli.labelled_rigs().get(name, set()) - {state.OWNER}
    if state.folder(name).exists():
        foreign -= {""}
    return next((owner or "a folder that an earlier version did not record" for owner in sorted(foreign)), "")


def running(name: str) -> Mapping[str, str]:
    """Returns the state (running, exited, paused …) of each container of this checkout's rig, by host name."""
    if shutil.which("podman") is None:
        return {}
    prefix = f"pgcrucible-{name}-"
    return {
        record["Names"][0].removeprefix(prefix): str(record["State"])
        for record in podman_cli.containers(name)
        if podman_cli.owner(record) in ("", state.OWNER)
    }


def host_status(rig: RigState) -> Mapping[str, str]:
    """Returns `up`, or what is wrong, for each container."""
    return local_hosts.host_status(rig, running(rig.name))


def processes(name: str) -> Collection[int]:
    """Returns none: the processes of a container are in its control group."""
    del name
    return ()


def run_privileged(name: str, host: Host, command: Sequence[str]) -> None:
    """Runs a command among the mounts of a container, with the rights of this machine."""
    podman_cli.run_among_mounts(name, host.name, command)


def limit_cpus(name: str, cpus: Mapping[str, float]) -> None:
    """Limits containers to a number of cores, effective at once."""
    podman_cli.set_cpus(name, cpus)


def stop_host(name: str, host: Host) -> None:
    """Kills the container; returns once it has ended."""
    podman_cli.stop(name, host.name)


def start_host(name: str, host: Host, cpus: float | None = None) -> None:
    """Starts the container, limits its cores again, which podman forgets, and waits for sshd."""
    podman_cli.start(name, host.name)
    rig = state.load(name)
    if limit := cpus or (rig.cpus.get(host.name) if rig else None):
        podman_cli.set_cpus(name, {host.name: limit})
    local_hosts.wait_for_ssh((host,), SSH_WAIT_S)


def release(name: str, kept: Collection[Host], echo: Echo) -> tuple[str, ...]:
    """Does nothing: `create` removes the hosts that are no longer wanted."""
    del name, kept, echo
    return ()


def remove(name: str, echo: Echo, *, purge: bool, take_over: bool) -> tuple[str, ...]:
    """Removes everything with the rig's label, checks that nothing is left, and lists what it removed."""
    del take_over  # the caller has asked foreign_owner
    if shutil.which("podman") is None:
        return ()
    if not purge and name not in podman_cli.labelled_rigs():
        return ()  # a rig of another provider, or one that was not made: starting Ansible takes a second
    state.make_folder(name)
    play_variables = {"controller_become": local_hosts.become(), "rig": name, "purge": purge}
    result = run_playbooks(name, ["podman_destroy.yml"], variables=play_variables, echo=echo, mitogen=False)
    return tuple(line for task in result.tasks for line in task.removed)
