"""Each check of the doctor fails on some machine."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from harness.provision import doctor

GOOD = doctor.MachineFacts(
    python=(3, 11),
    privileged=True,
    apt=True,
    missing=(),
    podman="4.3.1",
    runtime="crun",
    refused={},
    cgroup="v2",
    nofile=1_048_576,
    nproc=100_000,
    sys_resource=True,
    disk_gib=100.0,
    memory_gib=16.0,
    cores=8,
    network="198.18.0.0/24",
    ssh="OpenSSH_9.2p1",
    ports=28_000,
    inotify=128,
)


def check_of(machine: doctor.MachineFacts, name: str, hosts: int = 11) -> doctor.Check:
    return next(check for check in doctor.check_machine(machine, hosts) if check.name == name)


def test_a_good_machine_needs_no_fix() -> None:
    checks = doctor.check_machine(GOOD, 11)
    assert {check.status for check in checks} == {"ok"}
    assert not any(check.cure for check in checks)
    assert len({check.name for check in checks}) == len(checks)


@pytest.mark.parametrize(
    ("change", "name", "status", "cure"),
    [
        ({"python": (3, 10)}, "Python", "fail", "3.11"),
        ({"privileged": False}, "privilege", "fail", "sudo"),
        ({"missing": ("podman",)}, "packages", "warn", "./run provision"),
        ({"missing": ("podman",), "apt": False}, "packages", "fail", "podman"),
        ({"runtime": "", "refused": {"crun": "hybrid"}}, "OCI runtime", "fail", "apt-get install crun"),
        ({"runtime": "", "missing": ("podman",)}, "OCI runtime", "warn", "./run provision"),
        ({"ssh": ""}, "SSH client", "fail", "apt-get install openssh-client"),
        ({"ssh": "", "missing": ("openssh-client",)}, "SSH client", "warn", "./run provision"),
        ({"ssh": "", "missing": ("openssh-client",), "apt": False}, "SSH client", "fail", "openssh-client"),
        ({"inotify": 40}, "inotify instances", "warn", "fs.inotify.max_user_instances=128"),
        ({"ports": 2000}, "free ports", "warn", "4,096"),
        ({"ports": 20}, "free ports", "fail", "4,096"),
        ({"nofile": 1024}, "open files", "fail", "16,384"),
        ({"nofile": 8192}, "open files", "warn", "16,384"),
        ({"nproc": 500}, "processes", "fail", "4,096"),
        ({"disk_gib": 2.5}, "free disk, GiB", "fail", "8"),
        ({"disk_gib": 5.0}, "free disk, GiB", "warn", "8"),
        ({"memory_gib": 1.0}, "free memory, GiB", "fail", "4"),
        ({"memory_gib": 3.0}, "free memory, GiB", "warn", "4"),
        ({"cores": 1}, "cores", "warn", "2"),
        ({"network": ""}, "network", "fail", "./run destroy"),
    ],
)
def test_every_check_fails_where_it_should(change: dict[str, object], name: str, status: str, cure: str) -> None:
    check = check_of(replace(GOOD, **change), name)  # type: ignore[arg-type]
    assert check.status == status
    assert cure in check.cure


def test_inotify_is_checked_for_the_size_of_the_rig() -> None:
    most = 128 // doctor.INOTIFY_PER_HOST
    assert check_of(GOOD, "inotify instances", most).status == "ok"
    beyond = check_of(GOOD, "inotify instances", most + 1)
    assert (beyond.status, beyond.detail) == ("warn", f"128, enough for about {most} hosts, not for {most + 1}")
    cured = replace(GOOD, inotify=int(beyond.cure.split("=")[1].split()[0]))
    assert check_of(cured, "inotify instances", most + 1).status == "ok"


def test_an_ssh_client_needs_ssh_keygen_and_has_to_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor._ssh_version().startswith("OpenSSH")
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "_present", lambda command: command != "ssh-keygen")
        assert doctor._ssh_version() == ""
    broken = tmp_path / "ssh"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._ssh_version() == ""
    broken.unlink()
    assert doctor._ssh_version() == ""


def test_a_port_in_use_is_not_free() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(200)]
        assert doctor._free_ports() <= last - first + 1 - len({s.getsockname()[1] for s in servers})


def test_the_reason_against_a_runtime_is_shown() -> None:
    check = check_of(replace(GOOD, runtime="runc", refused={"crun": "hybrid mode"}), "OCI runtime")
    assert check.status == "ok"
    assert "crun: hybrid mode" in check.detail


def test_missing_packages_follow_the_cgroup_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_present", lambda command: command not in {"podman", "runc", "crun"})
    assert doctor.missing_packages("v1") == ("podman", "runc")
    assert doctor.missing_packages("v2") == ("crun", "podman")
    monkeypatch.setattr(doctor, "_present", lambda command: command != "crun")
    assert doctor.missing_packages("v2") == ()


def test_this_machine_can_be_examined() -> None:
    assert {check.status for check in doctor.examine(11)} <= {"ok", "warn", "fail"}
    assert all(Path("/proc/net/route").exists() and "/" in route for route in doctor.routes())
