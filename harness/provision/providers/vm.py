"""Provider vm: hosts as virtual machines of this machine (QEMU), created by playbooks/vm_create.yml.

A machine is a folder in the rig's state (`vm/<host>/`: disk, console, identity) and a process whose command line
names the folder (harness/provision/qemu.py). Nothing else has to be removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.errors import RigError, UsageError
from harness.model import Host
from harness.provision import machine_command, qemu, ssh_keys, topology
from harness.provision.ansible import PlayResult, run_playbooks
from harness.provision.doctor import Check
from harness.provision.inventory_model import Inventory
from harness.provision.play_events import Echo
from harness.provision.providers import local_hosts, vm_base
from harness.provision.providers.base import Platform, Preparation
from harness.rig import state
from harness.rig.state import RigState, Variables

INVENTORY = "inventory/vm.yml"
MAKES_HOSTS = True
NETWORK_IS_LOCAL = False
LIMITS_CPUS = False

SSH_PORTS = range(20022, 32000)
"""Loopback ports forwarded to sshd: below the kernel's ephemeral range."""

SSH_WAIT_S = 600.0
"""Boot takes 20 s of CPU time on an emulated CPU, and many machines share few cores."""

SSH_TIMEOUT_S = 180
"""Ansible's timeout: key exchange and Python's start take seconds on an emulated CPU, and many share few cores."""

CLOUD_DISK = 10 << 30


def folder(name: str) -> Path:
    """Where the rig's machines are, existing or not."""
    return state.folder(name) / "vm"


def prepare(name: str, source: Inventory, app_hosts: int | None, echo: Echo) -> Preparation:
    """Installs missing packages and finds the acceleration. Raises RigError."""
    del app_hosts
    if os.uname().machine != "x86_64":
        raise RigError(
            f"the vm provider supports x86_64 only, not {os.uname().machine}", hint="./run provision --provider podman"
        )
    changed = 0
    if missing := qemu.missing_packages(own_base="vm_image" not in source.variables):
        if shutil.which("apt-get") is None:
            raise RigError(f"missing packages: {' '.join(missing)}", hint="install them (these are Debian's names)")
        changed = local_hosts.install_packages(name, missing, echo)
    acceleration = qemu.find_acceleration()
    checks = []
    if acceleration == "tcg":
        detail = "no hardware virtualization: CPUs are emulated, so throughput and latency mean nothing"
        checks.append(Check(name="acceleration", status="warn", detail=detail, cure="a machine with vmx or svm"))
    return Preparation(checks=checks, changed=changed, acceleration=acceleration)


def place_hosts(
    source: Inventory, network: str, app_hosts: int | None, before: RigState | None, others: Sequence[RigState]
) -> tuple[Host, ...]:
    """Returns the rig's hosts, each reached through a loopback port forwarded to its sshd.

    Ports of existing hosts are kept. Ports of other rigs are not free even while their machines are down.
    """
    kept = {host.name: host.ssh_port for host in before.hosts} if before else {}
    taken = {host.ssh_port for rig in others for host in rig.hosts if rig.provider == "vm"} | set(kept.values())
    free = (port for port in SSH_PORTS if port not in taken)
    hosts = []
    with ExitStack() as probes:
        for host in topology.numbered_hosts(source, network, app_hosts):
            port = kept.get(host.name) or next((p for p in free if _is_free(p, probes)), 0)
            if not port:
                raise RigError(
                    f"no free loopback port for SSH in {SSH_PORTS.start}-{SSH_PORTS.stop - 1}",
                    hint="./run status lists the rigs; ./run destroy --rig NAME frees ports",
                )
            hosts.append(replace(host, ssh_address="127.0.0.1", ssh_port=port))
    return tuple(hosts)


def variables(rig: RigState, source: Inventory) -> Variables:
    """Returns Ansible variables for SSH with the rig's own key, with a timeout for emulated CPUs."""
    timeout_s = source.variables.get("ansible_ssh_timeout", SSH_TIMEOUT_S)
    return {**local_hosts.ssh_variables(state.folder(rig.name)), "ansible_ssh_timeout": timeout_s}


