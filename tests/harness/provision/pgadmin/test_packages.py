"""The installation: whole or not at all, and pip's message where it fails. test_pgadmin.py installs the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision.pgadmin import packages
from harness.rig import state
from tests.support.pgadmin import quiet

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


def test_the_lock_pins_pgadmin_with_hashes() -> None:
    text = (state.ROOT / "requirements-pgadmin.lock").read_text(encoding="utf-8")
    assert "\npgadmin4==" in text
    assert f"\n{packages.BUILDER}==" in text
    assert text.count("==") <= text.count("--hash=sha256:")
