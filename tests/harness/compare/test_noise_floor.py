"""The noise floor of simulated rigs, and the cells that have none."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.stats import fold
from harness.compare import noise_floor_file
from harness.compare.cells import RunData, comparable_name
from harness.compare.noise_floor import HALF_TRIALS, LEAST_FLOOR, KnownFloors, measured_floor, with_largest
from harness.errors import FormatError, RigError
from harness.model import Cell, Trial
from harness.record import TrialResult
from harness.rig import state

METRICS = ("rps", "p50_ms")


def trial(number: int, *, scenario: str = "throughput", valid: bool = True, **figures: float | None) -> TrialResult:
    cell = Cell(scenario=scenario, backend="postgres", strategy="upsert", hosts=4, pool=5, clients=64)
    return TrialResult(
        trial=Trial(cell=cell, number=number, order=number, seed=1),
        validity="valid" if valid else "broken",
        figures={"rps": 3000.0, "p50_ms": 5.0} | figures,
    )


X, Y, Z = (comparable_name(trial(1, scenario=name).cell) for name in "xyz")


def measured(trials: Sequence[TrialResult], half: int = 5, **more: Any) -> tuple[dict[str, float], list[str]]:
    return measured_floor(RunData(run_id="A", manifest={}, rows=trials), METRICS, half=half, **more)


def halves(first: float, second: float, scenario: str = "x", trials: int = 5) -> list[TrialResult]:
    """Returns two measurements without noise whose rates differ."""
    rates = [first] * trials + [second] * trials
    return [trial(number, scenario=scenario, rps=rate) for number, rate in enumerate(rates, start=1)]


@pytest.mark.parametrize("drift", [0.0, 0.01])
def test_later_identical_measurements_seldom_differ_by_more_than_the_floor(drift: float) -> None:
    """The noise is 3 % between trials and `drift` between measurements."""
    beyond = 0
    for seed in range(200):
        rng = random.Random(seed)

        def once(rng: random.Random = rng) -> list[float]:
            level = 3000 * math.exp(rng.gauss(0, drift))
            return [level * math.exp(rng.gauss(0, 0.03)) for _ in range(5)]

        rates = once() + once()
        floor, _ = measured([trial(number, rps=rate, p50_ms=None) for number, rate in enumerate(rates, start=1)])
        beyond += fold(statistics.median(once()) / statistics.median(once())) > floor["rps"]
    assert beyond <= 10


def test_first_trials_and_later_trials_are_the_two_measurements() -> None:
    drifted, _ = measured(halves(3000.0, 2500.0))
    assert drifted == pytest.approx({"rps": 1.2, "p50_ms": LEAST_FLOOR, f"rps {X}": 1.2, f"p50_ms {X}": LEAST_FLOOR})
    interleaved = [trial(n, scenario="x", rps=3000.0 if n % 2 else 2500.0) for n in range(1, 13)]
    assert measured(interleaved, half=6)[0]["rps"] == pytest.approx(1.2), (
        "the far end of the interval, although the medians are alike"
    )


def test_each_cell_has_its_floor_and_the_largest_holds_for_other_cells() -> None:
    floor, without = measured(halves(3000.0, 2500.0) + halves(3000.0, 3300.0, "y"))
    assert without == []
    known = KnownFloors(floors=[("rig", floor)])
    ratios = {cell: known.of(cell, "rps") for cell in (X, Y, "another")}
    assert ratios == {
        X: (pytest.approx(1.2), "rig"),
        Y: (pytest.approx(1.1), "rig"),
        "another": (pytest.approx(1.2), "rig"),
    }
    assert known.of(X, "p99_ms") == (1.05, "")


def test_floor_has_a_minimum() -> None:
    assert measured(halves(3000.0, 3001.0))[0]["rps"] == LEAST_FLOOR
    assert KnownFloors(floors=[("run A", {"rps": 1.002})]).of(X, "rps") == (LEAST_FLOOR, "run A")


def test_cells_without_a_floor_have_a_reason() -> None:
    few = [trial(n, scenario="y", valid=n != 3) for n in range(1, 11)]
    once = [trial(1, scenario="z")]
    floor, without = measured([*halves(3000.0, 2500.0), *few, *once])
    assert set(floor) == {"rps", "p50_ms", f"rps {X}", f"p50_ms {X}"}
    need = f"{HALF_TRIALS} and {HALF_TRIALS} are needed (--repeat)"
    assert without == [f"{Y}: 4 and 5 valid trials, {need}", f"{Z}: 1 and 0 valid trials, {need}"]
    wrong = measured(halves(3000.0, 2500.0) + halves(3000.0, 2500.0, "y"), wrong={X, Y})
    assert wrong == ({}, [f"{X} and 1 more: it failed a check, alone or together with other cells"])
    assert measured([trial(n, valid=False) for n in range(1, 11)])[0] == {}


@pytest.mark.parametrize("figure", [None, 0.0])
def test_figure_without_a_ratio_has_no_floor(figure: float | None) -> None:
    trials = halves(3000.0, 2500.0)
    trials[7] = replace(trials[7], figures={**trials[7].figures, "p50_ms": figure})
    assert set(measured(trials)[0]) == {"rps", f"rps {X}"}


def test_impossible_figure_is_rejected() -> None:
    with pytest.raises(FormatError, match="rps is nan"):
        measured([trial(1, rps=math.nan)])


def test_largest_ratio_is_computed_again() -> None:
    assert with_largest({"rps": 9.0, f"rps {X}": 1.2, f"rps {Y}": 1.3}) == {
        "rps": 1.3,
        f"rps {X}": 1.2,
        f"rps {Y}": 1.3,
    }


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
