"""QEMU outside the playbooks: acceleration, the command line of a machine, and its processes.

The processes of a rig are identified only by their command line: a QEMU whose `-pidfile` is
`<rig's folder>/vm/<host>/pid`. So a machine is found even if provisioning was killed right after it started. The number
in the pid file is not used, and signals go through a pidfd to the process whose command line was checked.

A rig's LAN is one more such process: a QEMU without a machine that is a hub for the others. (A multicast socket
needs no process, but it drops packets that a machine cannot receive at once: with 1,000 connections opened together
on a busy two-core machine, receive buffers overflowed and the load balancer retransmitted 6 % of its segments.)
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ipaddress
import os
import re
import select
import shutil
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from harness.errors import RigError
from harness.model import Host
from harness.provision.path_quoting import qemu_value

Acceleration = Literal["kvm", "tcg"]

PROGRAM = "qemu-system-x86_64"
LAN = "lan"
"""Name of the folder and process of the network, beside those of the hosts."""

SOCKET_PATH_MAX = 107
"""Maximum length of a Unix socket's path in bytes (unix(7))."""

CONSOLE_LINES = 25
STOP_S = 10.0

WAN = {"address": "10.0.2.15/24", "gateway": "10.0.2.2", "dns": "10.0.2.3"}
"""QEMU's user-mode network, the same for every machine: incoming SSH, outgoing apt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachine:
    """One virtual machine. `folder` holds its disk, console and identity; its disk is an overlay of `base`."""

    rig: str
    host: Host
    folder: Path
    base: Path
    """The folder that playbooks/images/vm/base.sh created, or the user's cloud image (a qcow2 file)."""
    cpus: int
    memory: str
    acceleration: Acceleration

    @property
    def own_base(self) -> bool:
        """Whether the base is ours: booted directly, and given its name and keys without cloud-init."""
        return self.base.suffix != ".qcow2"

    @property
    def backing(self) -> Path:
        """The qcow2 file that the overlay refers to."""
        return self.base / "base.qcow2" if self.own_base else self.base


def find_acceleration(cpuinfo: Path = Path("/proc/cpuinfo"), device: Path = Path("/dev/kvm")) -> Acceleration:
    """Returns `kvm` if the CPU has virtualization extensions and the device opens, else `tcg` (emulation).

    The device alone is not enough: it can open on a machine whose CPU lacks the extensions, and guests hang.
    """
    flags = re.search(r"^flags\s*:.*\b(vmx|svm)\b", cpuinfo.read_text(), re.MULTILINE)
    if flags is None:
        return "tcg"
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError:
        return "tcg"
    return "kvm"


def socket_of(vms: Path, host: str) -> Path:
    """Returns the path of the socket between a machine and the LAN. Raises RigError if it is too long for a socket."""
    path = vms / LAN / host
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise RigError(
            f"{path}: too long for a socket ({SOCKET_PATH_MAX} bytes)", hint="move pgcrucible to a shorter path"
        )
    return path


def lan_command(rig: str, vms: Path, hosts: Iterable[str]) -> list[str]:
    """Returns the command line of the rig's LAN: a hub with one socket per host, in a folder private to its owner."""
    line = [PROGRAM, "-name", f"pgcrucible-{rig}-{LAN}", "-pidfile", str(vms / LAN / "pid"), "-daemonize"]
    line += ["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"]
    for host in hosts:
        path = socket_of(vms, host)
        line += ["-netdev", f"stream,id=at-{host},server=on,addr.type=unix,addr.path={qemu_value(path)}"]
        line += ["-netdev", f"hubport,id=port-{host},hubid=0,netdev=at-{host}"]
    return line


def mac(host: Host, nic: int) -> str:
    """Returns a locally administered MAC address from the host's LAN address; `nic`: 0 user-mode, 1 LAN."""
    return ":".join(f"{byte:02x}" for byte in (0x52, 0x54 + nic, *ipaddress.ip_address(host.address).packed))


