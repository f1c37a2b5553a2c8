"""Provider vm: hosts as virtual machines of this machine (QEMU), made by playbooks/vm_create.yml.

A machine is a folder in the rig's state (`vm/<host>/`: disk, console, identity) and a process that names the
folder in its command line (harness/provision/qemu.py): remove both and nothing of it is left.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from harness.errors import RigError, UsageError
from harness.model import Host
from harness.provision import image, qemu, ssh_keys
from harness.provision.ansible import Echo, PlayResult, run_playbooks
from harness.provision.doctor import Check
from harness.provision.inventory import Inventory
from harness.rig import state
from harness.rig.state import RigState

KERNEL = ("ifupdown", "linux-image-cloud-amd64", "tiny-initramfs")
"""What a machine has on its disk and a container has not."""

RECIPE = state.PLAYBOOKS / "images/vm"
SSH_PORTS = range(20022, 32000)
"""Forwarded to sshd, on loopback: below the ports that the kernel hands out to clients."""

SSH_WAIT_S = 600.0
"""An emulated machine boots in 20 s of CPU time, and many of them share few cores."""

CLOUD_DISK = 10 << 30


def folder(name: str) -> Path:
    """Where the rig's machines are, existing or not."""
    return state.folder(name) / "vm"


def prepare_machine(name: str, source: Inventory, echo: Echo) -> tuple[list[Check], str, PlayResult | None]:
    """Installs what is missing; the warnings, the acceleration, and what the play did. Raises RigError."""
    own = "vm_image" not in source.variables
    if os.uname().machine != "x86_64":
        raise RigError(
            f"the vm provider knows x86_64, not {os.uname().machine}", hint="./run provision --provider podman"
        )
    installed = None
    if missing := qemu.missing_packages(own_base=own):
        if shutil.which("apt-get") is None:
            raise RigError(f"missing: {' '.join(missing)}", hint="install them (Debian's names)")
        state.make_folder(name)
        packages = {"controller_become": os.geteuid() != 0, "controller_packages": list(missing)}
        installed = run_playbooks(name, ["controller_packages.yml"], variables=packages, echo=echo, mitogen=False)
    acceleration = qemu.find_acceleration()
    checks = []
    if acceleration == "tcg":
        detail = "no hardware virtualization here: CPUs are emulated, so speeds mean nothing"
        checks.append(Check(name="acceleration", status="warn", detail=detail, cure="a machine with vmx or svm"))
    return checks, acceleration, installed


def with_ports(hosts: Sequence[Host], before: RigState | None, rigs: Sequence[RigState]) -> tuple[Host, ...]:
    """The hosts as this machine reaches them: sshd's port forwarded to one of loopback. Kept where there is one.

    `rigs` are all other rigs, whose ports are not free even while their machines are down.
    """
    kept = {host.name: host.ssh_port for host in before.hosts} if before else {}
    taken = {host.ssh_port for rig in rigs for host in rig.hosts if rig.provider == "vm"} | set(kept.values())
    free = (port for port in SSH_PORTS if port not in taken)
    found = []
    with ExitStack() as held:
        for host in hosts:
            port = kept.get(host.name) or next((p for p in free if _holds(p, held)), 0)
            if not port:
                raise RigError("no port of loopback is left for SSH", hint="./run status lists the rigs")
            found.append(replace(host, ssh_address="127.0.0.1", ssh_port=port))
    return tuple(found)


def _holds(port: int, held: ExitStack) -> bool:
    probe = held.enter_context(socket.socket())
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def base_of(source: Inventory) -> tuple[Path, image.Recipe | None]:
    """What the machines' disks lie over: the user's image, or our base and its recipe. Raises UsageError."""
    if "vm_image" in source.variables:
        path = Path(str(source.variables["vm_image"])).expanduser()
        path = path if path.is_absolute() else source.path.resolve().parent / path
        if path.suffix != ".qcow2" or not path.is_file():
            raise UsageError(f"{source.path}: vm_image: {path} is no qcow2 file", hint="name a cloud image, *.qcow2")
        disk_size(path)
        return path.resolve(), None
    recipe = image.prepare(state.ROLES_DIR, packages=KERNEL, scripts=RECIPE)
    return state.CACHE / f"vm-{recipe.folder.name.rpartition('-')[2]}", recipe


