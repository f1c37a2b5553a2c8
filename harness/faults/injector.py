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
from harness.fault_record import PERHAPS, FaultRecord, PlannedFault
from harness.faults.base import Before, Fault
from harness.faults.deadline import Step
from harness.faults.observer import Observer
from harness.faults.open_faults import OpenFault, OpenFaults
from harness.faults.trial_clock import TrialClock
from harness.model import Host
from harness.rig.rig import Rig

MOST_AT_ONCE = 2
STEP_S = 30.0
"""Longest reading of the state before a fault, and longest single look at whether it is seen or healed."""
POLL_S = 0.2
TIDY_S = 180.0
"""Longest removal of what a healed fault left."""


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
        self._untidy: list[tuple[int, OpenFault]] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Injector:
        self._clock = TrialClock(self._began_s)
        self._observer = self._stack.enter_context(Observer(self._rig, self._schedule, self._clock))
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
        for number, (problem, observed) in enumerate(self._observer.observed(self._records)):
            self._note(number, problem=problem, observed_us=observed)
        self._stack.close()
        for number, opened in self._untidy:
            try:
                self._tidy(number, opened)
            except KeyboardInterrupt as error:
                interruption = error
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
        read_us = self._clock.now_us()
        try:
            before = Step("reading the state before it", lambda: fault.before(rig, planned)).result(STEP_S)
            opened = self._open.add(planned, before)
        except (CrucibleError, OSError) as error:
            self._note(number, problem=f"not injected: {_reason(error)}")
            return
        begun_s = time.monotonic()
        self._note(number, injected_us=self._clock.now_us())
        injection = Step("the injection", lambda: None if planned.idle else fault.inject(rig, planned, before))
        try:
            injection.result(limit_s)
            seen, why = self._poll(lambda: fault.seen(rig, planned, before), begun_s + limit_s, self._ending)
            self._note(number, seen=seen, problem="" if seen else f"not seen within {limit_s:g} s{why}")
            self._ending.wait(max(0.0, planned.hold_s - (time.monotonic() - begun_s)))
        except Exception as error:  # noqa: BLE001  # it may have taken effect all the same: it is healed
            self._note(number, problem=f"the injection failed: {_reason(error)}")
        healed = self._heal(number, planned, fault, before)
        if healed and type(fault).restarted is not Fault.restarted:
            self._note_restarts(number, fault, before, read_us)
        if not injection.wait(STEP_S):  # what it does from now on is undone by the next `heal`
            left = f"the injection did not end within {limit_s + STEP_S:g} s"
            self._note(number, problem=left, left=left)
        elif healed:
            if type(fault).tidy is Fault.tidy:
                self._open.remove(opened)
            else:
                self._untidy.append((number, opened))
            self._observer.await_recovery(planned, hosts)

    def _heal(self, number: int, planned: PlannedFault, fault: Fault, before: Before) -> bool:
        """Heals a fault until that is seen or its deadline has passed; returns whether it was seen."""
        rig, deadline_s = self._rig, time.monotonic() + fault.deadline_s
        self._note(number, healing_us=self._clock.now_us())
        failure = ""
        helped: str | None = ""
        while True:
            try:
                helped = Step("the heal", lambda: fault.heal(rig, planned, before)).result(fault.deadline_s)
                break
            except Exception as error:  # noqa: BLE001  # tried again until the deadline
                failure = _reason(error)
            if time.monotonic() > deadline_s:
                self._note(number, problem=f"the heal failed: {failure}")
                break
            time.sleep(POLL_S)
        if helped == "" and failure:  # the attempt may have helped all the same, before its answer was lost
            helped = f"{PERHAPS}an earlier attempt failed: {failure}"
        self._note(number, helped=helped or "")
        healed, why = self._poll(lambda: fault.healed(rig, planned, before), deadline_s)
        if healed:
            self._note(number, healed=healed, healed_us=self._clock.now_us())
        else:
            self._note(number, problem=f"not healed within {fault.deadline_s:g} s{why}")
        return bool(healed)

    def _note_restarts(self, number: int, fault: Fault, before: Before, read_us: int) -> None:
        """Adds to `helped` which processes restarted since `before` was read, except where another fault may have."""
        record = self._records[number]
        try:
            look = Step("a look at the host", lambda: fault.restarted(self._rig, record.planned, before))
            restarted = look.result(STEP_S)
        except Exception as error:  # noqa: BLE001  # not known
            self._note(number, helped=record.helped or f"{PERHAPS}whether it restarted was not read: {_reason(error)}")
            return
        others = [one for one in self._records if one is not record and one.injected_us is not None]
        hit = {host for one in others if one.healed_us is None or one.healed_us >= read_us for host in one.hosts}
        sentences = [sentence for host, sentence in restarted.items() if host not in hit]
        self._note(number, helped="; ".join(filter(None, (record.helped, *sentences))))

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

    def _tidy(self, number: int, opened: OpenFault) -> None:
        """Removes what a healed fault left, now that no load is disturbed."""
        fault, planned, before = self._faults[opened.planned.fault], opened.planned, opened.before
        try:
            Step("removing what is left", lambda: fault.tidy(self._rig, planned, before)).result(TIDY_S)
            self._open.remove(opened)
        except Exception as error:  # noqa: BLE001  # it stays in the file
            left = f"not removed: {_reason(error)}"
            self._note(number, problem=left, left=left)


def _reason(error: Exception) -> str:
    """Returns what failed, as one line."""
    message = error.message if isinstance(error, CrucibleError) else f"{type(error).__name__}: {error}"
    return " ".join(message.split())[:300]
