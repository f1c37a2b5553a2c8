"""Statistics against data whose answer is known, and against SciPy."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis import stats

numbers = st.lists(st.floats(0.001, 1e6, allow_nan=False), min_size=1, max_size=300)
ranks = st.lists(st.integers(0, 6), min_size=2, max_size=7)
quietly = settings(deadline=None, database=None, max_examples=60)


def test_summary_of_known_values() -> None:
    found = stats.summary([2, 4, 4, 4, 5, 5, 7, 9])
    assert (found.n, found.median, found.mean, found.low, found.high) == (8, 4.5, 5, 2, 9)
    assert found.stdev == pytest.approx(2.138089935)
    assert found.cv == pytest.approx(0.427617987)


def test_one_value_has_no_spread() -> None:
    assert stats.summary([3]).stdev is None
    assert stats.summary([-1, 1]).cv is None, "a mean of 0 has no coefficient of variation"


@pytest.mark.parametrize("values", [[], [math.nan], [1, math.inf]])
def test_summary_refuses(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values"):
        stats.summary(values)


@pytest.mark.parametrize(("percent", "needed"), [(50, 20), (90, 100), (95, 200), (99, 1000), (99.9, 10_000)])
def test_a_percentile_needs_its_samples(percent: float, needed: int) -> None:
    assert stats.samples_needed(percent) == needed
    assert stats.percentiles(range(needed - 1), [percent]) == (None,)
    assert stats.percentiles(range(needed), [percent]) != (None,)


@pytest.mark.parametrize("percent", [0, 100, -1, math.nan])
def test_no_such_percentile(percent: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        stats.samples_needed(percent)


def test_percentiles_of_one_to_a_thousand_are_ten_times_themselves() -> None:
    shuffled = random.Random(1).sample(range(1, 1001), 1000)
    assert stats.percentiles(shuffled, range(1, 100)) == tuple(range(10, 1000, 10))


@quietly
@given(numbers, st.sampled_from([7, 50, 90, 95, 99]))
def test_percentiles_are_the_inverted_cdf_of_numpy(values: list[float], percent: float) -> None:
    (found,) = stats.percentiles(values, [percent])
    if found is None:
        assert len(values) < stats.samples_needed(percent)
    else:
        assert found == np.percentile(values, percent, method="inverted_cdf")


@quietly
@given(ranks, ranks)
def test_rank_test_is_the_exact_permutation_test_with_ties(a: list[int], b: list[int]) -> None:
    exact = scipy.stats.PermutationMethod(n_resamples=10_000)
    assert stats.mann_whitney(a, b) == pytest.approx(scipy.stats.mannwhitneyu(a, b, method=exact).pvalue)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (4, 5), (8, 8), (20, 20), (21, 20), (60, 35)])
def test_rank_test_agrees_with_scipy_without_ties(n: int, m: int) -> None:
    rng = random.Random(n * m)
    a, b = [rng.gauss(0, 1) for _ in range(n)], [rng.gauss(0.4, 1) for _ in range(m)]
    method = "exact" if n + m <= stats.EXACT_LIMIT else "asymptotic"
    assert stats.mann_whitney(a, b) == pytest.approx(scipy.stats.mannwhitneyu(a, b, method=method).pvalue)


def test_rank_test_agrees_with_scipy_on_many_ties() -> None:
    rng = random.Random(5)
    a, b = [rng.randint(0, 5) for _ in range(50)], [rng.randint(1, 6) for _ in range(60)]
    expected = scipy.stats.mannwhitneyu(a, b, method="asymptotic").pvalue
    assert stats.mann_whitney(a, b) == pytest.approx(expected)


def test_equal_values_are_no_difference() -> None:
    assert stats.mann_whitney([1] * 5, [1] * 5) == 1
    assert stats.mann_whitney([1] * 50, [1] * 50) == 1


@pytest.mark.parametrize(("n", "least"), [(3, 0.1), (4, 2 / 70), (5, 2 / 252), (8, 2 / 12870)])
def test_least_p_is_that_of_full_separation(n: int, least: float) -> None:
    assert stats.least_p(n, n) == pytest.approx(least)
    assert stats.mann_whitney(range(n), range(n, 2 * n)) == pytest.approx(least)


def test_of_questions_those_are_carried_that_could_all_be_answered_yes() -> None:
    """Tarone's own rule, on his kind of data: the smallest k so that at most k questions can reach 5 % / k."""
    assert stats.testable([]) == []
    assert stats.testable([0.008] * 6) == [True] * 6
    assert stats.testable([0.008] * 7) == [False] * 7
    assert stats.testable([0.0001] * 40 + [0.008] * 8) == [True] * 40 + [False] * 8
    assert stats.testable([0.008, 0.03, 0.1]) == [True, False, False]