def disk_size(path: Path) -> int:
    """Bytes that a machine sees of a qcow2 file (docs/interop/qcow2: big-endian, at 24). Raises UsageError."""
    with path.open("rb") as file:
        header = file.read(32)
    if header[:4] != b"QFI\xfb" or len(header) < 32:
        raise UsageError(f"{path} is no qcow2 file", hint="qemu-img convert -O qcow2 makes one")
    return int.from_bytes(header[24:32])


def machines(rig: RigState, source: Inventory, base: Path) -> list[qemu.VirtualMachine]:
    """The rig's machines as they shall be. Raises UsageError."""
    found = []
    for host in rig.hosts:
        wanted = source.group(host.role).variables
        cpus = float(wanted.get("host_cpus", 1))
        if cpus != int(cpus):
            raise UsageError(f"{source.path}: host_cpus {cpus:g} in {host.role}: a machine has whole CPUs")
        found.append(
            qemu.VirtualMachine(
                rig=rig.name,
                host=host,
                folder=folder(rig.name) / host.name,
                base=base,
                cpus=int(cpus),
                memory=str(wanted.get("host_memory", "512m")),
                acceleration="kvm" if rig.acceleration == "kvm" else "tcg",
            )
        )
    return found


def make(rig: RigState, source: Inventory, base: Path, recipe: image.Recipe | None, echo: Echo) -> PlayResult:
    """Base, disks and running machines; what the play did.

    A machine that would be made otherwise now (command line, base, keys) is made anew, one that is not wanted
    any more goes, one that is down starts with the disk it has.
    """
    ssh_keys.make_keys(rig.name, rig.hosts)
    wanted = machines(rig, source, base)
    remove_stale(rig, wanted)
    running = qemu.processes(folder(rig.name))
    variables: dict[str, Any] = {
        "controller_become": os.geteuid() != 0,
        "base": str(base),
        "base_is_there": base.exists(),
        "base_recipe": str(recipe.folder) if recipe else "",
        "lan": {
            "command": _lan(rig),
            "sockets": [str(qemu.socket_of(folder(rig.name), host.name)) for host in rig.hosts],
            "running": qemu.LAN in running,
        },
        "machines": [
            {
                "name": machine.host.name,
                "folder": str(machine.folder),
                "backing": str(machine.backing),
                "disk_bytes": 0 if machine.own_base else max(CLOUD_DISK, disk_size(base)),
                "seeded": not machine.own_base,
                "running": machine.host.name in running,
                "command": qemu.command(machine),
            }
            for machine in wanted
        ],
    }
    done = run_playbooks(rig.name, ["vm_create.yml"], variables=variables, echo=echo, mitogen=False)
    remove_unused_bases()
    return done


def remove_stale(rig: RigState, wanted: Sequence[qemu.VirtualMachine]) -> None:
    """Ends and removes what is not wanted (any more, or like this), and writes what the wanted are told at boot."""
    base = folder(rig.name)
    base.mkdir(mode=0o700, exist_ok=True)
    told = {machine.host.name: _told(rig, machine) for machine in wanted} | {qemu.LAN: {}}
    commands = {machine.host.name: qemu.command(machine) for machine in wanted} | {qemu.LAN: _lan(rig)}
    specs = {name: hashlib.sha256(json.dumps([commands[name], told[name]]).encode()).hexdigest() for name in commands}
    running = qemu.processes(base)
    stale = [
        name
        for name in {path.name for path in base.iterdir()} | running.keys()
        if _read(base / name / "spec") != specs.get(name)
    ]
    # A machine does not plug itself in again: without its LAN it has to start anew, with the disk it has.
    qemu.stop(base, stale if qemu.LAN in running and qemu.LAN not in stale else None)
    for name in stale:
        shutil.rmtree(base / name, ignore_errors=True)
    for name, spec in specs.items():
        place = base / name
        if not (place / "spec").exists():
            for relative, text in told[name].items():
                (place / relative).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                state.write_private(place / relative, text)
            place.mkdir(mode=0o700, exist_ok=True)
            state.write_private(place / "spec", spec)


