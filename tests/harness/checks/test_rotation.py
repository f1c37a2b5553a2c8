"""A sick app host leaves HAProxy's rotation in time and returns in time."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checks import names
from tests.support.fault_trials import AT_S, HEAL_S, S, findings, record, trial, verdicts


@pytest.mark.parametrize(
    ("out_s", "back_s", "verdict"),
    [(2.9, 4.9, "pass"), (3.2, 1.0, "fail"), (1.0, 5.4, "fail"), (1.0, None, "unknown"), (1.0, -1.0, "fail")],
)
def test_a_sick_host_leaves_the_rotation_and_returns_in_time(out_s: float, back_s: float | None, verdict: str) -> None:
    observed = {"out-of-rotation": round((AT_S + out_s) * S)}
    observed |= {} if back_s is None else {"in-rotation": round((HEAL_S + back_s) * S)}
    assert verdicts(trial("app-pause", observed_us=observed), "app-pause")[names.OUT_OF_ROTATION] == verdict


def _rotated(out_s: float, back_s: float) -> dict[str, int]:
    return {"out-of-rotation": round((AT_S + out_s) * S), "in-rotation": round((HEAL_S + back_s) * S)}


def test_a_host_is_not_back_before_it_is_well() -> None:
    found = findings(trial("partition-db", observed_us=_rotated(1, -1.5)), "partition-db")[names.OUT_OF_ROTATION]
    assert (found.verdict, found.detail) == ("fail", "partition-db on app-1: back in rotation 1.5 s before the heal")
    assert verdicts(trial("app-kill", observed_us=_rotated(1, -1.5)))[names.OUT_OF_ROTATION] == "pass", (
        "systemd was fast"
    )
    measured = trial("partition-db", observed_us=_rotated(1, -0.05))
    assert verdicts(measured, "partition-db")[names.OUT_OF_ROTATION] == "pass", "two hosts' clocks are compared"
    beside = trial("partition-db", observed_us=_rotated(1, -1.5))
    beside.more["faults"] += (record("lb-kill", observed_us={}),)
    assert verdicts(beside, "partition-db")[names.OUT_OF_ROTATION] == "unknown"


def test_a_host_that_flaps_while_it_is_sick_is_back_too_soon() -> None:
    observed = _rotated(1, 1) | {"out-again": round((HEAL_S - 1.5) * S)}
    found = findings(trial("partition-db", observed_us=observed), "partition-db")[names.OUT_OF_ROTATION]
    assert (found.verdict, found.detail) == ("fail", "partition-db on app-1: back in rotation 1.5 s before the heal")
    assert verdicts(trial("app-kill", observed_us=observed))[names.OUT_OF_ROTATION] == "pass", "systemd started it"


@pytest.mark.parametrize(
    ("back_s", "again_s", "until_s", "verdict", "detail"),
    [
        (4.0, 2.0, 9.0, "pass", "out of rotation after 1.0 s, back 4.0 s after the heal"),
        (8.2, 7.0, 9.0, "fail", "for good 8.2 s after the heal, limit 5 s: it was back, and left again 7.0 s after"),
        (None, 7.0, 9.0, "fail", "not back in rotation 9.0 s after the heal, limit 5 s: it was back, and left again"),
        (None, 2.0, 4.0, "unknown", "not back in rotation 4.0 s after the heal, and no longer watched"),
        (None, None, 9.0, "fail", "not back in rotation 9.0 s after the heal, limit 5 s"),
        (None, None, 4.9, "unknown", "not back in rotation 4.9 s after the heal, and no longer watched"),
    ],
)
def test_a_host_is_back_when_it_stays_back(
    back_s: float | None, again_s: float | None, until_s: float, verdict: str, detail: str
) -> None:
    seconds = {"in-rotation": back_s, "out-again": again_s, "watched-until": until_s}
    observed = {"out-of-rotation": round((AT_S + 1) * S)}
    observed |= {name: round((HEAL_S + value) * S) for name, value in seconds.items() if value is not None}
    doctored = trial("app-pause", observed_us=observed)
    found = findings(doctored, "app-pause")[names.OUT_OF_ROTATION]
    assert (found.verdict, detail in found.detail) == (verdict, True), found.detail
    doctored.more["faults"] += (record("db-pause", observed_us={}),)
    beside = findings(doctored, "app-pause")[names.OUT_OF_ROTATION]
    assert beside.verdict == ("unknown" if verdict == "fail" else verdict), "the other fault may have caused it"


def test_a_host_that_leaves_late_beside_another_fault_is_unknown() -> None:
    """A database that is stopped takes every app host out of rotation, the killed one too, long after its kill."""
    late = {"observed_us": _rotated(3.5, 1)}
    assert verdicts(trial("app-kill", **late))[names.OUT_OF_ROTATION] == "fail"
    beside = trial("app-kill", **late)
    beside.more["faults"] += (record("db-pause", observed_us={}),)
    assert verdicts(beside)[names.OUT_OF_ROTATION] == "unknown"


def test_a_host_that_is_back_may_leave_again_when_the_watch_is_lost() -> None:
    problem = "lb-1: haproxy was not watched: no line for 10 s"
    found = findings(trial("app-pause", observed_us=_rotated(1, 1), problem=problem), "app-pause")
    assert found[names.OUT_OF_ROTATION].verdict == "unknown"
    assert "haproxy was not watched" in found[names.OUT_OF_ROTATION].detail


def test_a_host_that_was_out_before_the_fault_says_nothing() -> None:
    found = findings(trial("app-pause", observed_us=_rotated(0, 1)), "app-pause")[names.OUT_OF_ROTATION]
    assert found.verdict == "unknown"
    assert "it was out of rotation before the fault" in found.detail


def test_a_host_that_haproxy_never_took_out_must_fail_no_request() -> None:
    assert verdicts(trial("app-kill", observed_us={}))[names.OUT_OF_ROTATION] == "pass"
    doctored = trial("app-kill", observed_us={})
    late = next(row for row, sent in enumerate(doctored.samples.sent_us) if sent > (AT_S + 3.5) * S)
    doctored.set(late, outcome="unknown", value=None)
    assert verdicts(doctored)[names.OUT_OF_ROTATION] == "fail"


@pytest.mark.parametrize("fault", ["app-pause", "partition-db", "partition-db-one-way", "partition-lb"])
def test_a_host_that_stays_sick_must_leave_the_rotation(fault: str) -> None:
    """Requests to a stopped service hang until it continues, and then succeed: outcomes show nothing."""
    held = {"observed_us": {}, "healing_us": round((AT_S + 5) * S), "healed_us": round((AT_S + 5.2) * S)}
    found = findings(trial(fault, **held), fault)[names.OUT_OF_ROTATION]
    assert found.verdict == "fail"
    assert f"{fault} on app-1: HAProxy did not take it out in 5.0 s, limit 3 s" in found.detail


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"healing_us": round((AT_S + 3.5) * S)}, "present for 3.5 s only"),
        ({"problem": "lb-1: haproxy was not watched: no line for 10 s"}, "haproxy was not watched"),
        ({"seen": "", "problem": "not seen within 10 s"}, "not seen within 10 s"),
    ],
)
def test_a_rotation_that_cannot_be_known_is_unknown(values: dict[str, Any], reason: str) -> None:
    held = {"observed_us": {}, "healing_us": round((AT_S + 5) * S), "healed_us": round((AT_S + 5.2) * S)}
    found = findings(trial("app-pause", **{**held, **values}), "app-pause")[names.OUT_OF_ROTATION]
    assert found.verdict == "unknown"
    assert reason in found.detail


def test_a_rotation_that_was_not_watched_is_unknown_for_a_crash_too() -> None:
    problem = "lb-1: haproxy was not watched: no line for 10 s"
    doctored = trial("app-kill", observed_us={}, problem=problem)
    late = next(row for row, sent in enumerate(doctored.samples.sent_us) if sent > (AT_S + 3.5) * S)
    assert verdicts(doctored)[names.OUT_OF_ROTATION] == "unknown"
    doctored.set(late, outcome="unknown", value=None)
    assert verdicts(doctored)[names.OUT_OF_ROTATION] == "unknown"


def test_a_sick_host_beside_another_fault_is_unknown() -> None:
    held = {"observed_us": {}, "healing_us": round((AT_S + 5) * S)}
    doctored = trial("app-pause", **held)
    doctored.more["faults"] += (record("lb-kill", observed_us={}),)
    assert verdicts(doctored, "app-pause")[names.OUT_OF_ROTATION] == "unknown"
