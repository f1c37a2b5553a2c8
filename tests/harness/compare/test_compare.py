"""Comparisons of simulated runs: which differences are claimed, and which comparisons are rejected."""

from __future__ import annotations

import copy
import math
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.stats import Interval
from harness.compare import compare as module
from harness.compare.cells import RunData, comparable_name
from harness.compare.compare import Comparison, compare
from harness.compare.rows import METRICS, Row
from harness.compare.table import HEAD, figure, text, texts
from harness.errors import FormatError, InvalidMeasurement, UsageError
from harness.record import TrialResult
from harness.store.csv_rows import from_columns

MANIFEST: dict[str, Any] = {
    "format": 1,
    "status": "finished",
    "verdict": "pass",
    "code": {"commit": "abc123"},
    "rig": {"provider": "podman", "hosts": [{"name": "db", "role": "db", "cpus": 2, "kernel": "6.1.0"}]},
    "settings": {"postgres": {}},
}
LEVEL = {"rps": 3000.0, "p50_ms": 5.0, "p95_ms": 9.0, "p99_ms": 14.0}


def read(columns: Mapping[str, Any]) -> TrialResult:
    """Returns the row of trials.csv with these columns, as the store reads it."""
    return from_columns(Path("trials.csv"), 2, {name: as_written(value) for name, value in columns.items()})


def as_written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    return str(value)


def run(
    trials: Sequence[Mapping[str, Any]], run_id: str = "A", *, floor: float | None = 1.04, **changes: Any
) -> RunData:
    """Returns a run whose rig has this noise floor for each of its cells; None: none was measured."""
    rows = [read(each) for each in trials]
    measured = {} if floor is None else floors({comparable_name(row.cell) for row in rows}, floor)
    return RunData(run_id=run_id, manifest=copy.deepcopy(MANIFEST) | {"noise_floor": measured} | changes, rows=rows)


def floors(cells: Iterable[str], floor: float) -> dict[str, float]:
    """Returns what `bench --aa 5` stores for the cells."""
    return {f"{metric} {cell}": floor for cell in cells for metric in METRICS} | {f"runs {cell}": 5.0 for cell in cells}


def trial(number: int, *, scenario: str = "throughput", **figures: Any) -> dict[str, Any]:
    """Returns a trial in which each client sends one request: its rate and its latencies are compared."""
    cell = {"scenario": scenario, "backend": "postgres", "strategy": "upsert", "hosts": 4, "pool": 5}
    load = {"mode": "closed", "clients": 64, "rate": "", "requests": 64, "wanted_seconds": "", "params": "{}"}
    columns = {"order": 1, "trial": number, "seed": 1, "steady": "", "valid": "true", "reason": ""}
    return cell | load | columns | LEVEL | figures


def closed(number: int, **figures: Any) -> dict[str, Any]:
    """Returns a trial of a closed loop, whose latencies omit stalls."""
    return trial(number, **{"requests": ""} | figures)


def offered(number: int, rate: float = 2000.0, **figures: Any) -> dict[str, Any]:
    """Returns a trial of an open load at a rate that is a share of a closed cell's."""
    load = {"mode": "open", "rate": rate, "requests": "", "wanted_seconds": 1.0, "params": '{"rate_share": 0.7}'}
    return trial(number, **load | figures)


def simulated(
    rng: random.Random, *, trials: int = 8, noise: float = 0.03, slower: float = 1.0, cells: int = 1
) -> list[dict[str, Any]]:
    """Returns trials whose figures have independent noise; `slower` divides rates and multiplies latencies."""
    effect = {"rps": 1 / slower, "p50_ms": slower, "p95_ms": slower, "p99_ms": slower}
    return [
        trial(
            number,
            scenario=f"cell-{cell}",
            **{name: level * effect[name] * math.exp(rng.gauss(0, noise)) for name, level in LEVEL.items()},
        )
        for cell in range(cells)
        for number in range(trials)
    ]


def compared(seed: int = 1, *, slower: float = 1.0, trials: int = 8, cells: int = 1, **changes: Any) -> Comparison:
    rng = random.Random(seed)
    a = run(simulated(rng, trials=trials, cells=cells), **changes)
    b = run(simulated(rng, trials=trials, cells=cells, slower=slower), "B", **changes)
    return compare(a, b)


