"""Telemetry series: thinning keeps every peak, missing readings break the line."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.analysis.telemetry_totals import TelemetryReading, aggregate
from harness.report.charts.telemetry_series import LEAST_S, MOST_BUCKETS, SeriesBuilder, TelemetrySeries, spans_of

ROLES = {"db": "db", "app-1": "app", "app-2": "app", "lb": "lb", "load": "load"}


def host(second: float, name: str = "app-1", order: int = 1, **metrics: float) -> TelemetryReading:
    """A reading of one second of a host at half its cap."""
    usual = {"host_seconds": 1.0, "cpu_used_cores": 0.5, "cpu_cap_cores": 1.0, "machine_cpu_share": 0.25}
    return TelemetryReading(second=second, order=order, host=name, metrics={**usual, **metrics})


def drawn(*readings: TelemetryReading, serving: Mapping[int, int] | None = None) -> TelemetrySeries:
    serving = serving or {1: 2}
    builder = SeriesBuilder(spans_of(aggregate(readings, ROLES, serving), serving), ROLES, serving)
    for reading in readings:
        builder.add(reading)
    return builder.series()


def points(series: TelemetrySeries, name: str) -> list[tuple[float | None, float | None]]:
    return [(point["mean"], point["peak"]) for point in series.points if point["name"] == name]


def test_thinning_keeps_every_peak_and_the_mean() -> None:
    seconds = [host(float(n), cpu_used_cores=3.0 if n == 700 else 0.5) for n in range(1, 1201)]
    series = drawn(*seconds)
    app = points(series, "app")
    assert MOST_BUCKETS <= len(app) <= MOST_BUCKETS + 1
    assert series.bucket_s == pytest.approx(1200 / MOST_BUCKETS)
    assert [peak for _, peak in app if peak != 50.0] == [300.0]
    assert [mean for mean, _ in app if mean != 50.0] == [75.0]


def test_reading_is_weighted_by_its_duration() -> None:
    series = drawn(host(1.0), host(1.5, host_seconds=0.5, cpu_used_cores=1.0))
    assert points(series, "app") == [(66.667, 100.0)]


def test_count_over_a_very_short_time_is_no_peak() -> None:
    """2,000 commits reported for a hundredth of a second are not 200,000 per second."""

    def batch(second: float, seconds: float, commits: float) -> TelemetryReading:
        return TelemetryReading(
            second=second, order=1, host="db", metrics={"pg_commits": commits, "pg_seconds": seconds}
        )

    series = drawn(host(1.0), host(2.0), batch(1.0, 0.01, 2000.0), batch(1.99, 0.99, 0.0))
    assert points(series, "commits") == [(20.0, 20.0)]


def test_missing_readings_break_the_line() -> None:
    far = 5 * LEAST_S
    app = points(drawn(host(1.0), host(1.0 + far)), "app")
    assert app == [(50.0, 50.0), *[(None, None)] * 4, (50.0, 50.0)]


def test_only_the_hosts_that_served_count() -> None:
    readings = [host(1.0), host(1.0, "app-2", cpu_used_cores=0.9)]
    assert points(drawn(*readings, serving={1: 2}), "app") == [(70.0, 90.0)]
    assert points(drawn(*readings, serving={1: 1}), "app") == [(50.0, 50.0)]


def test_readings_of_other_trials_and_outside_the_span_are_left_out() -> None:
    readings = [host(1.0), host(50.0, order=2, cpu_used_cores=0.9), host(90.0, order=0)]
    series = drawn(*readings)
    assert [span.order for span in series.trials] == [1]
    assert (series.seconds, points(series, "app")) == (1.0, [(50.0, 50.0)])
    assert spans_of(aggregate(readings, ROLES, {7}), {7: 1}) == []


def test_curve_at_zero_is_named_and_one_not_measured_is_left_out() -> None:
    database = {"pg_commits": 9.0, "pg_deadlocks": 0.0, "pg_wait_lock": 0.0, "pg_seconds": 1.0}
    series = drawn(host(1.0), TelemetryReading(second=1.0, order=1, host="db", metrics=database))
    assert list(series.zero) == ["deadlocks", "sessions that wait for a lock"]
    assert {point["name"] for point in series.points} == {"app", "whole machine", "commits"}
