"""Existing machines that are folders of this one.

Commands run here, with the settings directory below the machine's folder.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RigError
from harness.model import Host
from harness.provision import provisioner
from harness.provision.ansible import PlayResult
from harness.provision.play_events import Task
from harness.rig import state
from harness.rig.connection import Result

SETTINGS = "/etc/pgcrucible"
HOSTS = {"db": ["db-1"], "app": ["app-1", "app-2"], "lb": ["lb-1"], "load": ["load-1"]}


@dataclass
class Machines:
    """Existing machines by name, each a folder; `gone` ones do not answer, `broken` ones keep a file."""

    root: Path
    gone: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    plays: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def connect(self, host: Host, *_: Any) -> Machine:
        return Machine(self, host.name)

    def run_playbooks(self, rig: str, playbooks: list[str], *, only: Sequence[str] = (), **_: Any) -> PlayResult:
        self.plays.append((playbooks[0], tuple(only)))
        changed = tuple(name for name in only if (self.root / name / "owner").exists())
        for name in only:
            if name not in self.broken:
                (self.root / name / "owner").unlink(missing_ok=True)
        task = Task(play="x", name="x", seconds=0, changed=changed)
        return PlayResult(ok=1, changed=1, seconds=0, plays=(), tasks=(task,))

    def owners(self) -> set[str]:
        return {path.parent.name for path in self.root.glob("*/owner")}


@dataclass
class Machine:
    machines: Machines
    name: str

    def run(self, command: Sequence[str], **_: Any) -> Result:
        if self.name in self.machines.gone:
            raise RigError(f"{self.name} (10.0.0.1:22) cannot be reached over SSH: timed out")
        if "systemctl" in command[2]:
            printed = "/etc/pgcrucible\n" if self.name in self.machines.broken else ""
            return Result(stdout=printed, stderr="", code=0)
        place = str(self.machines.root / self.name)
        done = subprocess.run(
            [part.replace(SETTINGS, place) for part in command], capture_output=True, text=True, check=True
        )
        return Result(stdout=done.stdout, stderr=done.stderr, code=0)

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Checkout:
    """A checkout with its own states; `use` makes it the one that the code under test runs in."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def use(self) -> None:
        self.monkeypatch.setattr(state, "OWNER", str(self.folder))
        self.monkeypatch.setattr(state, "RIGS", self.folder / ".rigs")

    def provision(self, name: str, hosts: int | None = None) -> provisioner.ProvisionReport:
        self.use()
        return provisioner.provision(name, echo=print, inventory=self.folder / "machines.yml", hosts=hosts)


ALL = {host for names in HOSTS.values() for host in names}