def verdicts(comparison: Comparison) -> set[str]:
    return {row.verdict for row in comparison.rows}


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


def test_footer_of_a_comparison_without_tests() -> None:
    assert "p: no row was tested; with --repeat 5 on both sides each row is." in text(compared(trials=1))
    assert "p: no row was tested." in text(compare(run([trial(1)]), run([trial(1, valid="false")], "B")))


def test_cell_of_one_side_is_missing() -> None:
    a = run([trial(n, scenario=s) for n in range(5) for s in ("both", "only-a")])
    b = run([trial(n, scenario=s) for n in range(5) for s in ("both", "only-b")], "B")
    rows = compare(a, b).rows
    assert [(row.cell.split(".")[0], row.note) for row in rows if row.verdict == "MISSING"] == [
        ("only-a", "not in B, run B"),
        ("only-b", "not in A, run A"),
    ]


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


def test_a_cell_without_a_steady_trial_is_not_compared() -> None:
    steady = run([trial(n, steady="true") for n in range(5)])
    unsteady = run([trial(n, steady="false", rps=1.0) for n in range(5)], "B")
    (row,) = compare(steady, unsteady).rows
    assert (row.verdict, row.note) == ("invalid", "no trial in a steady state in B")
    (row,) = compare(unsteady, unsteady).rows
    assert row.note == "no trial in a steady state in A and B"
    some = run([trial(n, steady="true" if n == 3 else "false") for n in range(5)], "B")
    assert {row.n_b for row in compare(steady, some).rows} == {5}


def test_trials_that_began_unsteady_are_counted() -> None:
    a = run([trial(n, steady="true") for n in range(5)])
    b = run([trial(n, steady="false") for n in range(2)] + [trial(n, steady=s) for n, s in ((3, ""), (4, "true"))], "B")
    expected = [one for one in compare(a, b).warnings if "steady" in one]
    assert expected == ["B (B): 2 of 4 trials were not in a steady state"]


def test_rate_of_zero_in_b_is_slower_by_100_percent() -> None:
    a, b = run([trial(n) for n in range(5)]), run([trial(n, rps=0) for n in range(5)], "B")
    row = compare(a, b).rows[0]
    assert (row.verdict, row.median_b, row.change) == ("slower", 0, 1)
    assert texts(row)[-1] == "slower by 100.0%"
    back = compare(b, a).rows[0]
    assert (back.verdict, back.median_a, back.note) == ("invalid", 0, "a figure of 0 in A has no ratio")


def test_latency_of_zero_has_no_ratio() -> None:
    a, b = run([trial(n) for n in range(5)]), run([trial(n, p50_ms=0) for n in range(5)], "B")
    (row,) = (row for row in compare(a, b).rows if row.metric == "p50_ms")
    assert (row.verdict, row.note) == ("invalid", "a figure of 0 in B has no ratio")


def rejecting(share: float, run_id: str, **figures: float) -> RunData:
    """Returns a run in which `share` of 10,000 requests per trial is not acknowledged."""
    return run([trial(n, sent=10_000, ok=round(10_000 * (1 - share)), **figures) for n in range(5)], run_id)


QUICK = {"p50_ms": 2.5, "p99_ms": 7.0, "rps": 4000.0}


@pytest.mark.parametrize(
    ("share_a", "share_b", "verdicts_of_b"),
    [
        (0.0, 0.0, ["faster", "faster", "~", "faster"]),
        (0.03, 0.03, ["faster", "faster", "~", "faster"]),
        (0.0, 0.0005, ["faster", "faster", "~", "faster"]),
        (0.0, 0.03, ["faster", "invalid", "invalid", "invalid"]),
        (0.03, 0.0, ["faster", "faster", "~", "faster"]),
    ],
)
def test_no_latency_is_faster_where_more_was_rejected(share_a: float, share_b: float, verdicts_of_b: list[str]) -> None:
    comparison = compare(rejecting(share_a, "A"), rejecting(share_b, "B", **QUICK))
    assert [row.verdict for row in comparison.rows] == verdicts_of_b
    expected = f"A acknowledged {1 - share_a:.2%} of its requests, B {1 - share_b:.2%}"
    assert {row.note for row in comparison.rows if row.verdict == "invalid"} <= {expected}
    unlike = abs(share_a - share_b) > 0.001
    assert (f"throughput.postgres.upsert.h4.p5.c64.n64: {expected}" in comparison.warnings) == unlike


