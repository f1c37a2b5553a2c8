"""Checks whether this machine can host a rig of containers, with a fix for each problem.

`probe` collects facts and `check_machine` evaluates only these, so every check has a test. Provision runs the same
checks and stops at the first one that fails.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import RigError
from harness.provision import podman_cli
from harness.rig.network import free_network

Status = Literal["ok", "warn", "fail"]

PACKAGES: Mapping[str, str] = {
    "podman": "podman",
    "netavark": "netavark",
    "conmon": "conmon",
    "catatonit": "catatonit",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
"""Commands that the podman provider needs, and their Debian packages."""

RUNTIMES: Mapping[str, tuple[str, ...]] = {"v2": ("crun", "runc"), "v1": ("runc", "crun")}
"""OCI runtimes by cgroup version, in the order in which they are tried; the first is installed if there is none."""

INOTIFY_PER_HOST = 4
"""inotify instances of root in one container with systemd and sshd (counted in /proc/*/fd)."""

_OTHER_FOLDERS = ("/usr/sbin", "/sbin", "/usr/lib/podman", "/usr/libexec/podman")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the doctor's output; `cure` is empty if the status is ok."""

    name: str
    status: Status
    detail: str
    cure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """Result of `probe`. Sizes in GiB. `runtime` is the OCI runtime that started a container, or empty."""

    python: tuple[int, int]
    privileged: bool
    """Root, or sudo without a password."""
    apt: bool
    missing: tuple[str, ...]
    """Debian packages that are not installed."""
    podman: str
    runtime: str
    refused: Mapping[str, str]
    cgroup: str
    nofile: int
    nproc: int
    sys_resource: bool
    disk_gib: float
    memory_gib: float
    cores: int
    network: str
    """The lowest free /24 for a rig; empty if there is none."""
    ssh: str
    """The SSH client's version; empty if `ssh` or `ssh-keygen` is missing or does not start."""
    ports: int
    """Free ephemeral TCP ports."""
    inotify: int
    """Maximum number of inotify instances per user."""


def probe() -> MachineFacts:
    """Collects facts of this machine; starts one small container for each OCI runtime that it tries (0.3 s each)."""
    cgroup = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    missing = missing_packages(cgroup)
    privileged = os.geteuid() == 0 or _succeeds("sudo", "-n", "true")
    usable = privileged and "podman" not in missing
    version, runtime, network = "", "", ""
    refused: Mapping[str, str] = {}
    try:
        if usable:
            version = podman_cli.run("version", "--format", "{{.Client.Version}}").strip()
            runtime, refused = podman_cli.probe_runtime(RUNTIMES[cgroup])
        network = free_network((podman_cli.networks() if usable else []) + routes())
    except RigError as error:
        refused = {**refused, "podman": error.message}
    return MachineFacts(
        python=sys.version_info[:2],
        privileged=privileged,
        apt=shutil.which("apt-get") is not None,
        missing=missing,
        podman=version,
        runtime=runtime,
        refused=refused,
        cgroup=cgroup,
        nofile=_hard(resource.RLIMIT_NOFILE),
        nproc=_hard(resource.RLIMIT_NPROC),
        sys_resource=_capabilities() >> 24 & 1 == 1,
        disk_gib=shutil.disk_usage(_existing(Path("/var/lib/containers"))).free / 2**30,
        memory_gib=_available_gib(),
        cores=len(os.sched_getaffinity(0)),
        network=network,
        ssh=_ssh_version(),
        ports=_free_ports(),
        inotify=int(Path("/proc/sys/fs/inotify/max_user_instances").read_text()),
    )


def missing_packages(cgroup: str) -> tuple[str, ...]:
    """Returns the Debian packages that the podman provider needs and that are not installed."""
    missing = {package for command, package in PACKAGES.items() if not _present(command)}
    if not any(_present(runtime) for runtime in RUNTIMES[cgroup]):
        missing.add(RUNTIMES[cgroup][0])
    return tuple(sorted(missing))


def routes() -> list[str]:
    """Returns the networks (CIDR) that this machine has routes to, without the default route."""
    networks = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (bytes.fromhex(fields[i])[::-1] for i in (1, 7))
        length = int.from_bytes(mask).bit_count()
        if length:
            networks.append(f"{'.'.join(map(str, address))}/{length}")
    return networks


def check_machine(machine: MachineFacts, hosts: int) -> list[Check]:
    """Returns all checks for a rig of `hosts` hosts, in the order in which to apply the fixes. Pure."""
    m = machine
    installs = "apt-get install " + " ".join(m.missing)
    checks = [
        _check("Python", m.python >= (3, 11), f"{m.python[0]}.{m.python[1]}", "install Python 3.11 or newer"),
        _check(
            "privilege",
            m.privileged,
            "root, or sudo without a password" if m.privileged else "neither root nor sudo -n",
            "run as root, or allow this user sudo without a password",
        ),
    ]
    if m.missing and m.apt:
        detail = f"missing: {' '.join(m.missing)}"
        checks.append(Check(name="packages", status="warn", detail=detail, cure="./run provision installs them"))
    else:
        detail = f"missing: {' '.join(m.missing)}; no apt" if m.missing else "all installed"
        checks.append(_check("packages", not m.missing, detail, f"{installs} (or your system's names for them)"))
    if m.ssh or not (m.missing and m.apt):
        cure = "apt-get install openssh-client"
        checks.append(_check("SSH client", bool(m.ssh), m.ssh or "ssh or ssh-keygen does not start", cure))
    else:
        detail = "ssh or ssh-keygen is not installed"
        checks.append(Check(name="SSH client", status="warn", detail=detail, cure="./run provision installs it"))
    if m.podman:
        checks.append(Check(name="podman", status="ok", detail=m.podman))
    reasons = "; ".join(f"{name}: {reason}" for name, reason in m.refused.items())
    if m.runtime:
        detail = f"{m.runtime} starts a systemd container" + (f" ({reasons})" if reasons else "")
        checks.append(Check(name="OCI runtime", status="ok", detail=detail))
    elif m.missing and m.apt:
        checks.append(
            Check(
                name="OCI runtime",
                status="warn",
                detail="cannot be tested before podman is installed",
                cure="./run provision tests it",
            )
        )
    else:
        cure = f"apt-get install {RUNTIMES[m.cgroup][0]}; in a container, give it more privileges"
        checks.append(_check("OCI runtime", False, reasons or "no runtime starts a container", cure))
    checks += [
        Check(name="cgroups", status="ok", detail=f"{m.cgroup}; suitable runtime: {RUNTIMES[m.cgroup][0]}"),
        _limit("open files", m.nofile, fail=4096, warn=16384, needs="1,000 concurrent connections need two each"),
        _limit("processes", m.nproc, fail=1024, warn=4096, needs="each host runs about 30"),
        Check(
            name="CAP_SYS_RESOURCE",
            status="ok",
            detail="available" if m.sys_resource else "not available: hosts get the limits of this process",
        ),
        _inotify(m.inotify, hosts),
        _limit("free ports", m.ports, fail=64, warn=4096, needs="this machine sends the load for bench --base-url"),
        _limit("free disk, GiB", m.disk_gib, fail=3, warn=8, needs="the image uses 1, each host up to 1"),
        _limit("free memory, GiB", m.memory_gib, fail=1.5, warn=4, needs="eight app hosts use about 2"),
        _limit("cores", m.cores, fail=1, warn=2, needs="all hosts share them"),
        _check(
            "network",
            bool(m.network),
            f"{m.network} is free" if m.network else "no /24 of 198.18.0.0/15 is free",
            "./run status lists the rigs; ./run destroy --rig NAME frees a network",
        ),
    ]
    return checks


def examine(hosts: int) -> list[Check]:
    """Checks this machine for a rig of `hosts` hosts."""
    return check_machine(probe(), hosts)


def _check(name: str, good: bool, detail: str, cure: str) -> Check:
    return Check(name=name, status="ok" if good else "fail", detail=detail, cure="" if good else cure)


def _limit(name: str, value: float, *, fail: float, warn: float, needs: str) -> Check:
    detail = f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
    if value >= warn:
        return Check(name=name, status="ok", detail=detail)
    status: Status = "warn" if value >= fail else "fail"
    return Check(name=name, status=status, detail=detail, cure=f"{warn:,g} or more ({needs})")


def _inotify(instances: int, hosts: int) -> Check:
    """Beyond the limit, systemd of the next host does not start, and only the host's console shows why."""
    capacity = instances // INOTIFY_PER_HOST
    detail = f"{instances:,}, enough for about {capacity:,} hosts"
    if hosts <= capacity:
        return Check(name="inotify instances", status="ok", detail=detail)
    needed = 2 ** (hosts * INOTIFY_PER_HOST * 2).bit_length()
    cure = f"sysctl -w fs.inotify.max_user_instances={needed} (the limit covers all rigs together)"
    return Check(name="inotify instances", status="warn", detail=f"{detail}, not for {hosts}", cure=cure)


def _ssh_version() -> str:
    """Returns the version that `ssh -V` prints on standard error."""
    try:
        done = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr.split(",")[0].strip() if done.returncode == 0 and _present("ssh-keygen") else ""


def _free_ports() -> int:
    """Counts the ephemeral range without the local ports of all sockets (proc(5): /proc/net/tcp)."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    tables = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    lines = [line for path in tables for line in path.read_text().splitlines()[1:]]
    taken = {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
    return last - first + 1 - sum(first <= port <= last for port in taken)


def _present(command: str) -> bool:
    return shutil.which(command) is not None or any(Path(p, command).exists() for p in _OTHER_FOLDERS)


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _hard(which: int) -> int:
    limit = resource.getrlimit(which)[1]
    return 2**31 if limit == resource.RLIM_INFINITY else limit


def _capabilities() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)


def _available_gib() -> float:
    meminfo = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line.split()[1] for line in meminfo if line.startswith("MemAvailable"))) / 2**20


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
