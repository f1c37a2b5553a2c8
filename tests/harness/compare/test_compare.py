"""Comparisons of two simulated runs: which differences are claimed, and which cells are not judged."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Any

import pytest

from harness.analysis.stats import Interval
from harness.compare import compare as module
from harness.compare.cells import comparable_name
from harness.compare.compare import compare
from harness.compare.rows import METRICS
from harness.compare.table import text
from tests.support.comparisons import closed, compared, floors, run, simulated, trial, verdicts


@pytest.fixture
def without_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips the interval, the slowest test. Without it there can only be more claims."""

    def ratio(a: Sequence[float], b: Sequence[float], *, seed: int) -> Interval:
        value = statistics.median(b) / statistics.median(a)
        return Interval(value=value, low=value, high=value)

    monkeypatch.setattr(module, "ratio_of_medians", ratio)


def called_different(pairs: int, **simulation: Any) -> int:
    """Returns the number of identical pairs with a row that is called different."""
    called = 0
    for seed in range(pairs):
        rng = random.Random(seed)
        a, b = (run(simulated(rng, **simulation), name) for name in "AB")
        called += bool(verdicts(compare(a, b)) & {"faster", "slower"})
    return called


@pytest.mark.usefixtures("without_intervals")
@pytest.mark.parametrize(
    ("pairs", "simulation"),
    [
        (200, {"cells": 12, "trials": 5, "noise": 0.05}),
        (60, {"cells": 12, "trials": 7, "noise": 0.15}),
        (200, {"cells": 1, "trials": 5, "noise": 0.15}),
        (200, {"cells": 2, "trials": 8, "noise": 0.03}),
    ],
    ids=str,
)
def test_of_identical_pairs_at_most_5_percent_are_called_different(pairs: int, simulation: dict[str, Any]) -> None:
    """A pair counts if one of its rows does. With 15 % noise the assumed floor of 5 % has no effect."""
    assert called_different(pairs, **simulation) <= 0.05 * pairs


def test_true_difference_of_10_percent_is_found_in_95_of_100() -> None:
    comparisons = [compared(seed, slower=1.1) for seed in range(200)]
    for metric in METRICS:
        claimed = sum(row.verdict == "slower" for one in comparisons for row in one.rows if row.metric == metric)
        assert claimed >= 190, metric
    assert not any("faster" in verdicts(one) for one in comparisons)


@pytest.mark.usefixtures("without_intervals")
def test_true_difference_of_10_percent_is_found_among_12_cells_too() -> None:
    rows = [row for seed in range(20) for row in compared(seed, slower=1.1, cells=12).rows]
    assert sum(row.verdict == "slower" for row in rows) >= 0.95 * len(rows)


def test_faster_is_a_higher_rate_or_a_lower_latency() -> None:
    a, b = run([trial(n) for n in range(5)]), run([trial(n, rps=2000.0, p99_ms=10.0) for n in range(5)], "B")
    rows = {row.metric: row for row in compare(a, b).rows}
    assert (rows["rps"].verdict, rows["p99_ms"].verdict, rows["p50_ms"].verdict) == ("slower", "faster", "~")
    assert rows["rps"].ratio is not None
    assert rows["rps"].ratio.value == pytest.approx(2 / 3)
    assert (rows["rps"].median_a, rows["rps"].median_b, rows["rps"].n_a, rows["rps"].n_b) == (3000, 2000, 5, 5)


def test_difference_below_the_measured_noise_floor_is_not_claimed() -> None:
    loud, quiet = compared(slower=1.1, floor=1.2), compared(slower=1.1, floor=1.01)
    assert verdicts(loud) == {"~"}
    assert loud.rows[0].note == "within the noise floor of 20.0%"
    assert verdicts(quiet) == {"slower"}
    assert quiet.warnings == ()


