"""Student's t over the medians of runs, against SciPy."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats as scipy_stats

from harness.analysis.run_spread import compare_runs


@pytest.mark.parametrize(("n_a", "n_b"), [(3, 3), (1, 2), (2, 1), (5, 9)])
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


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0]), ([], [1.0, 2.0, 3.0]), ([0.0, 1.0], [1.0])])
def test_too_few_runs_and_zeros_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="no comparison of"):
        compare_runs(a, b)