def test_latency_is_slower_only_if_the_other_side_did_not_reject_more() -> None:
    worse = compare(rejecting(0.0, "A", **QUICK), rejecting(0.03, "B"))
    assert [row.verdict for row in worse.rows] == ["slower", "slower", "invalid", "slower"]
    better = compare(rejecting(0.03, "A", **QUICK), rejecting(0.0, "B"))
    assert [row.verdict for row in better.rows] == ["slower", "invalid", "~", "invalid"]


def test_share_within_the_range_of_the_other_side_is_no_difference() -> None:
    some = [trial(n, sent=10_000, ok=100 * ok) for n, ok in enumerate((60, 50, 55, 62, 58))]
    others = [trial(n, sent=10_000, ok=100 * ok, **QUICK) for n, ok in enumerate((52, 54, 61, 50, 51))]
    assert compare(run(some), run(others, "B")).rows[3].verdict == "faster"


@pytest.mark.parametrize(("trials", "shown"), [(1, "-"), (4, "-"), (5, "1.000 … 1.000")])
def test_interval_is_shown_if_there_are_enough_trials(trials: int, shown: str) -> None:
    same = run([trial(n) for n in range(trials)])
    assert {texts(row)[4] for row in compare(same, same).rows} == {shown}
    assert {texts(row)[3] for row in compare(same, same).rows} == {"1.000"}


@pytest.mark.parametrize("figure", ["abc", math.nan, math.inf, "nan", "-inf", True, [3], "1e400", 10**400, "=1+1"])
def test_figure_that_is_not_a_finite_number_is_not_read(figure: object) -> None:
    with pytest.raises(FormatError, match=r"trials\.csv:2: "):
        run([trial(1, p95_ms=figure)])


@pytest.mark.parametrize("figure", [-1, 1e15, 1e300])
def test_impossible_figure_stops_the_comparison(figure: float) -> None:
    good, bad = run([trial(1)]), run([trial(1, p95_ms=figure)], "B")
    with pytest.raises(FormatError, match=r"run B, throughput\.postgres\.upsert\.h4\.p5\.c64\.n64: p95_ms is "):
        compare(good, bad)


def test_impossible_noise_floor_stops_the_comparison() -> None:
    with pytest.raises(FormatError, match="noise_floor: rps is nan"):
        compare(run([trial(1)], noise_floor={"rps": math.nan}), run([trial(1)], floor=None))


def test_figures_may_be_text() -> None:
    a, b = run([trial(n) for n in range(5)]), run([trial(n, rps="2000.5", p50_ms="5") for n in range(5)], "B")
    assert compare(a, b).rows[0].median_b == 2000.5


def test_run_without_trials_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="run B has no trials"):
        compare(run([trial(1)]), run([], "B"))


def test_different_formats_are_rejected() -> None:
    with pytest.raises(FormatError, match="run A has format 1, run B has format 2"):
        compare(run([trial(1)]), run([trial(1)], "B", format=2), anyway=True)


def test_different_environments_are_rejected_with_a_list() -> None:
    other = copy.deepcopy(MANIFEST)
    other["rig"]["provider"] = "vm"
    other["settings"]["postgres"]["fsync"] = "off"
    a, b = run([trial(n) for n in range(5)]), run([trial(n) for n in range(5)], "B", **other)
    with pytest.raises(InvalidMeasurement) as refused:
        compare(a, b)
    assert refused.value.exit_code == 4
    assert "rig.provider: podman against vm; settings.postgres.fsync: on against off" in refused.value.message
    assert "--anyway" in refused.value.hint
    forced = compare(a, b, anyway=True)
    assert forced.anyway
    assert "this proves nothing" in text(forced)
    assert not compare(a, a, anyway=True).anyway, "it is recorded only where it was needed"


def test_another_commit_is_shown_and_allowed() -> None:
    comparison = compare(run([trial(1)]), run([trial(1)], "B", code={"commit": "def456"}))
    assert [str(one) for one in comparison.differences] == ["code.commit: abc123 against def456"]


