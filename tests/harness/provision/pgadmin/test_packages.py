"""The installation: whole or not at all, and pip's message where it fails. test_pgadmin.py installs the real one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision.pgadmin import packages
from harness.rig import state
from tests.support.pgadmin import program, quiet

NAMES = ("nothing", packages.BUILDER)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(packages, "LOCK", tmp_path / "requirements.lock")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    packages.LOCK.write_text("".join(f"{name}==1 \\\n    --hash=sha256:{'0' * 64}\n" for name in NAMES))
    return tmp_path / "cache"


def test_an_installation_that_fails_leaves_nothing(cache: Path) -> None:
    with pytest.raises(RigError, match=r"pip could not install pgAdmin: ERROR: No matching distribution.*setuptools"):
        packages.install(quiet)
    assert list(cache.iterdir()) == []


def test_what_is_installed_is_used_again_until_the_lock_changes(cache: Path) -> None:
    installed = packages.environment()
    installed.mkdir(parents=True)
    assert packages.install(quiet) == installed
    packages.LOCK.write_text("other==1\n")
    assert packages.environment() != installed


def test_a_pip_without_an_end_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PIP_S", -1.0)
    monkeypatch.setattr(packages.machine_lock, "START_S", 0.0)
    with pytest.raises(RigError, match=r"pip did not install pgAdmin within -1 s"):
        packages.install(quiet)
    assert list(cache.iterdir()) == []


def test_the_builds_of_a_pip_that_is_given_up_end_with_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that starts a child stands in for pip."""
    child = tmp_path / "child"
    python = program(
        tmp_path / "python", f"#!/bin/sh\nsleep 1000 & echo $! > {child}.part; mv {child}.part {child}; wait\n"
    )
    monkeypatch.setattr(packages.sys, "executable", str(python))
    requirements, log = tmp_path / "all.lock", tmp_path / "pip.log"
    requirements.touch()

    def give_up(*_: object) -> None:
        while not child.exists():
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(packages, "_follow", give_up)
    with pytest.raises(KeyboardInterrupt):
        packages._pip(tmp_path, requirements, log, 1, quiet)
    status = Path(f"/proc/{child.read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while status.exists() and status.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_the_lock_pins_pgadmin_with_hashes() -> None:
    text = (state.ROOT / "requirements-pgadmin.lock").read_text(encoding="utf-8")
    assert "\npgadmin4==" in text
    assert f"\n{packages.BUILDER}==" in text
    assert text.count("==") <= text.count("--hash=sha256:")