def command(machine: VirtualMachine) -> list[str]:
    """Returns the command line that starts the machine in the background. It is world-readable and has no secret."""
    host, folder = machine.host, machine.folder
    cpu = "host" if machine.acceleration == "kvm" else "Nehalem"
    line = [PROGRAM, "-name", f"pgcrucible-{machine.rig}-{host.name}", "-pidfile", str(folder / "pid"), "-daemonize"]
    line += ["-machine", f"pc,accel={machine.acceleration}", "-cpu", cpu, "-smp", str(machine.cpus)]
    line += ["-m", machine.memory, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    line += ["-monitor", "none", "-serial", f"file:{folder / 'console.log'}"]
    line += ["-drive", f"file={qemu_value(folder / 'overlay.qcow2')},format=qcow2,if=virtio"]
    # The PCI slots decide which NIC is eth0 and which is eth1.
    line += ["-netdev", f"user,id=wan,ipv6=off,hostfwd=tcp:{host.ssh_address}:{host.ssh_port}-:22"]
    line += ["-device", f"virtio-net-pci,netdev=wan,mac={mac(host, 0)},addr=10,romfile="]
    line += [
        "-netdev",
        f"stream,id=lan,server=off,addr.type=unix,addr.path={qemu_value(socket_of(folder.parent, host.name))}",
    ]
    line += ["-device", f"virtio-net-pci,netdev=lan,mac={mac(host, 1)},addr=11,romfile="]
    line += ["-device", "virtio-rng-pci"]
    if not machine.own_base:
        return [*line, "-drive", f"file={qemu_value(folder / 'seed.iso')},format=raw,if=virtio,readonly=on"]
    line += ["-kernel", str(machine.base / "vmlinuz"), "-initrd", str(machine.base / "initrd")]
    line += ["-append", " ".join(_kernel(machine)), "-smbios", f"type=11,path={qemu_value(folder / 'identity')}"]
    return line


def _kernel(machine: VirtualMachine) -> list[str]:
    words = ["root=/dev/vda", "rw", "console=ttyS0", "panic=-1", "loglevel=4", "systemd.show_status=1"]
    words.append(f"systemd.hostname={machine.host.name}")
    if machine.acceleration == "tcg":  # mitigations are expensive under emulation and useless there
        words.append("mitigations=off")
    return words


def identity(host: Host, network: str, host_key: str, authorized: str) -> str:
    """Returns the identity of a machine of our own base: a systemd credential as an SMBIOS string.

    At boot systemd-tmpfiles (252 and later) writes the files listed in the credential `tmpfiles.extra`: SSH keys,
    addresses, resolver. See systemd.io/CREDENTIALS and tmpfiles.d(5).
    """
    prefix = ipaddress.ip_network(network).prefixlen
    interfaces = (
        "auto lo eth0 eth1\niface lo inet loopback\n"
        f"iface eth0 inet static\n    address {WAN['address']}\n    gateway {WAN['gateway']}\n"
        f"iface eth1 inet static\n    address {host.address}/{prefix}\n"
    )
    files = {
        "/etc/ssh/ssh_host_ed25519_key": ("0600", host_key),
        "/root/.ssh/authorized_keys": ("0600", authorized),
        "/etc/hostname": ("0644", f"{host.name}\n"),
        "/etc/resolv.conf": ("0644", f"nameserver {WAN['dns']}\n"),
        "/etc/network/interfaces": ("0644", interfaces),
    }
    lines = [f"f+~ {path} {mode} root root - {_base64(text)}\n" for path, (mode, text) in files.items()]
    return f"io.systemd.credential.binary:tmpfiles.extra={_base64(''.join(lines))}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def seed(host: Host, network: str, host_key: str, host_key_public: str, authorized: str) -> Mapping[str, str]:
    """Returns the same identity as files of a NoCloud seed, for a cloud image (cloud-init's NoCloud documentation)."""
    user: dict[str, object] = {
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": host_key_public.strip()},
        "users": [{"name": "root", "lock_passwd": True, "ssh_authorized_keys": [authorized.strip()]}],
    }
    prefix = network.rpartition("/")[2]
    nics = {
        "wan": {"match": {"macaddress": mac(host, 0)}, "dhcp4": True},
        "lan": {"match": {"macaddress": mac(host, 1)}, "addresses": [f"{host.address}/{prefix}"]},
    }
    instance = hashlib.sha256(host_key_public.encode()).hexdigest()[:16]
    return {
        "user-data": "#cloud-config\n" + yaml.safe_dump(user),
        "meta-data": yaml.safe_dump({"instance-id": instance, "local-hostname": host.name}),
        "network-config": yaml.safe_dump({"version": 2, "ethernets": nics}),
    }


def processes(vms: Path) -> dict[str, int]:
    """Returns host name -> process id of every QEMU whose pid file is `<vms>/<host>/pid`."""
    pids = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (name := _host_of(int(entry.name), vms)):
            pids[name] = int(entry.name)
    return pids


def _host_of(pid: int, vms: Path) -> str:
    """Returns the name of the host whose machine the process is, or an empty string."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    if not Path(words[0]).name.startswith("qemu-system-") or "-pidfile" not in words[:-1]:
        return ""
    path = Path(words[words.index("-pidfile") + 1])
    return path.parent.name if path.name == "pid" and path.parent.parent == vms else ""


def stop(vms: Path, hosts: Iterable[str] | None = None) -> list[str]:
    """Stops the machines of these hosts (None: all) without a shutdown; returns the names of those that ran.

    Raises RigError if a process survives SIGKILL.
    """
    wanted = None if hosts is None else set(hosts)
    stopped: list[str] = []
    deadline = time.monotonic() + 3 * STOP_S
    while running := {n: pid for n, pid in processes(vms).items() if wanted is None or n in wanted}:
        if time.monotonic() > deadline:
            raise RigError(f"machines do not stop: {_with_pids(running)}", hint="kill these processes by hand")
        _kill(running, vms)
        stopped += [name for name in running if name not in stopped]
    return sorted(stopped)


def _kill(running: Mapping[str, int], vms: Path) -> None:
    with contextlib.ExitStack() as stack:
        pidfds: list[int] = []
        for name, pid in running.items():
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                if _host_of(pid, vms) == name:  # so the pidfd refers to this process and not to a later one
                    pidfds.append(descriptor)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for descriptor in pidfds:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
            pidfds = _wait_for_exit(pidfds, STOP_S)


def _wait_for_exit(pidfds: list[int], timeout_s: float) -> list[int]:
    """Returns the pidfds whose process has not ended within the time."""
    deadline = time.monotonic() + timeout_s
    while pidfds and (remaining := deadline - time.monotonic()) > 0:
        exited, _, _ = select.select(pidfds, [], [], remaining)
        pidfds = [descriptor for descriptor in pidfds if descriptor not in exited]
    return pidfds


def _with_pids(running: Mapping[str, int]) -> str:
    return ", ".join(f"{name} (pid {pid})" for name, pid in sorted(running.items()))


def console(folder: Path) -> str:
    """Returns the last lines of the machine's console, without escape sequences."""
    try:
        text = (folder / "console.log").read_bytes()[-16_384:].decode(errors="replace")
    except OSError:
        return "(no console)"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\x00]", "", text)
    lines = [line.rstrip() for line in plain.splitlines() if line.strip()]
    return "\n".join(lines[-CONSOLE_LINES:]) or "(the console is empty)"


def missing_packages(*, own_base: bool) -> tuple[str, ...]:
    """Returns the Debian packages that the vm provider needs and that are not installed."""
    packages = {PROGRAM: "qemu-system-x86", "qemu-img": "qemu-utils", "ssh": "openssh-client"}
    packages |= {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"} if own_base else {"genisoimage": "genisoimage"}
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return tuple(sorted({package for tool, package in packages.items() if shutil.which(tool, path=path) is None}))
