"""The noise floor of simulated rigs, and the cells that have none."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.run_spread import HEAVY_TAILED, prediction_factor
from harness.analysis.stats import fold
from harness.compare import noise_floor_file
from harness.compare.cells import RunData, comparable_name
from harness.compare.compare import compare
from harness.compare.noise_floor import (
    ASSUMED_FLOOR,
    LARGEST_LOG,
    LEAST_FLOOR,
    KnownFloors,
    figures_of,
    measured_floor,
    trials_of,
    with_largest,
)
from harness.compare.rows import METRICS as COMPARED
from harness.errors import FormatError, RigError
from harness.model import Cell, Trial
from harness.plan.options import AA_RUNS
from harness.record import TrialResult
from harness.rig import state

METRICS = ("rps", "p50_ms")


def trial(number: int, *, scenario: str = "throughput", valid: bool = True, **figures: float | None) -> TrialResult:
    cell = Cell(scenario=scenario, backend="postgres", strategy="upsert", hosts=4, pool=5, clients=64, requests=64)
    return TrialResult(
        trial=Trial(cell=cell, number=number, order=number, seed=1),
        validity="valid" if valid else "broken",
        figures={"rps": 3000.0, "p50_ms": 5.0} | figures,
    )


X, Y, Z = (comparable_name(trial(1, scenario=name).cell) for name in "xyz")


def runs(*trials_of_runs: Sequence[TrialResult]) -> list[RunData]:
    return [RunData(run_id=f"{n}", manifest={}, rows=rows) for n, rows in enumerate(trials_of_runs, start=1)]


def levels(*rates: float, scenario: str = "x", **figures: float | None) -> list[list[TrialResult]]:
    """Returns runs without noise within; one rate each."""
    return [[trial(n, scenario=scenario, **({"rps": rate} | figures)) for n in range(1, 4)] for rate in rates]


def both(one: Iterable[list[TrialResult]], other: Iterable[list[TrialResult]]) -> list[list[TrialResult]]:
    return [[*a, *b] for a, b in zip(one, other, strict=True)]


def measured(trials_of_runs: Sequence[Sequence[TrialResult]], **more: Any) -> tuple[dict[str, float], list[str]]:
    return measured_floor(runs(*trials_of_runs), METRICS, **more)


def test_the_floor_is_the_prediction_interval_of_two_more_runs() -> None:
    rates = [3000.0, 3030.0, 2970.0, 3060.0, 2940.0]
    floor, without = measured(levels(*rates, p50_ms=None))
    spread = statistics.stdev(math.log(rate) for rate in rates)
    assert floor == {
        "rps": pytest.approx(math.exp(6.44 * math.sqrt(2) * spread)),
        f"rps {X}": pytest.approx(math.exp(6.44 * math.sqrt(2) * spread)),
        f"runs {X}": 5,
        f"trials {X}": 3,
    }
    assert without == []


def test_figures_that_are_judged_together_need_more() -> None:
    rates = [3000.0, 3030.0, 2970.0, 3060.0, 2940.0]
    alone, _ = measured(levels(*rates, p50_ms=None))
    many = levels(*rates)
    for cell in range(9):
        many = both(many, levels(*rates, scenario=f"other-{cell}"))
    together, _ = measured(many)
    ratio = math.log(together[f"rps {X}"]) / math.log(alone[f"rps {X}"])
    assert ratio == pytest.approx(prediction_factor(5, 20) / HEAVY_TAILED[5])


def test_a_run_is_one_observation_however_many_trials_it_has() -> None:
    """Trials that differ within the runs, and runs that do not differ between them: no noise between runs."""
    noisy = [[trial(n, rps=3000.0 + 300 * (n - 3)) for n in range(1, 6)] for _ in range(5)]
    assert measured(noisy)[0]["rps"] == LEAST_FLOOR


def sessions(
    between: float, within: float, drift: float, *, outliers: bool = False
) -> Callable[[random.Random, float], list[TrialResult]]:
    """Returns what makes a run of 8 trials that starts after so many trials of its rig.

    `outliers`: sessions are Student's t with 2 degrees of freedom, not normal.
    """

    def run(rng: random.Random, after: float) -> list[TrialResult]:
        level = rng.gauss(0, between) / (math.sqrt(rng.expovariate(1)) if outliers else 1)
        return [
            trial(n, p50_ms=None, rps=3000 * math.exp(level + drift * (after + n) + rng.gauss(0, within)))
            for n in range(1, 9)
        ]

    return run


@pytest.mark.parametrize(
    ("between", "within", "drift", "outliers"),
    [
        (0.0, 0.01, 0.0, False),
        (0.01, 0.01, 0.0, False),
        (0.02, 0.01, 0.0, False),
        (0.03, 0.03, 0.0, False),
        (0.01, 0.01, 0.005, False),
        (0.03, 0.03, 0.0, True),
    ],
)
def test_two_further_runs_seldom_differ_by_more_than_the_floor(
    *, between: float, within: float, drift: float, outliers: bool
) -> None:
    make = sessions(between, within, drift, outliers=outliers)
    beyond, claims, count = 0, 0, 400
    for seed in range(count):
        rng = random.Random(seed)
        floor, _ = measured([make(rng, 8 * n) for n in range(5)])
        a, b = runs(make(rng, 40), make(rng, 48))
        ratio = statistics.median(r.figures["rps"] or 0 for r in b.rows) / statistics.median(
            r.figures["rps"] or 0 for r in a.rows
        )
        beyond += fold(ratio) > floor["rps"]
        if seed < 100:  # the whole comparison, which asks for more than the floor
            rows = compare(a, b, metrics={"rps": "higher"}, floors={"rig": floor}).rows
            claims += any(row.verdict in ("faster", "slower") for row in rows)
    assert beyond <= 0.05 * count + 2 * math.sqrt(0.05 * 0.95 * count)
    assert claims <= 0.05 * 100 + 2 * math.sqrt(0.05 * 0.95 * 100)


def test_halves_of_one_session_would_not_have_covered_it() -> None:
    """The control of the simulation: floors of an earlier version, below what sessions differ by, do claim."""
    make, claims = sessions(0.03, 0.01, 0.0), 0
    for seed in range(100):
        rng = random.Random(seed)
        a, b = runs(make(rng, 0), make(rng, 8))
        floor = {"rps": 1.02, f"rps {comparable_name(trial(1).cell)}": 1.02}
        claims += (
            fold(
                statistics.median(r.figures["rps"] or 0 for r in b.rows)
                / statistics.median(r.figures["rps"] or 0 for r in a.rows)
            )
            > KnownFloors(floors=[("rig", floor | {f"runs {comparable_name(trial(1).cell)}": 5})]).of(
                comparable_name(trial(1).cell), "rps"
            )[0]
        )
    assert claims > 30


def test_a_floor_names_the_fewest_trials_of_its_runs() -> None:
    made = levels(*[3000.0] * 5)
    made[2] = [*made[2][:2], trial(3, scenario="x", valid=False)]
    floor, _ = measured(made)
    assert floor[f"trials {X}"] == 2
    assert trials_of(floor) == {X: 2}
    assert set(figures_of(floor)) == {(m, c, LEAST_FLOOR) for m in METRICS for c in ("", X)}
    assert KnownFloors(floors=[("rig", floor)]).trials(X) == 2
    assert KnownFloors(floors=[("rig", floor), ("run A", floor | {f"trials {X}": 8.0})]).trials(X) == 2
    assert KnownFloors(floors=[("rig", {f"rps {X}": 1.1, f"runs {X}": 5.0})]).trials(X) == 0, "an older version's"


def test_a_comparison_of_fewer_trials_than_the_floors_runs_have_says_so() -> None:
    floor, _ = measured([[trial(n) for n in range(1, 9)] for _ in range(5)])
    cell = comparable_name(trial(1).cell)

    def warnings(trials: int, known: dict[str, float]) -> list[str]:
        a, b = runs(*([trial(n) for n in range(1, trials + 1)] for _ in range(2)))
        return [text for text in compare(a, b, floors={"rig": known}).warnings if "noise floor of" in text]

    assert warnings(5, floor) == [
        f"the noise floor of {cell} is that of runs of 8 trials, and 5 a side are compared here, whose medians differ "
        "by more: compare with --repeat 8"
    ]
    assert warnings(8, floor) == warnings(5, {**floor, f"trials {cell}": 5.0}) == []
    assert warnings(5, {key: ratio for key, ratio in floor.items() if not key.startswith("trials ")}) == []


def test_a_measured_cell_has_its_floor_and_others_the_largest_known_or_assumed() -> None:
    wide = [3000.0, 3300.0, 2700.0, 3100.0, 2900.0]
    floor, without = measured(both(levels(*wide), levels(*[3000.0] * 5, scenario="y")))
    assert without == []
    known = KnownFloors(floors=[("rig", floor)])
    assert known.of(Y, "rps") == (LEAST_FLOOR, "rig"), "below the assumed one: it was measured"
    assert known.of(X, "rps") == (floor[f"rps {X}"], "rig") == known.of("another", "rps")
    assert floor[f"rps {X}"] > ASSUMED_FLOOR
    assert known.of("another", "p50_ms") == (ASSUMED_FLOOR, ""), "the largest known, 2 %, protects no other cell"
    assert known.of(X, "p99_ms") == (ASSUMED_FLOOR, "")
    assert [known.between_runs(cell, "rps") for cell in (X, Y, "another")] == [True, True, False]
    assert not known.between_runs(X, "p99_ms")


@pytest.mark.parametrize(("stored", "ratio"), [(1.02, ASSUMED_FLOOR), (1.3, 1.3)])
def test_a_floor_of_an_earlier_version_protects_no_less_than_the_assumed_one(stored: float, ratio: float) -> None:
    old = {"rps": stored, f"rps {X}": stored}
    known = KnownFloors(floors=[("rig", old)])
    assert known.of(X, "rps")[0] == ratio
    assert not known.between_runs(X, "rps")
    new = {"rps": 1.04, f"rps {X}": 1.04, f"runs {X}": 5.0}
    both_known = KnownFloors(floors=[("run A", old), ("run B", {}), ("rig", new)])
    assert both_known.of(X, "rps") == (1.04, "rig"), "what was measured between runs replaces it"
    few = KnownFloors(floors=[("rig", new | {f"runs {X}": 4.0})])
    assert not few.between_runs(X, "rps")


def test_floor_has_a_minimum_and_a_maximum() -> None:
    assert measured(levels(3000.0, 3001.0, 3000.0, 2999.0, 3000.0))[0]["rps"] == LEAST_FLOOR
    assert measured(levels(1e-9, 1e9, 1.0, 1e9, 1e-9))[0]["rps"] == pytest.approx(math.exp(LARGEST_LOG))


def test_cells_without_a_floor_have_a_reason() -> None:
    same = [3000.0] * AA_RUNS
    few = [[trial(1, scenario="y", valid=n != 3)] for n in range(AA_RUNS)]
    once = [[trial(1, scenario="z")] if n == 0 else [] for n in range(AA_RUNS)]
    floor, without = measured(both(both(levels(*same), few), once))
    assert set(floor) == {"rps", "p50_ms", f"rps {X}", f"p50_ms {X}", f"runs {X}", f"trials {X}"}
    assert without == [
        f"{Y}: valid trials in 4 of 5 runs, 5 are needed",
        f"{Z}: valid trials in 1 of 5 runs, 5 are needed",
    ]
    wrong = measured(both(levels(*same), levels(*same, scenario="y")), wrong={X, Y})
    assert wrong == ({}, [f"{X} and 1 more: it failed a check, alone or together with other cells"])
    assert measured([[trial(n, valid=False)] for n in range(5)])[0] == {}


@pytest.mark.parametrize("figure", [None, 0.0])
def test_figure_without_a_ratio_has_no_floor(figure: float | None) -> None:
    measurements = levels(*[3000.0] * 5)
    measurements[3] = [trial(n, scenario="x", p50_ms=figure) for n in range(1, 4)]
    assert set(measured(measurements)[0]) == {"rps", f"rps {X}", f"runs {X}", f"trials {X}"}


@pytest.mark.parametrize(
    ("load", "figures"), [({"requests": None}, {"rps"}), ({"mode": "open", "rate": 9.0, "requests": None}, {"p50_ms"})]
)
def test_only_figures_that_can_be_claimed_have_a_floor(load: dict[str, Any], figures: set[str]) -> None:
    rows = [
        [replace(row, trial=replace(row.trial, cell=replace(row.trial.cell, **load))) for row in one]
        for one in levels(*[3000.0] * 5)
    ]
    floor, _ = measured(rows)
    assert {key for key in floor if " " not in key} == figures


def test_impossible_figure_is_rejected() -> None:
    with pytest.raises(FormatError, match="rps is nan"):
        measured([[trial(1, rps=math.nan)]])


def test_largest_ratio_is_computed_again_and_the_numbers_of_runs_are_no_ratio() -> None:
    floor = with_largest({"rps": 9.0, f"rps {X}": 1.2, f"rps {Y}": 1.3, f"runs {X}": 7.0})
    assert floor == {"rps": 1.3, f"rps {X}": 1.2, f"rps {Y}": 1.3, f"runs {X}": 7.0}
    assert figures_of(floor) == [("rps", "", 1.3), ("rps", X, 1.2), ("rps", Y, 1.3)]


def test_the_compared_metrics_are_not_named_like_the_number_of_runs() -> None:
    assert "runs" not in COMPARED


ODD = ("[" * 200_000, *(f'{{"rig": {{}}, "floor": {{"rps": {value}}}}}' for value in ("NaN", "1e999", '"1.1"', "true")))


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[-20:])
def test_a_floor_file_that_holds_no_numbers_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(state, "RIGS", tmp_path)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/noise_floor.json").write_text(text)
    with pytest.raises(RigError, match="damaged") as caught:
        noise_floor_file.noise_floor("odd", {})
    assert caught.value.message.isprintable()
