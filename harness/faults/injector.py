"""Injects the faults of a schedule beside the load and heals them, whatever happens.

Each fault has its own thread: read the state before it, store that in the file of open faults, inject, poll until it is
seen, hold, heal, poll until the heal is seen, remove it from the file. Every step has a deadline. When the load ends,
early or by Ctrl-C, what is open is healed at once; if the process dies, the file remains for harness/faults/heal.py.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from harness.errors import CrucibleError
from harness.fault_record import FaultRecord, PlannedFault
from harness.faults.base import Before, Fault
from harness.faults.deadline import Step
from harness.faults.observations import accepts, rotation
from harness.faults.open_faults import OpenFaults
from harness.faults.state_watch import StateWatch
from harness.faults.trial_clock import TrialClock
from harness.model import Host
from harness.plan.fault_schedule import KINDS
from harness.rig.rig import Rig

MOST_AT_ONCE = 2
STEP_S = 30.0
"""Longest reading of the state before a fault, and longest single look at whether it is seen or healed."""
POLL_S = 0.2
WATCH_S = 15.0
"""Longest wait, after a fault is healed, for its app host in the rotation and for PostgreSQL's connections."""


@contextlib.contextmanager
def injecting(
    rig: Rig, schedule: Sequence[PlannedFault], began_s: float, faults: Mapping[str, Fault]
) -> Iterator[Sequence[FaultRecord]]:
    """Injects and heals the faults while the context lasts; yields their records, complete when it has ended.

    See Target.injecting. A fault that is not healed at the end is a `problem` of its record and stays in the file of
    open faults. Raises FormatError where that file is damaged.
    """
    records = [FaultRecord(planned=planned) for planned in schedule]
    if not schedule:
        yield records
        return
    for host in rig.hosts:
        rig.at(host)  # threads share the connections: all are made before there are any
    with _Injector(rig, schedule, began_s, faults, records) as injector:
        injector.start()
        yield records