def _lan(rig: RigState) -> list[str]:
    return qemu.lan_command(rig.name, folder(rig.name), [host.name for host in rig.hosts])


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _told(rig: RigState, machine: qemu.VirtualMachine) -> dict[str, str]:
    """Files in the machine's folder that carry its identity, by relative name."""
    keys = state.folder(rig.name) / "hosts" / machine.host.name
    private, public = (keys / "host_key").read_text(), (keys / "host_key.pub").read_text()
    authorized = (keys / "authorized_keys").read_text()
    if machine.own_base:
        return {"identity": qemu.identity(machine.host, rig.network, private, authorized)}
    return {f"seed/{name}": text for name, text in seed(machine.host, rig.network, private, public, authorized).items()}


def seed(host: Host, network: str, host_key: str, host_key_public: str, authorized: str) -> Mapping[str, str]:
    """The NoCloud seed of a cloud image: the same identity, in cloud-init's words (its NoCloud documentation)."""
    user: dict[str, Any] = {
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": host_key_public.strip()},
        "users": [{"name": "root", "lock_passwd": True, "ssh_authorized_keys": [authorized.strip()]}],
    }
    prefix = network.rpartition("/")[2]
    nics = {
        "wan": {"match": {"macaddress": qemu.mac(host, 0)}, "dhcp4": True},
        "lan": {"match": {"macaddress": qemu.mac(host, 1)}, "addresses": [f"{host.address}/{prefix}"]},
    }
    instance = hashlib.sha256(host_key_public.encode()).hexdigest()[:16]
    return {
        "user-data": "#cloud-config\n" + yaml.safe_dump(user),
        "meta-data": yaml.safe_dump({"instance-id": instance, "local-hostname": host.name}),
        "network-config": yaml.safe_dump({"version": 2, "ethernets": nics}),
    }


def bases_in_use() -> set[Path]:
    """What the machines of all rigs lie over."""
    return {Path(rig.image) for name in state.names() if (rig := state.load(name)) and rig.provider == "vm"}


def remove_unused_bases() -> None:
    """Removes cached bases (0.6 GB each) that no rig's machines lie over."""
    used = bases_in_use()
    for path in state.CACHE.glob("vm-*"):
        if path not in used and path.suffix != ".partial":
            shutil.rmtree(path)


def purge_cache() -> None:
    """Empties the cache but for the bases that other rigs' machines lie over."""
    used = bases_in_use()
    for path in state.CACHE.glob("*"):
        if path.is_dir() and path not in used:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
    if state.CACHE.is_dir() and not used:
        state.CACHE.rmdir()


def running_hosts(name: str) -> Mapping[str, str]:
    """`running` for each machine of the rig that is up, by host name."""
    return dict.fromkeys(qemu.processes(folder(name)), "running")


def gone(name: str, host: Host) -> str:
    """Why there is no sense in waiting for a host any longer, or empty."""
    return "" if host.name in qemu.processes(folder(name)) else "the machine stopped while it booted"


def console(name: str, host: Host) -> str:
    """The last lines that a host's machine wrote to its console."""
    return qemu.console(folder(name) / host.name)


def remove(name: str) -> tuple[str, ...]:
    """Ends the rig's machines and removes their disks; proves that nothing is left and says what it removed.

    Needs no state but the folder's path, so it also works after a crash. Raises RigError.
    """
    base = folder(name)
    names = {*qemu.stop(base), *(path.name for path in base.glob("*"))}
    shutil.rmtree(base, ignore_errors=True)
    names |= set(qemu.stop(base))  # what a killed provision's play still started; without folders none follows
    left = [*qemu.processes(base), *map(str, base.glob("*"))]
    if left:
        raise RigError(f"still there after removal: {', '.join(left)}", hint=f"./run destroy --rig {name}")
    return tuple(f"machine {machine}" for machine in sorted(names))