@pytest.mark.parametrize("floor", [None, dict.fromkeys(METRICS, 1.01)])
def test_one_session_a_side_without_a_floor_between_runs_shows_only_large_ratios(
    floor: dict[str, float] | None,
) -> None:
    """A floor of two halves of one session, as earlier versions stored it, says nothing about two sessions."""
    changes: dict[str, Any] = {"floor": None} if floor is None else {"noise_floor": floor}
    small = compared(slower=1.7, trials=30, **changes)
    assert {(row.verdict, row.note) for row in small.rows} == {("~", "one session a side: shown beyond 2.00x")}
    assert set(small.noise_floor.values()) == {2.0}
    (warning,) = small.warnings
    assert warning.startswith(
        "one session a side, and how far sessions of this rig differ was not measured for cell-0.postgres"
    )
    assert "only ratios beyond 2 are shown there" in warning
    assert verdicts(compared(slower=2.3, **changes)) == {"slower"}


def test_largest_known_floor_holds_and_its_source_is_shown() -> None:
    rng = random.Random(1)
    a, b = run(simulated(rng), floor=1.03), run(simulated(rng, slower=1.1), "B", floor=None)
    (cell,) = {row.cell for row in compare(a, b).rows}
    rig = floors([cell], 1.02) | {f"rps {cell}": 1.2, f"p95_ms {cell}": 1.3, "p99_ms another": 1.9}
    comparison = compare(a, b, floors={"rig 'local'": rig})
    assert comparison.noise_floor == {"rps": 1.2, "p50_ms": 1.03, "p95_ms": 1.3, "p99_ms": 1.03}
    assert comparison.floor_sources == ("rig 'local'", "run A")
    assert "p95_ms 30.0%, p99_ms 3.0% (rig 'local', run A)." in text(comparison)
    notes = {row.metric: row.note or row.verdict for row in comparison.rows}
    assert notes["rps"] == "within the noise floor of 20.0%"
    assert notes["p99_ms"] == "slower"


@pytest.mark.parametrize("trials", [1, 2, 3, 4])
def test_too_few_trials_claim_no_difference_of_any_size(trials: int) -> None:
    comparison = compared(slower=3, trials=trials)
    assert verdicts(comparison) == {"too few trials"}
    assert {(row.note, row.p) for row in comparison.rows} == {("5 per side are needed", None)}
    assert (comparison.tested, comparison.needed) == (0, 5)


@pytest.mark.usefixtures("without_intervals")
@pytest.mark.parametrize(("cells", "needed"), [(1, 5), (2, 6), (6, 7), (12, 7)])
def test_the_stated_number_of_trials_is_enough_and_fewer_are_not(cells: int, needed: int) -> None:
    for trials in range(1, needed):
        few = compared(slower=2, cells=cells, trials=trials)
        assert verdicts(few) == {"too few trials"}
        assert few.needed == needed
    enough = compared(slower=2, cells=cells, trials=needed)
    assert verdicts(enough) == {"slower"}
    assert (enough.tested, enough.needed) == (4 * cells, needed)


def test_cell_with_too_few_trials_does_not_affect_the_others() -> None:
    rng = random.Random(1)
    short = [trial(n, scenario="short") for n in range(4)]
    a = run(simulated(rng, cells=3) + short)
    b = run(simulated(rng, cells=3, slower=1.5) + short, "B")
    comparison = compare(a, b)
    expected = {row.cell.split(".")[0]: (row.verdict, row.note) for row in comparison.rows}
    assert expected.pop("short") == ("too few trials", "6 per side are needed")
    assert set(expected.values()) == {("slower", "")}
    assert comparison.tested == 12
    assert "over the 12 rows tested; 4 had too few trials" in text(comparison)


def test_needed_trials_count_invalid_rows_but_not_missing_ones() -> None:
    """Four rows need 5 trials per side, eight need 6."""
    one = [trial(1), trial(1, scenario="x", valid="false")]
    assert compare(run(one), run(one, "B")).needed == 6
    assert compare(run(one), run(one[:1], "B")).needed == 5
    none = trial(1, rps=0)
    assert compare(run([none]), run([none], "B")).needed == 5


