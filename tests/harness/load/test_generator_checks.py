from __future__ import annotations

from typing import Any

import pytest

from harness.load.generator_checks import broken, notes, reasons
from harness.load.results.summary import ConnectionTotals, LaneSummary, Percentiles
from tests.support.summaries import lane_summary, phase, process, window


def test_a_generator_below_all_limits_has_no_reasons() -> None:
    assert reasons(lane_summary()) == []
    assert notes(lane_summary(), ceiling_rps=50_000) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"watch": (process(cpu=0.95),)}, "used 95% of a core"),
        ({"watch": (process(), process(cpu=0.95, load_host="load-2", in_flight=0.0))}, "load-2"),
        ({"watch": (process(cpu=0.095, cores=0.1),)}, "used 95% of the 0.1 cores that its host may use"),
        (
            {"watch": (process(cores=1.5, cpu=0.7, in_flight=10.0),) * 2},
            "load-1: the load generator used 93% of the 1.5 cores",
        ),
        ({"apart_us": 1_000_000}, "began to measure 1,000 ms apart (limit 100 ms)"),
        ({"watch": (process(throttled=0.8, cores=0.6),)}, "quota of 0.6 cores ran out in 80% of its"),
        ({"watch": (process(stalled=0.85, longest_stall_ms=90.0),)}, "stalled for 85% of the window"),
        ({"lag_ms": Percentiles(p99_ms=4.0, count=20_000)}, "send lag p99 4.0 ms (limit 3.0 ms"),
        ({"lag_ms": Percentiles(p95_ms=4.0, p99_ms=9.0, count=100)}, "send lag p95 4.0 ms (limit 2.0 ms"),
        ({"last_sent_us": 12_000_000, "late": 4000}, "only 83% of the offered 2000 requests/s"),
        ({"watch": (process(in_flight=30.0),)}, "Little's law does not hold: 30.0"),
    ],
)
def test_each_reason_is_named(changes: dict[str, Any], message: str) -> None:
    problems = reasons(lane_summary(**changes))
    assert len(problems) == 1
    assert message in problems[0]
    assert "\n" not in problems[0]


STOPPED = ((23, 3), (24, 9), (25, 9), (26, 9))
"""A generator that was stopped for 25 of every 100 ms of three seconds."""
CLOSED = {
    "mode": "closed", "offered_rate": None, "clients": 16, "peak_in_flight": 16, "measure_to_us": 3_000_000,
    "window": window(9_000), "busy_us": 48_000_000, "lag_ms": Percentiles(),
    "service_ms": Percentiles(p50_ms=5.0, p95_ms=24.0, p99_ms=27.0, count=9_000),
}  # fmt: skip


def closed(delays: tuple[tuple[int, int], ...] | None, **changes: Any) -> LaneSummary:
    watch = (process(looks=300, in_flight=16.0, stalled=0.23, delays=delays),)
    return lane_summary(**CLOSED | {"watch": watch} | changes)


def test_a_closed_load_whose_responses_were_noticed_late_is_named() -> None:
    (reason,) = reasons(closed(STOPPED))
    assert reason.startswith(
        "the load generator noticed 5.3% of the responses more than 2.7 ms late (limit 1% for a p99"
    )
    assert reasons(closed(())) == reasons(closed(None)) == []


def test_the_delay_allowed_depends_on_the_percentile() -> None:
    """30 stops delay 480 of 9,000 responses: enough for the p95 to be one of them, but of 90,000 not for the p99."""
    assert "limit 1% for a p99" in reasons(closed(STOPPED, service_ms=Percentiles(p99_ms=27.0, count=9_000)))[0]
    few = Percentiles(p50_ms=5.0, p95_ms=24.0, p99_ms=27.0, count=900)  # the p99 of few is not judged
    assert "limit 5% for a p95" in reasons(closed(STOPPED, service_ms=few))[0]
    assert reasons(closed(STOPPED, window=window(90_000))) == []
    assert reasons(closed(((24, 2),))) == []
    slow = Percentiles(p50_ms=200.0, p95_ms=280.0, p99_ms=300.0, count=9_000)
    assert reasons(closed(STOPPED, service_ms=slow)) == []


SATURATED = {
    "offered_rate": 3000.0, "window": window(17_120), "last_sent_us": 17_500_000, "late": 12_000, "clients": 64,
    "watch": (process(cpu=0.2, in_flight=63.9),), "busy_us": 639_000_000, "peak_in_flight": 64,
}  # fmt: skip
"""Offered 3,000/s, answered 1,712/s; the generator is idle and all its connections wait."""


def test_a_saturated_tier_is_no_limit_of_the_generator() -> None:
    summary = lane_summary(**SATURATED)
    assert reasons(summary) == []
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


@pytest.mark.parametrize("load", [{"mode": "closed", "offered_rate": None}, {"mode": "open"}])
def test_a_fast_tier_is_not_left_out_for_its_rate(load: dict[str, Any]) -> None:
    """Else a trial counts whose tier was saturated, and one whose tier kept up with the same rate does not."""
    fast = lane_summary(**load)
    assert reasons(fast) == []
    (note,) = notes(fast, 2_100)
    assert "of what the generator reaches against a null endpoint (2,100/s)" in note
    assert any("used 95% of a core" in why for why in reasons(lane_summary(**load, watch=(process(cpu=0.95),))))


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
        {"measure_to_us": None, "last_sent_us": None},
    ],
)
def test_values_without_significance_are_no_reason(changes: dict[str, Any]) -> None:
    assert reasons(lane_summary(**changes)) == []


def test_requests_over_connections_that_were_closed_while_idle_are_named_as_the_cause() -> None:
    summary = lane_summary(measure=phase(2000, errors={"closed while idle": 1479}))
    assert any("1,479 requests met connections that the service closed" in reason for reason in reasons(summary))


@pytest.mark.parametrize(("missing", "named"), [(0, False), (100, False), (101, True)])
def test_connections_that_were_closed_before_the_load_began_are_named(*, missing: int, named: bool) -> None:
    totals = ConnectionTotals(opened=20_000, reopened=missing, out_of_step=0, missing=missing)
    found = reasons(lane_summary(clients=10_000, connections=totals))
    assert found == (
        [
            "the service had closed 101 of 10,000 connections when the load began: its idle time-out must be longer "
            "than the opening of all connections takes; or use fewer clients"
        ]
        if named
        else []
    )