def test_faults_of_a_run_are_warnings() -> None:
    findings = [{"cell": "throughput", "verdict": "fail"}, {"cell": "fine", "verdict": "pass"}]
    b = run([trial(1)], "B", status="aborted", verdict="fail", findings=findings, rig={})
    warnings = compare(run([trial(1)], rig={}), b).warnings
    assert "B (B) is aborted: only its finished trials are compared" in warnings
    assert "B (B) has the verdict fail in throughput: its speed does not count" in warnings
    assert any("their environments could not be compared" in one for one in warnings)


def test_machines_that_were_not_equally_fast_are_named() -> None:
    a, b = (run([trial(1)], name, canaries={"before": {"db": {"cpu_ms": ms}}}) for name, ms in (("A", 10), ("B", 13)))
    assert any(one.startswith("canary db cpu_ms: 10 in A, 13 in B") for one in compare(a, b).warnings)
    assert not any("canary" in one for one in compare(a, a).warnings)


def test_text_shows_every_row_and_reason() -> None:
    a = run([trial(n) for n in range(5)])
    b = run([trial(n, rps=2000.0, p50_ms=5.1) for n in range(5)] + [trial(1, scenario="new")], "B")
    shown = text(compare(a, b))
    (line,) = (line for line in shown.splitlines() if line.lstrip().startswith("rps "))
    assert line.split() == [
        "rps",
        "3,000",
        "2,000",
        "0.667",
        "0.667",
        "…",
        "0.667",
        "0.032",
        "5",
        "/",
        "5",
        "slower",
        "by",
        "33.3%",
    ]
    assert "~ (within the noise floor of 4.0%)" in shown
    assert "MISSING (not in A, run A)" in shown
    assert "Noise floor, at most: rps 4.0%" in shown
    assert "Holm-corrected over the 4 rows tested." in shown


def test_control_characters_of_a_file_do_not_reach_the_terminal() -> None:
    hostile = run([trial(1, scenario="\x1b[2Jgone\n")], "run\x07")
    shown = text(compare(hostile, hostile))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "?[2Jgone?" in shown


def test_row_has_a_text_for_each_head() -> None:
    for row in compared(cells=2).rows:
        assert len(texts(row)) == len(HEAD)
    assert texts(Row(cell="c", metric="all", n_a=0, n_b=1, verdict="MISSING"))[1] == "-"


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.123456, "0.1235"), (999.94, "999.9"), (12345.6, "12,346")]
)
def test_figures_have_four_digits(value: float | None, shown: str) -> None:
    assert figure(value) == shown


def sides(rng: random.Random, number: int = 3, *, between: float = 0.0, slower: float = 1.0) -> list[list[RunData]]:
    """Returns runs of A and of B, each run with its own speed; B is slower."""
    return [
        [
            run(simulated(rng, slower=factor * math.exp(rng.gauss(0, between))), f"{name}{n}", floor=None)
            for n in range(1, number + 1)
        ]
        for name, factor in (("A", 1.0), ("B", slower))
    ]


def test_of_several_runs_a_side_each_is_one_observation() -> None:
    a, b = sides(random.Random(1), slower=1.3)
    comparison = compare(a, b)
    assert (comparison.run_a, comparison.run_b, comparison.runs) == ("A1,A2,A3", "B1,B2,B3", (3, 3))
    assert {(row.verdict, row.n_a, row.n_b) for row in comparison.rows} == {("slower", 3, 3)}
    rps = comparison.rows[0]
    medians = [[statistics.median(row.figure("rps") or 0 for row in one.rows) for one in side] for side in (a, b)]
    assert rps.ratio is not None
    assert rps.ratio.value == pytest.approx(
        statistics.geometric_mean(medians[1]) / statistics.geometric_mean(medians[0])
    )
    assert rps.median_b == pytest.approx(statistics.geometric_mean(medians[1]))
    assert "Student's t over the medians of the runs, Holm-corrected over the 4 rows tested" in text(comparison)
    assert comparison.warnings == ()


@pytest.mark.parametrize("number", [2, 3])
def test_the_interval_of_few_runs_a_side_is_shown_because_it_decides(number: int) -> None:
    a, b = sides(random.Random(1), number, between=0.05)
    for row in compare(a, b).rows:
        assert row.ratio is not None
        assert texts(row)[4] == f"{row.ratio.low:.3f} … {row.ratio.high:.3f}"


