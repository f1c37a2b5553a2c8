"""The availability figures of loads whose answer is known by construction."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from harness.analysis.availability import availability, outage_ended
from harness.fault_record import FaultRecord, PlannedFault
from tests.support.histories import Columns, history

MS, S = 1_000, 1_000_000


def fault(at_s: float, healing_s: float | None, name: str = "db-crash", **values: Any) -> FaultRecord:
    healing = None if healing_s is None else round(healing_s * S)
    planned = PlannedFault(fault=name, at_s=at_s, hold_s=1.0)
    return FaultRecord(planned=planned, injected_us=round(at_s * S), healing_us=healing, **values)


def load(seconds: float, out: tuple[float, float] | None, *, per_s: int = 100, answer: str = "late") -> Columns:
    """Requests every 1/per_s s, answered 1 ms later. Those due in `out` wait for its end, or `fail` at once."""
    rows = []
    for number in range(round(seconds * per_s)):
        due = number * S // per_s
        waits = out is not None and out[0] * S <= due < out[1] * S
        done, outcome = due + MS, "ok"
        if waits and out is not None:
            done, outcome = (round(out[1] * S) + MS, "ok") if answer == "late" else (due + MS, answer)
        rows.append((due, done, outcome, number))
    rows.sort(key=lambda row: row[1])
    return history(*rows)


def test_an_outage_that_ends_is_as_long_as_it_was() -> None:
    seen = availability(load(12, (4.0, 7.0)), [fault(4.0, 6.5, observed_us={"accepts": 6 * S})])  # type: ignore[arg-type]
    assert seen is not None
    assert seen.gap_s == pytest.approx(3.0, abs=0.02)
    assert seen.rate_before == pytest.approx(100, rel=0.02)
    assert outage_ended(asdict(seen))
    assert outage_ended({"gap_s": seen.gap_s}), "a record without the instants"
    (effect,) = seen.effects
    assert effect.gap_s == pytest.approx(3.0, abs=0.02)
    assert effect.accepted_success_s == pytest.approx(1.0, abs=0.02)
    assert effect.first_success_s == pytest.approx(0.5, abs=0.02)
    assert (effect.failed, effect.unknown) == (0, 0)
    assert effect.back_s is not None
    assert effect.back_s == pytest.approx(0.5, abs=0.02)


def test_a_backlog_before_the_fault_is_no_rate_that_has_to_come_back() -> None:
    """What was due in the first second was answered after it: a third more than was offered later."""
    seen = availability(load(12, (0.0, 1.1)), [fault(4.0, 6.0)])  # type: ignore[arg-type]
    assert seen is not None
    assert seen.rate_before == pytest.approx(100, rel=0.02)
    (effect,) = seen.effects
    assert effect.back_s is not None


def test_an_outage_that_does_not_end_counts_until_the_end() -> None:
    seen = availability(load(10, (4.0, 99.0), answer="unknown"), [fault(4.0, 6.0)])  # type: ignore[arg-type]
    assert seen is not None
    assert seen.gap_s == pytest.approx(6.0, abs=0.02)
    (effect,) = seen.effects
    assert effect.first_success_s is None
    assert effect.back_s is None
    assert effect.until_us == seen.end_us
    assert (effect.failed, effect.unknown) == (0, 600)
    assert not outage_ended(asdict(seen))


def test_a_rate_that_does_not_return_is_no_recovery() -> None:
    columns = load(12, None)
    columns.outcome = [
        "fail" if due >= 4 * S and row % 2 else outcome
        for row, (due, outcome) in enumerate(zip(columns.due_us, columns.outcome, strict=True))
    ]
    seen = availability(columns, [fault(4.0, 6.0)])  # type: ignore[arg-type]
    assert seen is not None
    assert seen.gap_s < 0.05
    assert seen.effects[0].back_s is None


@pytest.mark.parametrize(
    ("accepts_s", "lasting", "gap_s"),
    [(4.0, (), 5.0), (6.0, (), 3.0), (4.0, ("db-crash",), 2.5), (9.5, (), 0.01), (None, (), None)],
)
def test_the_time_without_a_success_counts_from_when_one_is_possible(
    accepts_s: float | None, lasting: tuple[str, ...], gap_s: float | None
) -> None:
    observed = {} if accepts_s is None else {"accepts": round(accepts_s * S)}
    columns = load(14, (4.0, 9.0))
    seen = availability(columns, [fault(4.0, 6.5, observed_us=observed)], lasting=lasting)  # type: ignore[arg-type]
    assert seen is not None
    assert seen.effects[0].accepted_gap_s == (None if gap_s is None else pytest.approx(gap_s, abs=0.02))


def test_the_rate_is_not_back_with_the_backlog() -> None:
    """Requests of the outage that complete at its end, among them those due after the heal, are no rate."""
    columns = load(14, (4.0, 7.0))
    columns.outcome = [
        "fail" if due >= 7 * S and number % 4 else outcome
        for due, number, outcome in zip(columns.due_us, columns.value, columns.outcome, strict=True)
    ]
    for healing_s in (5.9, 7.0):
        seen = availability(columns, [fault(4.0, healing_s)])  # type: ignore[arg-type]
        assert seen is not None
        assert seen.effects[0].back_s is None


def test_a_slow_service_is_not_back_although_all_its_requests_succeed() -> None:
    """Half the rate: each request waits longer than the one before."""
    columns = load(14, None)
    columns.done_us = [due + MS + max(0, due - 6 * S) for due in columns.due_us]
    seen = availability(columns, [fault(4.0, 6.0)])  # type: ignore[arg-type]
    assert seen is not None
    assert seen.effects[0].back_s is None


@pytest.mark.parametrize(("answer", "dead_s"), [("late", 0.0), ("fail", 2.0)])
def test_the_end_is_dead_where_nothing_succeeds_any_more(answer: str, dead_s: float) -> None:
    seen = availability(load(10, (8.0, 99.0), answer=answer), [fault(4.0, 5.0)])  # type: ignore[arg-type]
    assert seen is not None
    assert seen.dead_s == pytest.approx(dead_s, abs=0.02)


def test_percentiles_need_ten_samples_beyond() -> None:
    few = availability(load(12, (4.0, 5.0)), [fault(4.0, 5.0)])  # type: ignore[arg-type]
    many = availability(load(12, (4.0, 6.0), per_s=1000), [fault(4.0, 5.5)])  # type: ignore[arg-type]
    assert few is not None
    assert (few.p99_before_ms, few.p99_during_ms, few.p99_after_ms) == (None, None, None)
    assert many is not None
    assert many.p99_before_ms == pytest.approx(1.0)
    assert many.p99_during_ms is not None
    assert many.p99_during_ms > 1900
    assert many.p99_after_ms == pytest.approx(1.0)


def test_a_retried_request_counts_once_from_its_first_due_instant() -> None:
    columns = load(12, None, per_s=200)
    columns.id = [f"id-{seq}" for seq in columns.seq]
    columns.id[901], columns.due_us[901], columns.outcome[900] = "id-900", columns.due_us[900], "unknown"
    seen = availability(columns, [fault(4.0, 5.0)])  # type: ignore[arg-type]
    assert seen is not None
    assert seen.effects[0].unknown == 0


def test_overlapping_faults_have_their_own_figures() -> None:
    faults = [fault(4.0, 6.0, "app-kill"), fault(8.0, 9.0)]
    seen = availability(load(15, (8.0, 9.0)), faults)  # type: ignore[arg-type]
    assert seen is not None
    assert seen.effects[0].gap_s < 0.05
    assert seen.effects[1].gap_s == pytest.approx(1.0, abs=0.02)


def test_without_requests_there_are_no_figures() -> None:
    assert availability(history(), [fault(4.0, 6.0)]) is None  # type: ignore[arg-type]


def test_a_fault_that_was_not_injected_has_no_effect() -> None:
    record = FaultRecord(planned=PlannedFault(fault="db-crash", at_s=4.0, hold_s=1.0), problem="no answer")
    seen = availability(load(10, None), [record])  # type: ignore[arg-type]
    assert seen is not None
    assert seen.effects[0].gap_s == 0
    assert seen.effects[0].first_success_s is None
    assert seen.failed == 0
