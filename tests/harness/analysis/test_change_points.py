"""Change points of series whose answer is known: from Apache Otava, and by construction."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from harness.analysis.change_points import MAX_P, WINDOW, change_points, most_different

STEP = [97.67, 97.73, 101.35, 95.52, 99.71, 95.59, 102.23, 100.41, 123.3, 118.8, 120.96, 119.32, 118.24, 120.35, 117.02]
TWO = [
    99.29, 101.4, 100.12, 99.18, 104.48, 100.12, 79.07, 80.26, 79.17, 79.39, 79.44, 83.31,
    130.06, 130.46, 131.76, 135.35, 129.42, 128.39,
]  # fmt: skip
FLAT = [113.17, 92.96, 98.18, 103.39, 112.1, 95.36, 88.57, 103.36, 97.43, 98.08, 102.33, 101.12, 101.47, 97.87, 106.66]


@pytest.mark.parametrize(("series", "expected"), [(STEP, [8]), (TWO, [6, 12]), (FLAT, [])])
def test_change_points_are_those_of_apache_otava(series: list[float], expected: list[int]) -> None:
    """Expected: `otava.analysis.compute_change_points` of version 0.8.0, of the logarithms."""
    assert [point.index for point in change_points(series)] == expected


@pytest.mark.parametrize(("series", "place", "distance"), [(STEP, 8, 1.243957), (TWO, 12, 2.387343)])
def test_the_energy_distance_is_that_of_apache_otava(series: list[float], place: int, distance: float) -> None:
    """Expected: `PairDistanceCalculator.get_candidate_change_point` of version 0.8.0."""
    found = most_different([math.log(value) for value in series])
    assert found is not None
    assert found[1] == place
    assert found[0] == pytest.approx(distance, abs=1e-6)


def test_the_ratio_of_a_change_is_that_of_the_parts_beside_it() -> None:
    first, second = change_points(TWO)
    assert first.ratio.value == pytest.approx(80 / 100, rel=0.03)
    assert second.ratio.value == pytest.approx(130 / 80, rel=0.03)
    assert first.ratio.low < first.ratio.value < first.ratio.high < 1
    assert max(first.p, second.p) < MAX_P


def test_one_outlier_is_no_change_wherever_it_is() -> None:
    for place in range(12):
        series = [100 + 0.1 * (n % 3) for n in range(12)]
        series[place] = 200
        assert change_points(series) == [], place


@pytest.mark.parametrize("length", range(4))
def test_a_series_of_fewer_than_four_runs_has_none(length: int) -> None:
    assert change_points([100.0, 500.0, 20.0][:length]) == []


def test_two_clear_levels_of_two_runs_are_a_change_and_two_near_ones_are_not() -> None:
    assert [point.index for point in change_points([100.0, 100.5, 200.0, 201.0])] == [2]
    assert change_points([100.0, 110.0, 130.0, 145.0]) == []


def test_a_short_change_in_a_long_series_is_found() -> None:
    rng = random.Random(1)
    level = [100.0] * 100 + [130.0] * 8 + [100.0] * 100
    assert len(level) > 2 * WINDOW
    found = [point.index for point in change_points([value * math.exp(rng.gauss(0, 0.02)) for value in level])]
    assert found == [100, 108]


def heavy(rng: random.Random) -> float:
    """Student's t with 2 degrees of freedom."""
    return rng.gauss(0, 1) / math.sqrt(rng.gammavariate(1, 1))


@pytest.mark.parametrize("draw", [lambda rng: rng.gauss(0, 1), heavy], ids=["normal", "heavy tails"])
@pytest.mark.parametrize(("length", "series"), [(6, 400), (12, 400), (30, 100)])
def test_of_series_without_a_change_at_most_5_percent_have_one(
    draw: Callable[[random.Random], float], length: int, series: int
) -> None:
    rng = random.Random(length)
    called = sum(bool(change_points([math.exp(0.05 * draw(rng)) for _ in range(length)])) for _ in range(series))
    assert called <= 0.05 * series


def test_a_change_of_20_percent_is_found_in_most_series() -> None:
    found = 0
    for seed in range(50):
        rng = random.Random(seed)
        series = [level * math.exp(rng.gauss(0, 0.03)) for level in [100.0] * 6 + [120.0] * 6]
        found += [point.index for point in change_points(series)] == [6]
    assert found >= 45


@pytest.mark.parametrize("figure", [0.0, -1.0, math.nan, math.inf])
def test_a_figure_without_a_logarithm_is_refused(figure: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        change_points([1.0, figure])
