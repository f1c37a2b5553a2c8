"""From a summary to the columns of trials.csv."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.figures import FIGURES, LATER_FIGURES, figures
from harness.analysis.host_drift import drifted_hosts, uneven_hosts
from harness.analysis.trial_validity import WARMUP_S, never_steady, unsteady
from harness.load.results.percentiles import Percentiles
from harness.load.results.summary import LaneSummary
from harness.model import OutcomeCounts
from harness.record import Evidence, TrialRecord, TrialResult, Validity
from tests.support.histories import TRIAL, serial
from tests.support.summaries import histogram_of, lane_summary, phase, window


def summary(times_ms: Any = range(1, 101), **changes: Any) -> LaneSummary:
    """100 requests in 2 s; latency twice the service time."""
    values: dict[str, Any] = {
        "measure": phase(97, fail=2, unknown=1),
        "measure_to_us": 2_000_000,
        "window": window(97),
        "latency_ms": Percentiles.of(histogram_of(2000 * ms for ms in times_ms)),
        "service_ms": Percentiles.of(histogram_of(1000 * ms for ms in times_ms)),
        "lag_ms": Percentiles(),
    }
    return lane_summary(**values | changes)


def test_every_column_is_there() -> None:
    assert set(figures(summary())) == {*FIGURES, *LATER_FIGURES}


def test_counts_and_rate_come_from_the_summary() -> None:
    row = figures(summary())
    assert [row[name] for name in ("sent", "ok", "fail", "unknown", "seconds", "rps")] == [100, 97, 2, 1, 2.0, 48.5]


def test_latency_and_service_time_are_kept_apart() -> None:
    row = figures(summary())
    assert row["p50_ms"] == pytest.approx(100, rel=0.01)
    assert row["service_p50_ms"] == pytest.approx(50, rel=0.01)
    assert row["max_ms"] == pytest.approx(200, rel=0.01)
    assert row["mean_ms"] == pytest.approx(101, rel=0.01)


def test_a_percentile_with_too_few_samples_is_none() -> None:
    assert figures(summary(range(1, 1001)))["p99_ms"] is not None
    assert figures(summary(range(1, 1001)))["p999_ms"] is None
    assert figures(summary(range(1, 1000)))["p99_ms"] is None
    assert figures(summary([]))["p50_ms"] is None
    assert figures(summary())["lag_p99_ms"] is None


def test_acknowledged_and_refused_requests_have_their_own_percentiles() -> None:
    counts = {
        "latency": histogram_of([*[5000] * 30, *[100] * 20]), "refused": histogram_of([100] * 20),
        "service": {}, "lag": {},
    }  # fmt: skip
    row = figures(summary().with_percentiles(counts))
    assert row["ok_p50_ms"] == pytest.approx(5, rel=0.01)
    assert row["refused_p50_ms"] == pytest.approx(0.1, rel=0.01)
    assert row["refused_p95_ms"] is None


def test_the_longest_stall_is_a_figure() -> None:
    assert figures(summary(stalls=((0, 20_000), (50_000, 450_000))))["stall_ms"] == 400
    assert figures(summary(stalls=()))["stall_ms"] == 0
    assert figures(summary(stalls=None))["stall_ms"] is None


def test_a_trial_without_duration_has_no_rate() -> None:
    assert figures(summary(measure_to_us=None))["rps"] is None


def test_the_apps_figures_are_means_over_the_responses_that_report_them() -> None:
    row = figures(summary(captured={"pool_wait_ms": (3.0, 2), "transactions": (0.0, 0), "other": (1.0, 1)}))
    assert row["pool_wait_ms"] == 1.5
    assert row["transactions"] is None
    assert row["retries"] is None


def test_retries_are_per_acknowledged_request() -> None:
    """100 were sent, 97 acknowledged; the others' retries count, and what was not committed does not dilute them."""
    text = {"retries": (194.0, 100)}
    assert figures(summary(captured=text))["retries"] == 2.0
    assert figures(summary(captured=text, measure=phase(0, fail=100)))["retries"] is None


def test_a_row_and_a_record_give_their_parts() -> None:
    row = TrialResult(trial=TRIAL, figures={"rps": 2.0})
    assert (row.cell, row.figure("rps"), row.figure("p99_ms")) == (TRIAL.cell, 2.0, None)
    samples = serial([1])
    measured = TrialRecord(row=row, lanes={"main": samples}, evidence=Evidence())
    assert measured.cell is TRIAL.cell
    assert measured.main is samples
    assert measured.requests is samples
    with pytest.raises(KeyError):
        _ = TrialRecord(row=row, lanes={}, evidence=Evidence()).main
    tally = OutcomeCounts({("increment", "hot-0", "ok"): 1})
    assert TrialRecord(row=row, lanes={}, outcome_counts={"main": tally}, evidence=Evidence()).requests is tally