@pytest.mark.parametrize(("questions", "trials"), [(0, 4), (1, 4), (2, 5), (4, 5), (6, 5), (7, 6), (48, 7), (400, 9)])
def test_trials_needed_are_those_with_which_so_many_questions_are_carried(questions: int, trials: int) -> None:
    assert stats.trials_needed(questions) == trials
    assert all(stats.testable([stats.least_p(trials, trials)] * questions))
    assert not any(stats.testable([stats.least_p(trials - 1, trials - 1)] * questions))


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 31])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.975, 0.99999])
def test_students_t_is_that_of_scipy(share: float, freedom: int) -> None:
    assert stats.student_t(share, freedom) == pytest.approx(scipy.stats.t.ppf(share, freedom), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("share", "freedom"), [(0.4, 3), (1.0, 3), (0.9, 0), (math.nan, 3)])
def test_students_t_refuses_what_has_no_quantile(share: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        stats.student_t(share, freedom)


def test_holm_known_answers() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.5, 0.9]) == [1, 1]
    assert stats.holm([0.2]) == [0.2]
    assert stats.holm([]) == []


def test_holm_holds_the_family_where_raw_ps_do_not() -> None:
    rng = random.Random(11)
    raw = corrected = 0
    for _ in range(200):
        ps = [stats.mann_whitney([rng.random() for _ in range(6)], [rng.random() for _ in range(6)]) for _ in range(10)]
        raw += min(ps) < stats.ALPHA
        corrected += min(stats.holm(ps)) < stats.ALPHA
    assert raw > 40
    assert corrected <= 16, "5 % of 200, and two standard deviations of such a count"


def test_ratio_interval_agrees_with_scipy() -> None:
    rng = random.Random(2)
    a, b = [rng.gauss(100, 5) for _ in range(9)], [rng.gauss(120, 5) for _ in range(12)]
    ours = stats.ratio_of_medians(a, b, resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (b, a),
        lambda x, y, axis: np.median(x, axis=axis) / np.median(y, axis=axis),
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == statistics.median(b) / statistics.median(a)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.004)


@pytest.mark.parametrize("trials", [5, 8])
def test_ratio_interval_covers_the_truth(trials: int) -> None:
    rng = random.Random(trials)
    covered = 0
    for seed in range(300):
        a = [rng.gauss(100, 3) for _ in range(trials)]
        b = [rng.gauss(110, 3) for _ in range(trials)]
        covered += stats.ratio_of_medians(a, b, resamples=300, seed=seed).holds(1.1)
    assert covered >= 300 * 0.92


def test_the_seed_decides_the_interval() -> None:
    a, b = [1.0, 2.0, 4.0, 8.0, 9.0], [2.0, 3.0, 5.0, 9.0, 11.0]
    one = stats.ratio_of_medians(a, b, resamples=50, seed=1)
    assert one == stats.ratio_of_medians(a, b, resamples=50, seed=1)
    assert one != stats.ratio_of_medians(a, b, resamples=50, seed=2)


def test_nothing_left_is_a_ratio_of_0() -> None:
    assert stats.ratio_of_medians([2.0] * 4, [0.0] * 4) == stats.Interval(value=0, low=0, high=0)


def test_no_spread_gives_a_point() -> None:
    assert stats.ratio_of_medians([2.0] * 4, [3.0] * 4) == stats.Interval(value=1.5, low=1.5, high=1.5)


@pytest.mark.parametrize(("a", "b"), [([], [1]), ([1], []), ([0, 1], [1]), ([1], [-1]), ([math.nan], [1])])
def test_ratio_refuses(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="value"):
        stats.ratio_of_medians(a, b)


def test_fold_is_the_distance_from_one() -> None:
    assert stats.fold(0.8) == stats.fold(1.25) == 1.25
    assert stats.fold(0.0) == math.inf
