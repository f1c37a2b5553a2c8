from __future__ import annotations

from typing import Any

import pytest

from harness.load.generator_checks import broken, notes, reasons
from harness.load.results.summary import ConnectionTotals, Percentiles
from tests.support.summaries import lane_summary, phase, process, window

ONE_SECOND = {
    "measure_to_us": 1_000_000, "window": window(2000), "last_due_us": 999_500, "last_sent_us": 999_900,
    "watch": (process(looks=97),),
}  # fmt: skip
"""A window as with --quick."""


def test_a_generator_below_all_limits_has_no_reasons() -> None:
    assert reasons(lane_summary(), ceiling_rps=50_000) == []
    assert reasons(lane_summary()) == []


@pytest.mark.parametrize(
    ("changes", "ceiling", "message"),
    [
        ({"watch": (process(cpu=0.95),)}, None, "used 95% of a core"),
        ({"watch": (process(), process(cpu=0.95, load_host="load-2", in_flight=0.0))}, None, "load-2"),
        ({"watch": (process(cpu=0.095, cores=0.1),)}, None, "used 95% of the 0.1 cores that its host may use"),
        (
            {"watch": (process(cores=1.5, cpu=0.7, in_flight=10.0),) * 2},
            None,
            "load-1: the load generator used 93% of the 1.5 cores",
        ),
        ({"apart_us": 1_000_000}, None, "began to measure 1,000 ms apart (limit 100 ms)"),
        ({"watch": (process(throttled=0.8, cores=0.6),)}, None, "quota of 0.6 cores ran out in 80% of its"),
        ({"watch": (process(stalled=0.85, longest_stall_ms=90.0),)}, None, "stalled for 85% of the window"),
        ({"lag_ms": Percentiles(p99_ms=4.0, count=20_000)}, None, "send lag p99 4.0 ms (limit 3.0 ms"),
        ({"lag_ms": Percentiles(p95_ms=4.0, p99_ms=9.0, count=100)}, None, "send lag p95 4.0 ms (limit 2.0 ms"),
        ({"last_sent_us": 12_000_000, "late": 4000}, None, "only 83% of the offered 2000 requests/s"),
        ({}, 2_300.0, "87% of what the generator reaches"),
        ({"watch": (process(in_flight=30.0),)}, None, "Little's law does not hold: 30.0"),
        ({"busy_us": 150_000_000}, None, "their times add up to 15.0"),
        (ONE_SECOND | {"busy_us": 15_000_000}, None, "their times add up to 15.0"),
        (ONE_SECOND | {"busy_us": 85_000_000, "watch": (process(looks=97, in_flight=100.0),)}, None, "85.0"),
    ],
)
def test_each_reason_is_named(changes: dict[str, Any], ceiling: float | None, message: str) -> None:
    problems = reasons(lane_summary(**changes), ceiling)
    assert len(problems) == 1
    assert message in problems[0]
    assert "\n" not in problems[0]


SATURATED = {
    "offered_rate": 3000.0, "window": window(17_120), "last_sent_us": 17_500_000, "late": 12_000, "clients": 64,
    "watch": (process(cpu=0.2, in_flight=63.9),), "busy_us": 639_000_000, "peak_in_flight": 64,
}  # fmt: skip
"""Offered 3,000/s, answered 1,712/s; the generator is idle and all its connections wait."""


def test_a_saturated_tier_is_no_limit_of_the_generator() -> None:
    summary = lane_summary(**SATURATED)
    assert reasons(summary, 50_000) == []
    assert reasons(summary, 3_200) == []
    (note,) = notes(summary)
    assert note.startswith(
        "tier saturated: 3,000 requests/s were offered, 1,712/s were answered, and on average 64 of 64"
    )
    assert notes(lane_summary()) == []


@pytest.mark.parametrize(
    "limit",
    [
        {"watch": (process(cpu=0.95, in_flight=63.9),)},
        {"watch": (process(stalled=0.85, longest_stall_ms=90.0, in_flight=63.9),)},
        {"watch": (process(cpu=0.2, in_flight=30.0),), "busy_us": 300_000_000},
        {"lag_ms": Percentiles(p99_ms=40.0, count=20_000)},
    ],
)
def test_a_generator_that_was_limited_itself_does_not_blame_the_tier(limit: dict[str, Any]) -> None:
    summary = lane_summary(**SATURATED | limit)
    assert any("offered 3000 requests/s were sent" in reason for reason in reasons(summary))
    assert notes(summary) == []


def test_a_fast_tier_is_not_left_out_for_its_rate() -> None:
    """The share of the ceiling is that of the planned rate; a closed load has none, and its CPU is judged."""
    closed = lane_summary(mode="closed", offered_rate=None)
    assert reasons(closed, 2_100) == []
    (note,) = notes(closed, 2_100)
    assert "of what the generator reaches against a null endpoint (2,100/s)" in note


def test_unusable_outcomes_are_told_apart_from_unusable_times() -> None:
    assert broken(lane_summary()) == []
    assert broken(lane_summary(watch=(process(cpu=0.95),))) == []
    assert broken(lane_summary(connections=ConnectionTotals(opened=100, reopened=0, out_of_step=2))) == [
        "2 responses came without a request: others may belong to the wrong request"
    ]
    assert broken(lane_summary(interrupted=True)) == ["the load was interrupted"]


@pytest.mark.parametrize(
    "changes",
    [
        {"lag_ms": Percentiles(p99_ms=0.9, count=5000), "service_ms": Percentiles(p99_ms=0.5)},  # below the grain
        {"lag_ms": Percentiles(p95_ms=0.3, p99_ms=9.0, count=100)},  # one or two outliers
        {"lag_ms": Percentiles(p95_ms=None, p99_ms=None, count=9)},  # too few to carry a p95
        {"watch": (process(cpu=0.99, looks=3, in_flight=None),)},  # 30 ms: too short
        {"mode": "closed", "offered_rate": None, "last_sent_us": 12_000_000},
        {"watch": (process(in_flight=20.9),)},  # within 5 %
        ONE_SECOND | {"busy_us": 18_000_000},  # chance
        ONE_SECOND | {"busy_us": 15_000_000, "watch": (process(looks=49),)},  # too few looks
        # a burst: a thousand in flight in the first 10 ms, before the first look
        ONE_SECOND | {"busy_us": 510_000_000, "peak_in_flight": 1000, "watch": (process(looks=97, in_flight=480),)},
        {"measure_to_us": None, "last_sent_us": None},
    ],
)
def test_values_without_significance_are_no_reason(changes: dict[str, Any]) -> None:
    assert reasons(lane_summary(**changes), 50_000.0) == []


def test_requests_over_connections_that_were_closed_while_idle_are_named_as_the_cause() -> None:
    summary = lane_summary(measure=phase(2000, errors={"closed while idle": 1479}))
    assert any("1,479 requests met connections that the service closed" in reason for reason in reasons(summary))
