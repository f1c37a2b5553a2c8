"""The processes of systemd units on a host: which run, since when, and which of them are stopped (SIGSTOP)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import RigError
from harness.faults.base import Before
from harness.host_scripts import source
from harness.load.decode import decode
from harness.model import Host
from harness.rig.rig import Rig

ANSWER_S = 10.0
"""Longest wait for a command of a fault."""
_DOWN = ("failed", "inactive")
"""States in which systemd starts a unit no more; `activating` is one that it starts again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A systemd unit: its states, and its main process (0: none)."""

    name: str
    active: str
    sub: str
    main: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of a unit. `started`: in clock ticks since the boot."""

    unit: str
    pid: int
    state: str
    started: int

    @property
    def identity(self) -> str:
        """What tells it apart from a later process with the same id."""
        return f"{self.pid}@{self.started}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitProcesses:
    """Units of a host and their processes."""

    units: tuple[Unit, ...]
    processes: tuple[Process, ...]

    @property
    def mains(self) -> Mapping[str, str]:
        """Unit -> identity of its main process; empty where it has none."""
        identities = {(process.unit, process.pid): process.identity for process in self.processes}
        return {unit.name: identities.get((unit.name, unit.main), "") for unit in self.units}

    @property
    def stopped(self) -> Sequence[Process]:
        """The processes that SIGSTOP has stopped."""
        return [process for process in self.processes if process.state in ("T", "t")]

    @property
    def down(self) -> Sequence[Unit]:
        """The units that have ended and that systemd does not start again."""
        return [unit for unit in self.units if unit.active in _DOWN]


def read_processes(rig: Rig, host: Host, units: Sequence[str]) -> UnitProcesses:
    """Reads the units that match the patterns. Raises RigError; one where no unit matches."""
    command = ["python3", "-I", "-S", "-", *units]
    text = rig.at(host).run(command, stdin=source("unit_processes"), timeout_s=ANSWER_S).stdout
    try:
        found = decode(UnitProcesses, json.loads(text), "processes")
    except ValueError as error:
        raise RigError(f"{host.name}: {error}") from None
    if not found.units:
        raise RigError(f"{host.name}: has no unit {' '.join(units)}", hint="./run provision installs it")
    return found


def signal_units(rig: Rig, host: Host, units: Sequence[str], name: str, *, whom: str = "all") -> None:
    """Sends a signal (`KILL`, `STOP`, `CONT`) to the processes of units; `whom`: `all` or `main`. Raises RigError."""
    command = ["systemctl", "kill", f"--kill-who={whom}", f"--signal={name}", "--", *units]
    rig.at(host).run(command, timeout_s=ANSWER_S)


def start_if_down(rig: Rig, host: Host, units: Sequence[str]) -> str:
    """Starts the units that systemd starts no more; returns which, or an empty string."""
    down = read_processes(rig, host, units).down
    if not down:
        return ""
    names = [unit.name for unit in down]
    rig.at(host).run(["systemctl", "reset-failed", "--", *names], timeout_s=ANSWER_S, check=False)
    rig.at(host).run(["systemctl", "start", "--no-block", "--", *names], timeout_s=ANSWER_S)
    return f"{host.name}: started {', '.join(f'{unit.name} ({unit.active})' for unit in down)}"


def continue_stopped(rig: Rig, host: Host, units: Sequence[str]) -> None:
    """Sends SIGCONT to the units that have stopped processes."""
    names = sorted({process.unit for process in read_processes(rig, host, units).stopped})
    if names:
        signal_units(rig, host, names, "CONT")


def kept(before: UnitProcesses) -> Before:
    """Returns the main processes as the state before a fault: unit -> identity. Raises RigError where one is down."""
    for unit, identity in before.mains.items():
        if not identity:
            raise RigError(f"{unit} does not run", hint="./run status")
    return before.mains


def replaced(before: Before, now: UnitProcesses) -> str:
    """Returns which main processes ended and what runs instead, once that holds for all; else an empty string."""
    alive = {process.identity for process in now.processes}
    changes = []
    for unit, identity in before.items():
        current = now.mains.get(unit, "")
        if identity in alive or not current:
            return ""
        changes.append(f"{unit}: pid {identity.split('@')[0]} became {current.split('@')[0]}")
    return ", ".join(changes)


def ended(before: Before, now: UnitProcesses) -> str:
    """Returns which main processes ended, once all of them have; else an empty string."""
    alive = {process.identity for process in now.processes}
    if any(identity in alive for identity in before.values()):
        return ""
    return ", ".join(f"{unit}: pid {identity.split('@')[0]} has ended" for unit, identity in before.items())


def all_stopped(before: Before, now: UnitProcesses) -> str:
    """Returns which main processes are stopped, once all of them are; else an empty string."""
    stopped = {process.identity for process in now.stopped}
    if not set(before.values()) <= stopped:
        return ""
    return ", ".join(f"{unit}: pid {identity.split('@')[0]} is stopped (T)" for unit, identity in before.items())