def test_cell_of_one_side_is_missing() -> None:
    a = run([trial(n, scenario=s) for n in range(5) for s in ("both", "only-a")])
    b = run([trial(n, scenario=s) for n in range(5) for s in ("both", "only-b")], "B")
    rows = compare(a, b).rows
    assert [(row.cell.split(".")[0], row.note) for row in rows if row.verdict == "MISSING"] == [
        ("only-a", "not in B, run B"),
        ("only-b", "not in A, run A"),
    ]


@pytest.mark.parametrize("failed", [("A",), ("B",), ("A", "B")])
def test_a_cell_that_failed_a_check_is_not_compared(failed: Sequence[str]) -> None:
    rng = random.Random(1)
    a, b = run(simulated(rng, cells=2)), run(simulated(rng, cells=2, slower=0.5), "B")
    wrong, right = dict.fromkeys(comparable_name(row.cell) for row in a.rows)
    comparison = compare(a, b, wrong={run_id: {wrong} for run_id in failed})
    (row,) = [row for row in comparison.rows if row.cell == wrong]
    assert (row.metric, row.verdict) == ("all", "invalid")
    assert row.note == f"{' and '.join(failed)} failed a check: its speed does not count"
    assert {row.verdict for row in comparison.rows if row.cell == right} == {"faster"}


def test_trials_of_different_length_are_not_the_same_measurement() -> None:
    quick, full = (run([closed(n, wanted_seconds=s) for n in range(5)], name) for name, s in (("A", 1.0), ("B", 4.0)))
    rows = compare(quick, full).rows
    assert [(row.cell.rsplit(".", 1)[1], row.verdict, row.new) for row in rows] == [
        ("s1", "MISSING", False),
        ("s4", "MISSING", True),
    ]


def test_percentile_that_one_side_does_not_have_is_missing() -> None:
    a, b = run([trial(n) for n in range(5)]), run([trial(n, p99_ms="") for n in range(5)], "B")
    (row,) = (row for row in compare(a, b).rows if row.metric == "p99_ms")
    assert (row.verdict, row.n_a, row.n_b, row.note) == ("MISSING", 5, 0, "no trial of B has the figure")
    both = compare(b, b)
    assert "p99_ms" not in {row.metric for row in both.rows}


def test_invalid_trials_are_left_out_and_counted() -> None:
    a = run([trial(n) for n in range(5)])
    b = run([trial(n) for n in range(5)] + [trial(9, valid="false", rps=1.0)], "B")
    comparison = compare(a, b)
    assert (verdicts(comparison), comparison.rows[0].n_b) == ({"~"}, 5)
    assert "B (B): 1 of 6 trials are invalid and left out" in comparison.warnings


@pytest.mark.parametrize("valid", ["false", False])
def test_cell_without_a_valid_trial_is_invalid(valid: object) -> None:
    a, b = run([trial(n) for n in range(5)]), run([trial(n, valid=valid) for n in range(5)], "B")
    (row,) = compare(a, b).rows
    assert (row.verdict, row.metric, row.note) == ("invalid", "all", "no valid trial in B")


def test_trials_with_doubtful_times_are_left_out_and_counted() -> None:
    """In a scenario whose criteria are about counts, such a trial stays valid and has the reason."""
    a = run([trial(n) for n in range(5)])
    b = run([trial(n, reason="") for n in range(5)] + [trial(9, reason="the generator was held up", rps=1.0)], "B")
    comparison = compare(a, b)
    assert (verdicts(comparison), {row.n_b for row in comparison.rows}) == ({"~"}, {5})
    assert "B (B): 1 of 6 trials are left out: their times are doubtful" in comparison.warnings
    (row,) = compare(a, run([trial(n, reason="held up") for n in range(5)], "B")).rows
    assert (row.verdict, row.note) == ("invalid", "no valid trial in B")
