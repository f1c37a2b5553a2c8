"""The revision that a killed bench left: the script on a real file, with systemd as a stub that is recorded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.faults import service_revision
from harness.provision.revision import DROP_IN
from harness.rig.connection import Result


class Machine:
    """This machine as an app host: the script runs on a file in a folder."""

    def __init__(self, folder: Path) -> None:
        self.file, self.log, bin_ = folder / "revision.conf", folder / "log", folder / "bin"
        self.log.touch()
        bin_.mkdir()
        (bin_ / "systemctl").write_text(f'#!/bin/sh\n[ ! -e {self.file} ] && echo "$*" >> {self.log}\n')
        (bin_ / "systemctl").chmod(0o755)
        self.env = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}

    def run(self, command: Sequence[str], *, timeout_s: float) -> Result:
        words = [str(self.file) if word == DROP_IN else word for word in command]
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=True)
        return Result(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def remove(machine: Any) -> str:
    return service_revision.remove(machine)


def test_a_service_that_runs_as_provisioned_is_left_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert remove(machine) == ""
    assert machine.log.read_text() == ""


def test_the_file_is_removed_before_the_service_restarts(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.file.write_text("# control-early-answer\n# Written by a bench.\n[Service]\n")
    assert remove(machine) == "control-early-answer"
    assert machine.log.read_text().splitlines() == ["daemon-reload", "restart pgcrucible-app.target"]
    assert remove(machine) == ""


def test_a_file_that_names_nothing_is_removed_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.file.touch()
    assert remove(machine) == "an unknown revision"
