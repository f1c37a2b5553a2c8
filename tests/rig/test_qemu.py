"""Processes of virtual machines are found and ended, and no others."""

from __future__ import annotations

import os
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
    """QEMU is installed as provision would install it."""
    if qemu.missing_packages(own_base=True):
        name = f"test-{os.getpid()}-install"
        try:
            vm.prepare(name, read_inventory(state.ROOT / vm.INVENTORY, state.ROLES_DIR), None, str)
        finally:
            state.folder(name).rmdir()


@pytest.fixture
def spawn(_qemu: None) -> Iterator[Spawn]:
    """Starts a QEMU without any machine in it, as the machine whose folder is given; ends it after the test."""
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


def test_a_rigs_machines_are_found_and_ended_and_no_others(tmp_path: Path, spawn: Spawn) -> None:
    mine, others = tmp_path / "mine/vm", tmp_path / "other/vm"
    pids = {name: spawn(mine / name) for name in ("db-1", "app-1", "app-2")}
    other = spawn(others / "db-1")
    assert qemu.processes(mine) == pids
    assert qemu.stop(mine, ["app-2"]) == ["app-2"]
    assert qemu.stop(mine) == ["app-1", "db-1"]
    assert qemu.processes(mine) == {}
    assert qemu.processes(others) == {"db-1": other}
    assert qemu.stop(mine) == []


def test_a_machine_is_found_though_every_note_of_it_is_lost(tmp_path: Path, spawn: Spawn) -> None:
    spawn(tmp_path / "vm/db-1")
    (tmp_path / "vm/db-1/pid").unlink()
    (tmp_path / "vm/db-1").rmdir()
    assert qemu.stop(tmp_path / "vm") == ["db-1"]


def test_a_machine_that_does_not_listen_is_ended_all_the_same(
    tmp_path: Path, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "STOP_S", 1.0)
    os.kill(spawn(tmp_path / "vm/db-1"), signal.SIGSTOP)
    assert qemu.stop(tmp_path / "vm") == ["db-1"]
    assert qemu.processes(tmp_path / "vm") == {}


def test_what_outlives_sigkill_is_named(tmp_path: Path, spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "STOP_S", 0.1)
    monkeypatch.setattr(qemu, "_kill", lambda running, vms: time.sleep(0.05))
    pid = spawn(tmp_path / "vm/db-1")
    with pytest.raises(RigError, match=rf"do not stop: db-1 \(pid {pid}\)"):
        qemu.stop(tmp_path / "vm")