def test_runs_that_differ_by_themselves_are_not_called_different() -> None:
    """By the trials alone, most of these comparisons would claim something."""
    called = sum(
        bool(verdicts(compare(*sides(random.Random(seed), between=0.05))) & {"faster", "slower"}) for seed in range(60)
    )
    assert called <= 4


def test_small_difference_of_very_even_runs_is_not_claimed() -> None:
    a = [run([trial(n) for n in range(5)], f"A{i}") for i in range(3)]
    b = [run([trial(n, rps=2960.0) for n in range(5)], f"B{i}") for i in range(3)]
    row = compare(a, b).rows[0]
    assert (row.verdict, row.note) == ("~", "within the noise floor of 2.0%")


def test_cell_that_too_few_runs_have_is_not_judged() -> None:
    (a1, a2), (b1, b2) = sides(random.Random(1), 2)
    odd = [trial(n, scenario="odd") for n in range(5)]
    more = [
        run([*one, *odd], name)
        for one, name in ((simulated(random.Random(2)), "A3"), (simulated(random.Random(3)), "B3"))
    ]
    rows = compare([a1, a2, more[0]], [b1, b2, more[1]]).rows
    few = {(row.verdict, row.note) for row in rows if row.cell.startswith("odd")}
    assert few == {("too few runs", "2 a side are needed")}


def test_a_single_run_against_several_is_not_judged() -> None:
    """It may be the outlier that the spread of the others does not contain."""
    a, (b, *_) = sides(random.Random(1), 5, slower=1.3)
    assert verdicts(compare(a, [b])) == verdicts(compare([b], a)) == {"too few runs"}


def test_run_that_is_named_twice_is_a_usage_error() -> None:
    (a1, a2), (b1, _) = sides(random.Random(1), 2)
    for a, b in (([a1, a1], [b1]), ([a1, a2], [a2, b1])):
        with pytest.raises(UsageError, match="is named twice"):
            compare(a, b)


def test_all_runs_must_have_one_environment() -> None:
    (a1, a2), (b1, b2) = sides(random.Random(1), 2)
    settings = {"postgres": {"fsync": "off"}}
    other = RunData(run_id="A2", manifest={**a2.manifest, "settings": settings}, rows=a2.rows)
    with pytest.raises(InvalidMeasurement, match=r"runs A1,A2 and B1,B2 .*fsync: on against off"):
        compare([a1, other], [b1, b2])
    assert len(compare([a1, other], [b1, b2], anyway=True).differences) == 1


def canaries(before: float, after: float) -> dict[str, Any]:
    return {"before": {"db": {"cpu_ms": before}}, "after": {"db": {"cpu_ms": after}}}


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        (canaries(10, 10), canaries(12, 12), "canary db cpu_ms: 10 in A, 12 in B: the machines were not equally fast"),
        (canaries(10, 10), canaries(10, 12), "B (B): hosts changed during the trials: CPU canary db 10 ms, then 12 ms"),
        (canaries(12, 10), canaries(11, 11), "A (A): hosts changed during the trials: CPU canary db 12 ms, then 10 ms"),
    ],
)
def test_no_row_is_called_slower_where_the_machines_were_not_equally_fast(
    a: dict[str, Any], b: dict[str, Any], sentence: str
) -> None:
    slow = [trial(n, rps=2000.0, p50_ms=5.01) for n in range(5)]
    comparison = compare(run([trial(n) for n in range(5)], canaries=a), run(slow, "B", canaries=b))
    assert comparison.moved == (sentence,)
    assert sentence in comparison.warnings
    found = {row.metric: (row.verdict, row.note) for row in comparison.rows}
    assert found["rps"] == ("invalid", "the machines were not equally fast, see the canaries below")
    assert found["p95_ms"] == ("~", "")
    calm = compare(
        run([trial(n) for n in range(5)], canaries=canaries(10, 10)), run(slow, "B", canaries=canaries(11, 11))
    )
    assert (calm.moved, calm.rows[0].verdict) == ((), "slower")


SLOW = {"p50_ms": 50.0, "p95_ms": 90.0, "p99_ms": 140.0}


