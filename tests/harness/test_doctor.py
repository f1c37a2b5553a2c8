"""Each check of the doctor has a machine on which it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import doctor

GOOD = doctor.Machine(
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
)


def answer(machine: doctor.Machine, name: str) -> doctor.Check:
    return next(check for check in doctor.judge(machine) if check.name == name)


def test_a_good_machine_has_nothing_to_cure() -> None:
    checks = doctor.judge(GOOD)
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
    check = answer(replace(GOOD, **change), name)  # type: ignore[arg-type]
    assert check.status == status
    assert cure in check.cure


def test_why_a_runtime_was_passed_over_is_told() -> None:
    check = answer(replace(GOOD, runtime="runc", refused={"crun": "hybrid mode"}), "OCI runtime")
    assert check.status == "ok"
    assert "crun: hybrid mode" in check.detail


def test_missing_packages_follow_the_cgroup_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_present", lambda command: command not in {"podman", "runc", "crun"})
    assert doctor.missing_packages("v1") == ("podman", "runc")
    assert doctor.missing_packages("v2") == ("crun", "podman")
    monkeypatch.setattr(doctor, "_present", lambda command: command != "crun")
    assert doctor.missing_packages("v2") == ()


def test_this_machine_can_be_looked_at() -> None:
    assert {check.status for check in doctor.examine()} <= {"ok", "warn", "fail"}
    assert all(Path("/proc/net/route").exists() and "/" in route for route in doctor.routes())