class _Injector:
    """The threads of a schedule. `records` has one entry per planned fault and is filled in."""

    def __init__(
        self,
        rig: Rig,
        schedule: Sequence[PlannedFault],
        began_s: float,
        faults: Mapping[str, Fault],
        records: list[FaultRecord],
    ) -> None:
        self._rig, self._schedule, self._faults, self._records = rig, schedule, faults, records
        self._began_s = began_s
        self._open = OpenFaults(rig.name)
        self._ending = threading.Event()
        self._turn, self._busy = threading.Condition(), list[frozenset[str]]()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(len(schedule))]
        self._watches: dict[str, StateWatch] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Injector:
        kinds = [KINDS[planned.fault] for planned in self._schedule if planned.fault in KINDS]
        self._clock = TrialClock(self._began_s)
        with self._stack as stack:
            if any(kind.rotation for kind in kinds):
                self._watches["haproxy"] = stack.enter_context(StateWatch(self._rig, "haproxy", self._clock))
            if any(kind.first_success_s is not None for kind in kinds):
                self._watches["postgres"] = stack.enter_context(StateWatch(self._rig, "postgres", self._clock))
            self._stack = stack.pop_all()
        return self

    def start(self) -> None:
        """Starts the schedule: its times count from now."""
        self._started_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        """Heals what is open and completes the records. A signal that arrives meanwhile is raised at the end."""
        interruption: BaseException | None = None
        self._ending.set()
        while any(thread.is_alive() for thread in self._threads):
            try:
                with self._turn:
                    self._turn.notify_all()
                for thread in self._threads:
                    thread.join(POLL_S)
            except KeyboardInterrupt as error:  # a second one ends the process (cli/signals); the file remains
                interruption = error
        self._observe()
        self._stack.close()
        if interruption is not None:
            raise interruption

    # -- one fault, in its thread ----------------------------------------------------------------------

    def _run(self, number: int) -> None:
        planned = self._schedule[number]
        try:
            self._inject_in_turn(number, planned)
        except Exception as error:  # noqa: BLE001  # whatever fails is the fault's problem
            self._note(number, problem=_reason(error))

    def _inject_in_turn(self, number: int, planned: PlannedFault) -> None:
        if self._ending.wait(max(0.0, planned.at_s - (time.monotonic() - self._started_s))):
            self._note(number, problem=f"not injected: the load ended before {planned.at_s:g} s")
            return
        fault = self._faults[planned.fault]
        hosts = fault.hosts(self._rig, planned)
        names = frozenset(host.name for host in hosts)
        with self._turn:
            self._turn.wait_for(lambda: self._ending.is_set() or self._is_free(names))
            if self._ending.is_set():
                self._note(number, problem="not injected: earlier faults lasted until the load ended")
                return
            self._busy.append(names)
        try:
            self._inject(number, planned, fault, hosts)
        finally:
            with self._turn:
                self._busy.remove(names)
                self._turn.notify_all()

    def _is_free(self, hosts: Collection[str]) -> bool:
        """Whether a fault may begin: at most two at a time, and one on each host."""
        return len(self._busy) < MOST_AT_ONCE and not any(busy & frozenset(hosts) for busy in self._busy)

    def _inject(self, number: int, planned: PlannedFault, fault: Fault, hosts: Sequence[Host]) -> None:
        rig, limit_s = self._rig, fault.deadline_s
        self._note(number, hosts=tuple(host.name for host in hosts))
        try:
            before = Step("reading the state before it", lambda: fault.before(rig, planned)).result(STEP_S)
            opened = self._open.add(planned, before)
        except (CrucibleError, OSError) as error:
            self._note(number, problem=f"not injected: {_reason(error)}")
            return
        begun_s = time.monotonic()
        self._note(number, injected_us=self._clock.now_us())
        injection = Step("the injection", lambda: fault.inject(rig, planned, before))
        try:
            injection.result(limit_s)
            seen, why = self._poll(lambda: fault.seen(rig, planned, before), begun_s + limit_s, self._ending)
            self._note(number, seen=seen, problem="" if seen else f"not seen within {limit_s:g} s{why}")
            self._ending.wait(max(0.0, planned.hold_s - (time.monotonic() - begun_s)))
        except Exception as error:  # noqa: BLE001  # it may have taken effect all the same: it is healed
            self._note(number, problem=f"the injection failed: {_reason(error)}")
        healed = self._heal(number, planned, fault, before)
        if not injection.wait(STEP_S):  # what it does from now on is undone by the next `heal`
            self._note(number, problem=f"the injection did not end within {limit_s + STEP_S:g} s")
        elif healed:
            self._open.remove(opened)
            self._await_observations(planned, hosts)

    def _heal(self, number: int, planned: PlannedFault, fault: Fault, before: Before) -> bool:
        """Heals a fault until that is seen or its deadline has passed; returns whether it was seen."""
        rig, deadline_s = self._rig, time.monotonic() + fault.deadline_s
        self._note(number, healing_us=self._clock.now_us())
        failure = ""
        while True:
            try:
                helped = Step("the heal", lambda: fault.heal(rig, planned, before)).result(fault.deadline_s)
                self._note(number, helped=helped or "")
                failure = ""
                break
            except Exception as error:  # noqa: BLE001  # tried again until the deadline
                failure = f": {_reason(error)}"
            if time.monotonic() > deadline_s:
                break
            time.sleep(POLL_S)
        if failure:
            self._note(number, problem=f"the heal failed{failure}")
        healed, why = self._poll(lambda: fault.healed(rig, planned, before), deadline_s)
        if healed:
            self._note(number, healed=healed, healed_us=self._clock.now_us())
        else:
            self._note(number, problem=f"not healed within {fault.deadline_s:g} s{why}")
        return bool(healed)

    def _poll(
        self, look: Callable[[], str], deadline_s: float, ending: threading.Event | None = None
    ) -> tuple[str, str]:
        """Looks until there is something to see, the deadline has passed or the load ends.

        Returns what was seen, and why the last look failed.
        """
        while True:
            why = ""
            ends = ending is not None and ending.is_set()
            try:
                if seen := Step("a look at the host", look).result(
                    max(1.0, min(STEP_S, deadline_s - time.monotonic()))
                ):
                    return seen, ""
            except Exception as error:  # noqa: BLE001  # a host that does not answer may do so later
                why = f": {_reason(error)}"
            if ends or time.monotonic() > deadline_s:
                return "", why
            time.sleep(POLL_S)

    def _note(self, number: int, *, problem: str = "", **values: object) -> None:
        """Adds to a record; problems are collected."""
        record = self._records[number]
        if problem:
            problem = "; ".join(filter(None, (record.problem, problem)))
            values["problem"] = problem
        self._records[number] = replace(record, **values)  # type: ignore[arg-type]  # fields of the record

    # -- what is observed ------------------------------------------------------------------------------

    def _await_observations(self, planned: PlannedFault, hosts: Sequence[Host]) -> None:
        """Waits until the states of a healed fault are what they should be, or WATCH_S has passed."""
        deadline_s = time.monotonic() + WATCH_S
        while time.monotonic() < deadline_s and not self._is_back(planned, hosts):
            time.sleep(POLL_S)

    def _is_back(self, planned: PlannedFault, hosts: Sequence[Host]) -> bool:
        kind = KINDS.get(planned.fault)
        if kind and kind.rotation:
            servers = self._watches["haproxy"].now() or {}
            apps = {host.name for host in hosts if host.role == "app"}
            if not all(servers.get(name, False) for name in servers if name.split(".")[0] in apps) or not servers:
                return False
        if kind and kind.first_success_s is not None:
            return bool((self._watches["postgres"].now() or {}).get("accepts"))
        return True

    def _observe(self) -> None:
        """Adds what was observed of each injected fault to its record."""
        states = {name: watch.states() for name, watch in self._watches.items()}
        for number, record in enumerate(self._records):
            kind = KINDS.get(record.planned.fault)
            if record.injected_us is None or kind is None:
                continue
            until_us, observed = self._next_injection(number), dict[str, int]()
            problems = []
            if kind.rotation:
                problems.append(self._watches["haproxy"].problem)
                for host in (name for name in record.hosts if self._is_app(name)):
                    observed |= rotation(states["haproxy"], host, record.injected_us, until_us)
            if kind.first_success_s is not None:
                problems.append(self._watches["postgres"].problem)
                observed |= accepts(states["postgres"], record.injected_us, until_us)
            self._note(number, problem="; ".join(filter(None, problems)), observed_us=observed)

    def _next_injection(self, number: int) -> int | None:
        """When the next fault after this one's heal was injected."""
        healed_us = self._records[number].healed_us
        later = [
            one.injected_us
            for one in self._records
            if one.injected_us is not None and healed_us is not None and one.injected_us > healed_us
        ]
        return min(later, default=None)

    def _is_app(self, name: str) -> bool:
        return any(host.name == name for host in self._rig.role("app"))


def _reason(error: Exception) -> str:
    """Returns what failed, as one line."""
    message = error.message if isinstance(error, CrucibleError) else f"{type(error).__name__}: {error}"
    return " ".join(message.split())[:300]
