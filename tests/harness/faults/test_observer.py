"""Until when a host was watched, beside what was seen of it: until another fault begins, else until the end."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from harness.fault_record import FaultRecord, PlannedFault
from harness.faults import observer
from harness.faults.observer import Observer
from harness.faults.trial_clock import TrialClock
from tests.support.fake_rig import FakeRig

UP, DOWN = {"app-1": True, "app-2": True}, {"app-1": False, "app-2": True}
STATES = [(0, UP), (15, DOWN), (30, UP), (60, DOWN)]


def record(fault: str, injected_us: int, healed_us: int | None, host: str = "app-1") -> FaultRecord:
    planned = PlannedFault(fault=fault, at_s=0.0, hold_s=1.0)
    return FaultRecord(planned=planned, hosts=(host,), injected_us=injected_us, healed_us=healed_us)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], {"out-of-rotation": 15, "out-again": 60, "watched-until": 100}),
        ([("lb-kill", 50)], {"out-of-rotation": 15, "in-rotation": 30, "watched-until": 50}),
    ],
)
def test_a_host_is_watched_until_the_next_fault(
    rig: FakeRig, monkeypatch: pytest.MonkeyPatch, others: list[tuple[str, int]], expected: dict[str, int]
) -> None:
    watch = SimpleNamespace(states=lambda: STATES, problem="")
    monkeypatch.setattr(observer, "StateWatch", lambda *_: watch)
    clock = TrialClock(time.time())
    monkeypatch.setattr(clock, "now_us", lambda: 100)
    records = [record("partition-lb", 10, 20), *(record(name, at_us, None, "lb-1") for name, at_us in others)]
    watched = Observer(rig, [one.planned for one in records], clock)
    assert next(watched.observed(records)) == ("", expected)
