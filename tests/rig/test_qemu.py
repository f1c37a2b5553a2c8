"""The processes of a rig's virtual machines are found and stopped, and no others."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision import qemu
from harness.provision.inventory import read_inventory
from harness.provision.providers import vm
from harness.rig import state

Spawn = Callable[..., int]


@pytest.fixture(scope="module")
def _qemu() -> None:
    """Installs QEMU in the same way as provision."""
    if qemu.missing_packages(own_base=True):
        name = f"test-{os.getpid()}-install"
        try:
            vm.prepare(name, read_inventory(state.ROOT / vm.INVENTORY, state.ROLES_DIR), None, str)
        finally:
            shutil.rmtree(state.folder(name))  # with the log of the installation


@pytest.fixture
def spawn(_qemu: None) -> Iterator[Spawn]:
    """Starts a QEMU without a machine as the process of a machine's folder; kills it after the test."""
    started: list[int] = []

    def start(folder: Path) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        line = [qemu.PROGRAM, "-machine", "none", "-nodefaults", "-display", "none", "-S"]
        subprocess.run([*line, "-daemonize", "-pidfile", str(folder / "pid")], check=True, timeout=30)
        started.append(int((folder / "pid").read_text()))
        return started[-1]

    yield start
    for pid in started:
        if Path(f"/proc/{pid}/cmdline").exists() and b"qemu" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


def test_the_machines_of_a_rig_are_stopped_and_no_others(tmp_path: Path, spawn: Spawn) -> None:
    rig, others = tmp_path / "rig/vm", tmp_path / "other/vm"
    pids = {name: spawn(rig / name) for name in ("db-1", "app-1", "app-2")}
    other = spawn(others / "db-1")
    assert qemu.processes(rig) == pids
    assert qemu.stop(rig, ["app-2"]) == ["app-2"]
    assert qemu.stop(rig) == ["app-1", "db-1"]
    assert qemu.processes(rig) == {}
    assert qemu.processes(others) == {"db-1": other}
    assert qemu.stop(rig) == []


def test_a_machine_is_found_after_its_folder_is_lost(tmp_path: Path, spawn: Spawn) -> None:
    spawn(tmp_path / "vm/db-1")
    (tmp_path / "vm/db-1/pid").unlink()
    (tmp_path / "vm/db-1").rmdir()
    assert qemu.stop(tmp_path / "vm") == ["db-1"]


def test_a_machine_that_ignores_sigterm_is_killed(
    tmp_path: Path, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "STOP_S", 1.0)
    os.kill(spawn(tmp_path / "vm/db-1"), signal.SIGSTOP)
    assert qemu.stop(tmp_path / "vm") == ["db-1"]
    assert qemu.processes(tmp_path / "vm") == {}


def test_a_machine_that_survives_sigkill_is_named(
    tmp_path: Path, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "STOP_S", 0.1)
    monkeypatch.setattr(qemu, "_kill", lambda running, vms: time.sleep(0.05))
    pid = spawn(tmp_path / "vm/db-1")
    with pytest.raises(RigError, match=rf"do not stop: db-1 \(pid {pid}\)"):
        qemu.stop(tmp_path / "vm")
