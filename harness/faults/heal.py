"""Undoes faults that an earlier bench left: those in the file of open faults, and what a sweep of the hosts finds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.errors import CrucibleError, FormatError, RigError
from harness.faults.base import Fault
from harness.faults.deadline import Step
from harness.faults.open_faults import OpenFault, OpenFaults, path_of
from harness.faults.sweep import sweep
from harness.model import Host
from harness.provision.providers import provider_of
from harness.provision.services import ask_services
from harness.rig.rig import Rig

POLL_S = 0.2
TIDY_S = HOST_S = 180.0
"""Longest removal of what a healed fault left, and longest sweep of a host."""
WORK_S = 60.0
"""Longest wait, once all is undone, until every service of the rig works."""
WORKERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class HealReport:
    """What was undone, and what could not be: one sentence each."""

    undone: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()


def has_open_faults(rig: str) -> bool:
    """Returns whether an earlier bench may have left faults: its file exists."""
    return path_of(rig).exists()


def require_healed(rig: Rig, faults: Mapping[str, Fault]) -> tuple[str, ...]:
    """Heals a rig with open faults; returns what was undone. Cheap where there are none. Raises RigError."""
    if not has_open_faults(rig.name):
        return ()
    report = heal(rig, faults)
    if report.remaining:
        raise RigError(
            f"rig '{rig.name}' has faults that are not healed: {'; '.join(report.remaining)}",
            hint=f"./run heal --rig {rig.name}; or ./run destroy and ./run provision it",
        )
    return report.undone


def heal(rig: Rig, faults: Mapping[str, Fault]) -> HealReport:
    """Undoes the open faults, newest first, and sweeps all hosts; if anything was undone, waits for the services.

    A damaged file is left to the sweep, and removed once that found nothing more. The rig's lock is held by the caller.
    """
    undone, remaining = list[str](), list[str]()
    with _collected(remaining):
        undone += _start_stopped_hosts(rig)
    try:
        opened = OpenFaults(rig.name)
    except FormatError as error:
        undone.append(f"{error.message}: the hosts are searched instead")
        opened = None
    for one in reversed(opened.all() if opened else ()):
        with _collected(remaining, f"{one.planned.fault}: "):
            undone.append(_heal_one(rig, one, faults))
            assert opened is not None
            opened.remove(one)
    with ThreadPoolExecutor(WORKERS) as pool:
        for lines, problems in pool.map(lambda host: _sweep(rig, host), rig.hosts):
            undone += lines
            remaining += problems
    if undone and not remaining:
        remaining += _await_services(rig)
    if opened is None and not remaining:
        path_of(rig.name).unlink(missing_ok=True)
    return HealReport(undone=tuple(undone), remaining=tuple(remaining))


@contextlib.contextmanager
def _collected(remaining: list[str], prefix: str = "") -> Iterator[None]:
    """Adds what fails in the context to `remaining`: the rest is healed all the same."""
    try:
        yield
    except CrucibleError as error:
        remaining.append(f"{prefix}{error.message}")
    except Exception as error:  # noqa: BLE001  # such as an entry that a fault of this version does not understand
        remaining.append(f"{prefix}{type(error).__name__}: {error}")


def _start_stopped_hosts(rig: Rig) -> list[str]:
    """Starts the hosts that the provider made and that have ended; returns which."""
    maker, started = provider_of(rig.state), []
    if maker.MAKES_HOSTS:
        running = maker.running(rig.name)
        for host in rig.hosts:
            if running.get(host.name, "running") != "running":
                rig.at(host).close()
                maker.start_host(rig.name, host)
                started.append(f"{host.name}: started the host, which was {running[host.name]}")
    return started


def _heal_one(rig: Rig, opened: OpenFault, faults: Mapping[str, Fault]) -> str:
    """Heals a fault and waits until that is seen; returns a sentence. Raises RigError where it is not."""
    planned, before = opened.planned, opened.before
    fault = faults.get(planned.fault)
    if fault is None:
        raise RigError("this version of pgcrucible has no such fault", hint="use the version that injected it")
    deadline_s = time.monotonic() + fault.deadline_s
    why = ""
    while True:
        try:
            Step("its heal", lambda: fault.heal(rig, planned, before)).result(fault.deadline_s)
            if seen := Step("a look at the host", lambda: fault.healed(rig, planned, before)).result(fault.deadline_s):
                Step("removing what is left", lambda: fault.tidy(rig, planned, before)).result(TIDY_S)
                return f"{planned.fault}: healed: {seen}"
        except CrucibleError as error:
            why = f": {error.message}"
        if time.monotonic() > deadline_s:
            raise RigError(f"not healed within {fault.deadline_s:g} s{why}")
        time.sleep(POLL_S)


def _sweep(rig: Rig, host: Host) -> tuple[list[str], list[str]]:
    problems: list[str] = []
    lines: list[str] = []
    with _collected(problems):
        lines = Step(f"{host.name}: the sweep", lambda: sweep(rig, host)).result(HOST_S)
    return lines, problems


def _await_services(rig: Rig) -> list[str]:
    """Waits until every service of the rig works; returns those that do not within WORK_S."""
    deadline_s = time.monotonic() + WORK_S
    while True:
        answers = ask_services(rig, list(rig.hosts))
        down = [
            f"{host}: {one.name} does not work: {one.detail}"
            for host, of_host in answers.items()
            for one in of_host
            if not one.ok
        ]
        if not down or time.monotonic() > deadline_s:
            return down
        time.sleep(1.0)
