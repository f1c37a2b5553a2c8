"""A purge of the cache keeps the packages that a pgAdmin uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.provision.pgadmin import packages, server
from harness.provision.providers import vm_base
from harness.rig import machine_lock, state
from tests.support.pgadmin import quiet


@pytest.mark.usefixtures("reachable")
def test_a_purge_keeps_the_packages_of_a_pgadmin_that_runs(
    rig: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "CACHE", tmp_path / "cache")
    (tmp_path / "cache/wheels-x.tar.gz").touch()
    server.start(rig[0], port=None, echo=quiet)
    vm_base.purge_cache()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{packages.PREFIX}x"]
    server.stop(rig[0])
    vm_base.purge_cache()
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("reachable")
def test_a_purge_keeps_the_packages_of_a_former_lock_file_that_still_run(
    rig: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "CACHE", tmp_path / "cache")
    server.start(rig[0], port=None, echo=quiet)
    newer = tmp_path / "cache" / f"{packages.PREFIX}newer"
    newer.mkdir()
    monkeypatch.setattr(packages, "environment", lambda: newer)
    assert server.packages_in_use() == {tmp_path / "cache" / f"{packages.PREFIX}x"}
    vm_base.purge_cache()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{packages.PREFIX}x"]


def test_a_purge_keeps_what_another_process_installs_and_removes_what_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    partial = tmp_path / "cache" / f"{packages.PREFIX}x.partial"
    partial.mkdir(parents=True)
    with machine_lock.held(f"pgAdmin's packages in {state.CACHE}"):
        vm_base.purge_cache()
        assert partial.is_dir()
    vm_base.purge_cache()
    assert not (tmp_path / "cache").exists()