def _is_free(port: int, probes: ExitStack) -> bool:
    """Whether the port can be bound; the probe stays bound until `probes` closes, so no port is chosen twice."""
    probe = probes.enter_context(socket.socket())
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def machines(rig: RigState, source: Inventory, base: Path) -> list[qemu.VirtualMachine]:
    """Returns the machines of the rig as the inventory asks for them. Raises UsageError."""
    wanted = []
    for host in rig.hosts:
        group_variables = source.group(host.role).variables
        cpus = float(group_variables.get("host_cpus", 1))
        if cpus != int(cpus):
            raise UsageError(f"{source.path}: host_cpus {cpus:g} in {host.role}: a virtual machine has whole CPUs")
        wanted.append(
            qemu.VirtualMachine(
                rig=rig.name,
                host=host,
                folder=folder(rig.name) / host.name,
                base=base,
                cpus=int(cpus),
                memory=str(group_variables.get("host_memory", "512m")),
                acceleration="kvm" if rig.acceleration == "kvm" else "tcg",
            )
        )
    return wanted


def create(rig: RigState, source: Inventory, echo: Echo) -> tuple[RigState, PlayResult]:
    """Creates the base, the disks and the running machines.

    A machine whose specification has changed (command line, base, keys) is created again, a surplus one is removed,
    and one that is down starts with its existing disk. The state is stored first, because remove_unused_bases of
    another rig's provision reads there which bases are in use.
    """
    base, recipe = vm_base.base_of(source)
    rig = replace(rig, image=str(base))
    state.save(rig)
    ssh_keys.make_keys(rig.name, rig.hosts)
    wanted = machines(rig, source, base)
    remove_stale(rig, wanted)
    processes = qemu.processes(folder(rig.name))
    play_variables: dict[str, object] = {
        "controller_become": local_hosts.become(),
        "base": str(base),
        "base_is_there": base.exists(),
        "base_recipe": str(recipe.folder) if recipe else "",
        "lan": {
            "command": _lan(rig),
            "sockets": [str(qemu.socket_of(folder(rig.name), host.name)) for host in rig.hosts],
            "running": qemu.LAN in processes,
        },
        "machines": [
            {
                "name": machine.host.name,
                "folder": str(machine.folder),
                "backing": str(machine.backing),
                "disk_bytes": 0 if machine.own_base else max(CLOUD_DISK, vm_base.disk_size(base)),
                "seeded": not machine.own_base,
                "running": machine.host.name in processes,
                "command": qemu.command(machine),
            }
            for machine in wanted
        ],
    }
    result = run_playbooks(rig.name, ["vm_create.yml"], variables=play_variables, echo=echo, mitogen=False)
    vm_base.remove_unused_bases()
    return rig, result


def remove_stale(rig: RigState, wanted: Sequence[qemu.VirtualMachine]) -> None:
    """Stops and removes machines that are surplus or have changed, and writes the boot files of the wanted ones."""
    base = folder(rig.name)
    base.mkdir(mode=0o700, exist_ok=True)
    boot_files = {machine.host.name: vm_base.boot_files(rig, machine) for machine in wanted} | {qemu.LAN: {}}
    commands = {machine.host.name: qemu.command(machine) for machine in wanted} | {qemu.LAN: _lan(rig)}
    specs = {
        name: hashlib.sha256(json.dumps([commands[name], boot_files[name]]).encode()).hexdigest() for name in commands
    }
    processes = qemu.processes(base)
    stale = [
        name
        for name in {path.name for path in base.iterdir()} | processes.keys()
        if not (spec := base / name / "spec").exists() or spec.read_text() != specs.get(name)
    ]
    # A machine does not reconnect to its LAN: if the LAN goes, all machines restart, with their existing disks.
    qemu.stop(base, stale if qemu.LAN in processes and qemu.LAN not in stale else None)
    for name in stale:
        shutil.rmtree(base / name, ignore_errors=True)
    for name, wanted_spec in specs.items():
        machine_folder = base / name
        if not (machine_folder / "spec").exists():
            for relative, text in boot_files[name].items():
                (machine_folder / relative).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                state.write_private(machine_folder / relative, text)
            machine_folder.mkdir(mode=0o700, exist_ok=True)
            state.write_private(machine_folder / "spec", wanted_spec)
        machine_command.store(machine_folder, commands[name])


