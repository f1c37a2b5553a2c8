"""Saturated parts and telemetry: thinning keeps every peak, and unknown parts are shown as unknown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.analysis.bottleneck import Attribution
from harness.analysis.telemetry_totals import TelemetryReading, aggregate
from harness.model import Cell, Trial
from harness.record import TrialResult
from harness.report.charts.telemetry_series import LEAST_S, MOST_BUCKETS, SeriesBuilder, TelemetrySeries, spans_of
from harness.report.page import write_report
from harness.report.page_model import Fold, Picture, Table, Value
from harness.report.run_summary import summarise
from harness.report.sections.bottleneck import saturated_parts, telemetry_fold
from harness.report.trial_data import TrialData
from harness.store.run_reader import Run
from harness.store.run_writer import RunWriter
from tests.support.builders import Made, concurrent, page_of, store

ROLES = {"db": "db", "app-1": "app", "app-2": "app", "lb": "lb", "load": "load"}
CELL = Cell(scenario="throughput", hosts=1)


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


def trial(number: int = 1, *, cell: Cell = CELL, valid: bool = True, **attribution: object) -> TrialData:
    figures = {"sent": 9.0, "mean_ms": 40.0, "pool_wait_ms": 30.0}
    row = TrialResult(
        trial=Trial(cell=cell, number=number, order=number, seed=1),
        validity="valid" if valid else "broken",
        figures=figures,
    )
    return TrialData(row=row, attribution=Attribution(line="said", **attribution))  # type: ignore[arg-type]


def test_saturated_parts_of_a_cell() -> None:
    both, one = trial(1, saturated=("app CPU", "pool waiting")), trial(2, saturated=("app CPU",))
    assert saturated_parts([both, one], CELL.name) == Value("app CPU, pool waiting in 1 of 2")
    idle = trial(3, levels={"app CPU": 0.614, "machine": 0.3, "lock waits": 0.4})
    assert saturated_parts([idle], CELL.name) == Value("nothing saturated", "app CPU 61 % at most")
    assert saturated_parts([trial(4, valid=False, saturated=("machine",)), idle], CELL.name).text == "nothing saturated"


def test_unknown_bottleneck_has_a_reason() -> None:
    short = trial(1, unknown="it ran only 0.6 s")
    why = "because it ran only 0.6 s; 75 % of the service time was waiting for a connection"
    assert saturated_parts([short], CELL.name) == Value("not known", why)
    assert saturated_parts([trial(1, valid=False)], CELL.name) == Value("not known", "because no trial is valid")
    assert saturated_parts([short, trial(2, saturated=("machine",))], CELL.name) == Value("machine")


def observed(run: Run) -> Run:
    """Returns the run with ten seconds of telemetry in its first trial."""
    rows = [
        {"second": second, "order": 1, "host": name, "metric": metric, "value": value}
        for second in range(1, 11)
        for name in ("app-1", "db", "lb", "load")
        for metric, value in host(second, name).metrics.items()
    ]
    RunWriter(run.path.parent, run.manifest, run.path).append("telemetry", rows)
    return run


def test_telemetry_is_folded_with_a_row_per_trial(tmp_path: Path) -> None:
    run = observed(store(tmp_path, [Made(cell=concurrent(), seconds=9.0), Made(cell=concurrent(), number=2)]))
    (fold,) = [block for block in page_of(run).sections[0].blocks if isinstance(block, Fold)]
    picture, trials = fold.blocks
    assert isinstance(picture, Picture)
    assert isinstance(trials, Table)
    assert [row[0].text for row in trials.rows] == ["1", "2"]
    assert trials.rows[0][-1].text.startswith("nothing was saturated: load CPU 50%")
    assert trials.rows[1][-1].text == "not known, because there is no telemetry of it"
    text = write_report(summarise(run)).read_text(encoding="utf-8")
    assert text.count("<details>") == text.count("</details>") >= 2


def test_without_telemetry_there_is_no_fold(tmp_path: Path) -> None:
    (summary,) = summarise(store(tmp_path, [Made(cell=concurrent())])).scenarios
    assert telemetry_fold(summary, [], None) == ()


@pytest.mark.parametrize(
    "damage", ["second,order,host,metric,value\n1,1,db,pg_commits,many\n", "a,b\n1,2\n", "\x00\xff"]
)
def test_damaged_telemetry_is_named_and_the_page_written(tmp_path: Path, damage: str) -> None:
    run = store(tmp_path, [Made(cell=concurrent())])
    (run.path / "telemetry.csv").write_text(damage, encoding="latin-1")
    page = page_of(run)
    assert any("telemetry.csv" in text for text in page.damage)
    assert page.sections[0].findings == ()