def test_latencies_of_a_closed_loop_are_shown_and_not_compared() -> None:
    """A service that stalls and one that does not can have the same closed percentiles."""
    a, b = run([closed(n) for n in range(4)]), run([closed(n, **SLOW) for n in range(4)], "B")
    comparison = compare(a, b)
    rate, *latencies = comparison.rows
    assert (rate.metric, rate.verdict) == ("rps", "~")
    assert {(row.verdict, row.note) for row in latencies} == {("shown", "closed loop: omits stalls")}
    assert [(row.metric, row.median_a, row.median_b) for row in latencies] == [
        ("p50_ms", 5.0, 50.0), ("p95_ms", 9.0, 90.0), ("p99_ms", 14.0, 140.0),
    ]  # fmt: skip
    assert {(row.ratio, row.p) for row in latencies} == {(None, None)}
    assert (comparison.tested, comparison.needed) == (1, 4), "they do not count in the correction"
    (about,) = comparison.warnings
    assert "(coordinated omission): they are shown, not compared; --rate R measures an open load" in about
    assert "shown (closed loop: omits stalls)" in text(comparison)
    burst = compare(run([trial(n) for n in range(5)]), run([trial(n, **SLOW) for n in range(5)], "B"))
    assert [row.verdict for row in burst.rows] == ["~", "slower", "slower", "slower"], "one request a client"
    assert burst.warnings == ()


def test_of_several_runs_latencies_of_a_closed_loop_are_only_shown_too() -> None:
    a, b = ([run([closed(n, **figures) for n in range(3)], f"{side}{i}") for i in range(3)]
            for side, figures in (("A", {}), ("B", SLOW | {"rps": 2000.0})))  # fmt: skip
    assert [row.verdict for row in compare(a, b).rows] == ["slower", "shown", "shown", "shown"]


def test_a_percentile_that_one_side_of_a_closed_loop_lacks_is_shown() -> None:
    a, b = run([closed(n) for n in range(5)]), run([closed(n, p99_ms="") for n in range(5)], "B")
    (row,) = (row for row in compare(a, b).rows if row.metric == "p99_ms")
    assert (row.verdict, row.median_a, row.median_b) == ("shown", 14.0, None)
    assert texts(row)[1:4] == ("14.00", "-", "-")


def test_an_open_load_is_compared_by_its_latencies_alone() -> None:
    fixed = {"mode": "open", "rate": 2000.0, "requests": ""}
    a, b = run([trial(n, **fixed) for n in range(5)]), run([trial(n, **fixed, **SLOW, rps=1.0) for n in range(5)], "B")
    comparison = compare(a, b)
    assert {row.metric: row.verdict for row in comparison.rows} == dict.fromkeys(SLOW, "slower")
    assert comparison.warnings == ()


def test_a_cell_without_valid_trials_counts_with_what_could_be_claimed_of_it() -> None:
    both = [closed(1), closed(1, scenario="x", valid="false")]
    assert compare(run(both), run(both, "B")).needed == 5, "two rates"
    both = [offered(1), offered(1, scenario="x", valid="false")]
    assert compare(run(both), run(both, "B")).needed == 5, "six latencies; eight rows would need 6"


@pytest.mark.parametrize(
    ("rate_b", "slower", "faster", "equal"),
    [
        (2000.0, "slower", "faster", "~"),
        (2010.0, "slower", "faster", "~"),
        (1800.0, "slower", "invalid", "invalid"),
        (2200.0, "invalid", "faster", "~"),
    ],
)
def test_a_latency_that_favours_the_side_with_less_load_is_no_result(
    rate_b: float, slower: str, faster: str, equal: str
) -> None:
    """At 70 % of its own lower rate a slower service waits less."""
    a = run([offered(n, 2000.0 + n) for n in range(5)])
    for factor, verdict in ((2.0, slower), (0.5, faster), (1.0, equal)):
        figures = {name: level * factor for name, level in LEVEL.items()}
        comparison = compare(a, run([offered(n, rate_b + n, **figures) for n in range(5)], "B"))
        assert {(row.metric, row.verdict) for row in comparison.rows} == {(name, verdict) for name in SLOW}
        uneven = f"A was offered 2,002 requests/s, B {rate_b + 2:,.0f}: --rate R offers both the same"
        assert {row.note for row in comparison.rows if row.verdict == "invalid"} <= {uneven}
        assert any(uneven in one for one in comparison.warnings) == (abs(rate_b - 2000) > 100)
