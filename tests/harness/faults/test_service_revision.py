"""The revision that a killed bench left: the script on a real file, with systemd as a stub that is recorded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.faults import service_revision
from harness.model import Host
from harness.provision.revision import DROP_IN
from harness.rig.connection import Result


class Machine:
    """This machine as an app host: the script runs on a file in a folder."""

    def __init__(self, folder: Path) -> None:
        self.file, self.log, bin_ = folder / "revision.conf", folder / "log", folder / "bin"
        self.log.touch()
        bin_.mkdir()
        self.fails = folder / "fails"
        stub = f'#!/bin/sh\n[ ! -e {self.fails} ] || exit 1\n[ ! -e {self.file} ] && echo "$*" >> {self.log}\n'
        (bin_ / "systemctl").write_text(stub)
        (bin_ / "systemctl").chmod(0o755)
        self.env = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}

    def run(self, command: Sequence[str], *, timeout_s: float) -> Result:
        words = [str(self.file) if word == DROP_IN else word for word in command]
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=True)
        return Result(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def remove(machine: Machine) -> str:
    rig: Any = SimpleNamespace(at=lambda _: machine, variables={"common_directory": str(machine.file.parent)})
    return service_revision.remove(rig, Host(name="app-1", role="app", address="a", ssh_address="a"))


def test_a_service_that_runs_as_provisioned_is_left_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert remove(machine) == ""
    assert machine.log.read_text() == ""


def test_the_file_is_removed_before_the_service_restarts(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.file.write_text("# control-early-answer\n# Written by a bench.\n[Service]\n")
    for name in ("control-early-answer", "0123456789ab"):
        (tmp_path / "revisions" / name).mkdir(parents=True)
    assert remove(machine) == "control-early-answer"
    assert [path.name for path in (tmp_path / "revisions").iterdir()] == ["0123456789ab"]
    assert machine.log.read_text().splitlines() == ["daemon-reload", "restart pgcrucible-app.target"]
    assert remove(machine) == ""


def test_a_restart_that_fails_is_tried_again(tmp_path: Path) -> None:
    """The control went on for the whole next bench: nothing but the file that was removed first told of it."""
    machine = Machine(tmp_path)
    machine.file.write_text("# control-early-answer\n")
    machine.fails.touch()
    with pytest.raises(subprocess.CalledProcessError):
        remove(machine)
    machine.fails.unlink()
    assert remove(machine) == "control-early-answer"
    assert machine.log.read_text().splitlines() == ["daemon-reload", "restart pgcrucible-app.target"]
    assert remove(machine) == ""
    assert {path.name for path in tmp_path.iterdir()} == {"log", "bin"}


def test_a_file_that_names_nothing_is_removed_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.file.touch()
    assert remove(machine) == "an unknown revision"