ROLES = {"app-1": "app", "app-2": "app", "app-3": "app", "db-1": "db"}


def canaries(name: str = "cpu_ms", **times_ms: float) -> dict[str, dict[str, float]]:
    """One canary of some hosts, the others alike."""
    alike = {"cpu_ms": 10.0, "fsync_ms": 1.0, "rtt_ms": 0.3}
    return {host.replace("_", "-"): {**alike, name: ms} for host, ms in times_ms.items()}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (canaries(app_1=10.0, app_2=13.0), "app hosts differ: CPU canary app-2 13 ms against app-1 10 ms"),
        (
            canaries(app_1=12.0, app_2=10.0, app_3=11.9, db_1=99.0),
            "app hosts differ: CPU canary app-1 12 ms, app-3 11.9 ms against app-2 10 ms",
        ),
        (canaries("fsync_ms", app_1=3.0, app_2=9.5), "app hosts differ: fsync app-2 9.5 ms against app-1 3 ms"),
        (
            canaries("rtt_ms", app_1=0.9, app_2=0.3),
            "app hosts differ: round trip app-1 0.9 ms against app-2 0.3 ms",
        ),
    ],
)
def test_a_host_that_differs_from_its_role_is_reported(found: dict[str, dict[str, float]], text: str) -> None:
    assert uneven_hosts(found, ROLES) == [text]


def test_equal_single_or_unknown_hosts_are_not_reported() -> None:
    assert uneven_hosts(canaries(app_1=10.0, app_2=11.4, app_3=10.0), ROLES) == []
    assert uneven_hosts(canaries("fsync_ms", app_1=0.4, app_2=1.3), ROLES) == [], "noise of a shared disk"
    assert uneven_hosts(canaries("rtt_ms", app_1=0.05, app_2=0.2), ROLES) == [], "noise of a bridge"
    assert uneven_hosts(canaries(db_1=10.0), ROLES) == []
    assert uneven_hosts(canaries(stranger=10.0, other=99.0), ROLES) == []
    assert uneven_hosts({}, ROLES) == []


def began(*steady: bool | None, valid: bool = True) -> list[TrialResult]:
    validity: Validity = "valid" if valid else "broken"
    return [TrialResult(trial=TRIAL, steady=one, validity=validity, figures={}) for one in steady]


def test_cells_that_began_unsteady_are_reported_once_each() -> None:
    name = TRIAL.cell.name
    moved = (
        "were not steady: throughput or p95 changed at the end of the warm-up, or throughput during the measured phase"
    )
    assert unsteady(began(True, False, False)) == [f"{name}: 2 of 3 trials {moved}"]
    assert unsteady(began(False)) == [f"{name}: 1 of 1 trials {moved}"]
    assert unsteady([*began(True, None), *began(False, valid=False)]) == []


def test_cells_with_a_short_warm_up_share_one_warning() -> None:
    """It does not say that the load changed: the warm-up is too short to see that."""

    def of(keys: str, *, steady: bool) -> TrialResult:
        cell = replace(TRIAL.cell, params={"keys": keys, WARMUP_S: 2.0})
        return TrialResult(trial=replace(TRIAL, cell=cell), steady=steady, figures={})

    usual = began(False)
    short, long = unsteady([of("hot", steady=False), of("1000", steady=False), of("10", steady=True), *usual])
    assert short == (
        "the times of 2 cells are reported only: a warm-up of 2 s (--quick) is too short to show a steady state"
    )
    assert [long] == unsteady(usual)


def test_a_cell_without_a_steady_valid_trial_was_never_steady() -> None:
    assert never_steady(began(False, False))
    assert never_steady([*began(False), *began(True, valid=False)])
    assert not never_steady(began(False, True))
    assert not never_steady(began(None))
    assert not never_steady([])


def test_a_missing_round_trip_is_reported_where_there_are_several_hosts() -> None:
    lonely = {"controller": {"cpu_ms": 1.0, "fsync_ms": 1.0}}
    assert uneven_hosts(lonely, {"controller": "load"}) == []
    found = canaries(app_1=10.0, app_2=10.0)
    del found["app-2"]["rtt_ms"]
    (text,) = uneven_hosts(found, ROLES)
    assert text.startswith("app-2: no round trip was measured")


def test_a_host_that_changed_during_the_run_is_reported() -> None:
    before, after = canaries(app_1=10.0, app_2=10.0, db_1=10.0), canaries(app_1=13.0, app_2=11.0, db_1=8.0, new=99.0)
    assert drifted_hosts(before, after) == [
        "hosts changed during the trials: CPU canary app-1 10 ms, then 13 ms; db-1 10 ms, then 8 ms",
    ]
    assert drifted_hosts(before, before) == []
    assert drifted_hosts({}, after) == []
