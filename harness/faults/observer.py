"""Observes HAProxy's rotation and PostgreSQL while the faults of a schedule last, as far as their criteria need it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Self

from harness.fault_record import FaultRecord, PlannedFault
from harness.faults.observations import WATCHED, accepts, rotation
from harness.faults.state_watch import StateWatch
from harness.faults.trial_clock import TrialClock
from harness.model import Host
from harness.plan.fault_schedule import KINDS, FaultKind
from harness.rig.rig import Rig

RECOVERY_S = 15.0
"""Longest wait, after a fault is healed, for its app host in the rotation and for PostgreSQL's connections."""
POLL_S = 0.1
NONE = FaultKind(help="", part="app")


class Observer:
    """Use as a context manager."""

    def __init__(self, rig: Rig, schedule: Sequence[PlannedFault], clock: TrialClock) -> None:
        kinds = [KINDS.get(planned.fault, NONE) for planned in schedule]
        self._clock, self._apps = clock, {host.name for host in rig.role("app")}
        self._rotation = StateWatch(rig, "haproxy", clock) if any(kind.rotation for kind in kinds) else None
        accepting = any(kind.first_success_s is not None for kind in kinds)
        self._accepts = StateWatch(rig, "postgres", clock) if accepting else None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            for watch in filter(None, (self._rotation, self._accepts)):
                stack.enter_context(watch)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def await_recovery(self, planned: PlannedFault, hosts: Sequence[Host]) -> None:
        """Waits until the states of a healed fault are what they should be, or RECOVERY_S has passed."""
        kind, apps = KINDS.get(planned.fault, NONE), self._apps & {host.name for host in hosts}
        deadline_s = time.monotonic() + RECOVERY_S
        while time.monotonic() < deadline_s and not self._has_recovered(kind, apps):
            time.sleep(POLL_S)

    def _has_recovered(self, kind: FaultKind, apps: set[str]) -> bool:
        if kind.rotation and self._rotation:
            servers = self._rotation.now() or {}
            serves = [up for name, up in servers.items() if name.split(".")[0] in apps]
            if not serves or not all(serves):
                return False
        if kind.first_success_s is not None and self._accepts:
            return bool((self._accepts.now() or {}).get("accepts"))
        return True

    def observed(self, records: Sequence[FaultRecord]) -> Iterator[tuple[str, dict[str, int]]]:
        """Returns for each record what could not be observed, as a sentence, and the instants that were."""
        end_us = self._clock.now_us()
        for record in records:
            until_us = _next_injection(record, records) or end_us
            kind, instants, problems = KINDS.get(record.planned.fault, NONE), dict[str, int](), list[str]()
            if record.injected_us is not None and kind.rotation and self._rotation:
                problems.append(self._rotation.problem)
                states = self._rotation.states()
                for app in (name for name in record.hosts if name in self._apps):
                    instants |= rotation(states, app, record.injected_us, until_us) | {WATCHED: until_us}
            if record.injected_us is not None and kind.first_success_s is not None and self._accepts:
                problems.append(self._accepts.problem)
                states = self._accepts.states()
                instants |= accepts(states, record.injected_us, record.healing_us, until_us)
            yield "; ".join(filter(None, problems)), instants


def _next_injection(record: FaultRecord, records: Sequence[FaultRecord]) -> int | None:
    """Returns when the next fault after the heal of a record's fault was injected."""
    if record.healed_us is None:
        return None
    later = [one.injected_us for one in records if one.injected_us is not None and one.injected_us > record.healed_us]
    return min(later, default=None)
