"""Student's t over the medians of runs, against SciPy; predictions of further runs, against simulated sessions."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from scipy import stats as scipy_stats

from harness.analysis.run_spread import HEAVY_TAILED, compare_runs, prediction_factor
from harness.analysis.stats import student_t


@pytest.mark.parametrize(("n_a", "n_b"), [(3, 3), (2, 3), (3, 2), (5, 9)])
def test_p_and_interval_are_those_of_students_t_on_the_logarithms(n_a: int, n_b: int) -> None:
    rng = random.Random(n_a)
    a, b = ([math.exp(rng.gauss(shift, 0.1)) for _ in range(n)] for shift, n in ((7.0, n_a), (7.1, n_b)))
    expected = scipy_stats.ttest_ind([math.log(x) for x in b], [math.log(x) for x in a])
    interval, p = compare_runs(a, b)
    assert p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert math.log(interval.low) == pytest.approx(low)
    assert math.log(interval.high) == pytest.approx(high)
    assert interval.value == pytest.approx(math.exp((low + high) / 2))


def test_equal_runs() -> None:
    assert compare_runs([5.0, 5.0], [5.0, 5.0])[1] == 1
    interval, p = compare_runs([5.0, 5.0], [6.0, 6.0])
    assert p == 0
    assert interval.low == interval.high == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [1.0]), ([], [1.0, 2.0, 3.0]), ([1.0], [1.0, 2.0, 3.0]), ([0.0, 1.0], [1.0, 1.0])]
)
def test_too_few_runs_and_zeros_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="no comparison of"):
        compare_runs(a, b)


def beyond(runs: int, factor: float, count: int = 20_000) -> float:
    """The share of pairs of further runs that differ by more; runs are Student's t with 2 degrees of freedom."""
    rng = random.Random(runs)

    def session() -> float:
        return rng.gauss(0, 1) / math.sqrt(rng.expovariate(1))

    found = 0
    for _ in range(count):
        spread = statistics.stdev([session() for _ in range(runs)])
        found += abs(session() - session()) > factor * math.sqrt(2) * spread
    return found / count


@pytest.mark.parametrize("runs", [5, 8, 20])
def test_two_further_runs_of_heavy_tailed_sessions_exceed_the_factor_in_half_of_the_allowed_cases(runs: int) -> None:
    assert beyond(runs, prediction_factor(runs, 1)) == pytest.approx(0.025, abs=0.004)


@pytest.mark.parametrize("runs", [5, 8, 20])
def test_students_t_alone_is_exceeded_too_often(runs: int) -> None:
    assert beyond(runs, student_t(0.975, runs - 1), 5_000) > 0.07
    assert beyond(runs, student_t(1 - 0.05 / 8, runs - 1), 5_000) > 0.04, "four figures that a session moves together"


def test_many_figures_need_a_larger_factor_and_more_runs_a_smaller_one() -> None:
    assert [prediction_factor(5, figures) for figures in (1, 4, 8)] == [HEAVY_TAILED[5]] * 3
    assert prediction_factor(5, 20) == pytest.approx(float(scipy_stats.t.ppf(1 - 0.05 / 80, 4)))
    of_runs = [prediction_factor(runs, 4) for runs in range(5, 101)]
    assert of_runs == sorted(of_runs, reverse=True)
    assert prediction_factor(9, 4) == HEAVY_TAILED[8], "the next smaller number in the table: not less than needed"
    with pytest.raises(ValueError, match="no prediction from 4 runs"):
        prediction_factor(4, 1)
