"""Comparisons of several runs a side: each run is one observation."""

from __future__ import annotations

import random
import statistics

import pytest

from harness.compare.cells import RunData, comparable_name
from harness.compare.compare import compare
from harness.compare.table import text, texts
from harness.errors import InvalidMeasurement, UsageError
from tests.support.comparisons import run, sides, simulated, trial, verdicts


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


def test_of_several_runs_those_in_which_the_cell_failed_a_check_do_not_count() -> None:
    side_a, side_b = sides(random.Random(1), 3, slower=1.5)
    (cell,) = {comparable_name(row.cell) for one in side_a for row in one.rows}
    some = compare(side_a, side_b, wrong={side_a[0].run_id: {cell}})
    assert {(row.n_a, row.n_b) for row in some.rows} == {(2, 3)}
    every = compare(side_a, side_b, wrong={one.run_id: {cell} for one in side_b})
    assert [(row.verdict, row.note) for row in every.rows] == [
        ("invalid", "B failed a check: its speed does not count")
    ]


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