def _lan(rig: RigState) -> list[str]:
    return qemu.lan_command(rig.name, folder(rig.name), [host.name for host in rig.hosts])


def wait_for_hosts(rig: RigState) -> Mapping[str, Platform]:
    """Returns each host's platform once sshd runs in every machine; fails early, with the console, if one stops."""
    _wait_for_ssh(rig.name, rig.hosts)
    return local_hosts.platforms(rig.hosts)


def _wait_for_ssh(name: str, hosts: Sequence[Host]) -> None:
    local_hosts.wait_for_ssh(hosts, SSH_WAIT_S, gone_reason=partial(gone_reason, name), console=partial(console, name))


def foreign_owner(name: str) -> str:
    """No other checkout: machines are found by their folder, which is in this one."""
    del name
    return ""


def running(name: str) -> Mapping[str, str]:
    """Returns `running` for each machine of the rig that is up, by host name."""
    return dict.fromkeys(qemu.processes(folder(name)), "running")


def host_status(rig: RigState) -> Mapping[str, str]:
    """Returns `up`, or what is wrong, for each machine."""
    return local_hosts.host_status(rig, running(rig.name))


def gone_reason(name: str, host: Host) -> str:
    """Returns why it is pointless to wait for a host any longer, or an empty string."""
    return "" if host.name in qemu.processes(folder(name)) else "the machine stopped while it booted"


def console(name: str, host: Host) -> str:
    """Returns the last lines that a host's machine wrote to its console."""
    return qemu.console(folder(name) / host.name)


def processes(name: str) -> Collection[int]:
    """Returns the ids of the QEMU processes."""
    return qemu.processes(folder(name)).values()


def run_privileged(name: str, host: Host, command: Sequence[str]) -> None:
    """Raises RigError: a virtual machine has all rights over SSH."""
    raise RigError(
        f"{host.name} of {name}: `{' '.join(command)}` failed, and a virtual machine has all rights over SSH"
    )


def limit_cpus(name: str, cpus: Mapping[str, float]) -> None:
    """Does nothing: `host_cpus` is the number of virtual CPUs, fixed when the machine starts."""
    del name, cpus


def stop_host(name: str, host: Host) -> None:
    """Ends the machine's process; returns once it has ended."""
    qemu.stop(folder(name), [host.name])


def start_host(name: str, host: Host, cpus: float | None = None) -> None:
    """Starts the machine with its disk, as it was created, and waits for sshd."""
    del cpus
    if host.name not in qemu.processes(folder(name)):
        machine_command.start(folder(name) / host.name)
    _wait_for_ssh(name, (host,))


def release(name: str, kept: Collection[Host], echo: Echo) -> tuple[str, ...]:
    """Does nothing: `create` removes the hosts that are no longer wanted."""
    del name, kept, echo
    return ()


def remove(name: str, echo: Echo, *, purge: bool, take_over: bool) -> tuple[str, ...]:
    """Stops the rig's machines, removes their disks, checks that nothing is left, and lists what it removed.

    Needs only the folder's path, so it also works after a crash. Raises RigError.
    """
    del echo, take_over
    base = folder(name)
    names = {*qemu.stop(base), *(path.name for path in base.glob("*"))}
    shutil.rmtree(base, ignore_errors=True)
    # A killed provision's play can have started more machines meanwhile. Without their folders no other follows.
    names |= set(qemu.stop(base))
    leftovers = [*qemu.processes(base), *map(str, base.glob("*"))]
    if leftovers:
        raise RigError(f"not removed: {', '.join(leftovers)}", hint=f"./run destroy --rig {name} again")
    if purge:
        vm_base.purge_cache(without=name)
    return tuple(f"machine {machine}" for machine in sorted(names))
