"""The paired test: known answers, SciPy, and what it claims in simulated blocks where nothing differs."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest
from scipy import stats as scipy_stats

from harness.analysis import paired
from harness.analysis.stats import ALPHA, holm, mann_whitney


def test_least_p_and_the_blocks_that_claims_need() -> None:
    assert [paired.least_p(n) for n in (0, 5, 6, 8)] == [1.0, 0.0625, 0.03125, 0.0078125]
    assert [paired.blocks_needed(rows) for rows in (0, 1, 4, 8, 32)] == [6, 6, 8, 9, 11]
    assert [paired.blocks_for(pairs) for pairs in (0, 1, 2, 4, 8, 32)] == [6, 8, 9, 10, 11, 13]


@pytest.mark.parametrize("blocks", [6, 8, 11, 14])
def test_p_of_one_metric_is_that_of_the_signed_rank_test(blocks: int) -> None:
    rng = random.Random(blocks)
    for shift in (0.0, 0.5, 1.5):
        differences = [rng.gauss(shift, 1) for _ in range(blocks)]
        expected = scipy_stats.wilcoxon(differences, method="exact").pvalue
        assert paired.metric_ps([differences]) == [pytest.approx(expected)]
        assert paired.metric_ps([[-one for one in differences]]) == [pytest.approx(expected)]


def test_random_flips_come_close_to_the_exact_p_and_repeat_with_the_seed() -> None:
    rng = random.Random(3)
    differences = [rng.gauss(0.4, 1) for _ in range(20)]
    expected = scipy_stats.wilcoxon(differences, method="exact").pvalue
    found = paired.metric_ps([differences], seed=1)
    assert found == [pytest.approx(expected, abs=0.02)]
    assert found == paired.metric_ps([differences], seed=1)
    assert paired.metric_ps([[1.0 + n for n in range(20)]])[0] <= 2 / paired.FLIPS


def test_ties_zeros_and_missing_figures() -> None:
    assert paired.signed_ranks([0.5, -0.5, 0.0, None, 2.0]) == [5, -5, 0, 0, 8]
    assert paired.metric_ps([[0.0] * 8]) == [1.0]
    assert paired.metric_ps([[None] * 8, [0.1] * 8]) == [1.0, 2 / 2**8]
    assert paired.metric_ps([[1.0, 1.0, 1.0, -1.0]]) == [10 / 16]
    assert paired.metric_ps([]) == []
    minus = -math.inf
    assert paired.metric_ps([[minus] * 8]) == [2 / 2**8]
    assert paired.estimate([minus] * 8) == minus


def test_metrics_that_move_together_cost_no_power_and_independent_ones_do() -> None:
    one = [0.1 + n / 1000 for n in range(8)]
    assert paired.metric_ps([one] * 4) == [2 / 2**8] * 4
    other = [0.1, -0.1, 0.2, -0.2, 0.3, -0.3, 0.4, -0.35]
    alone, beside = paired.metric_ps([one])[0], paired.metric_ps([one, other])
    assert alone < beside[0] <= 2 * alone
    assert beside[1] > 0.5


def by_definition(metrics: Sequence[Sequence[float]]) -> list[float]:
    """Corrects by the definition of Westfall and Young's step-down minimum of p, over all 2^n flips."""
    flips = list(itertools.product((1, -1), repeat=len(metrics[0])))
    ranks = [paired.signed_ranks(one) for one in metrics]
    sums = [[abs(sum(f * r for f, r in zip(flip, rank, strict=True))) for flip in flips] for rank in ranks]
    ps = [[sum(other >= one for other in of) / len(flips) for one in of] for of in sums]
    result, worst = {}, 0.0
    left = sorted(range(len(metrics)), key=lambda m: ps[m][0])
    while left:
        smallest = [min(ps[m][f] for m in left) for f in range(len(flips))]
        worst = max(worst, sum(p <= ps[left[0]][0] for p in smallest) / len(flips))
        result[left.pop(0)] = worst
    return [result[m] for m in range(len(metrics))]


def test_correction_over_metrics_follows_its_definition() -> None:
    rng = random.Random(7)
    for _ in range(5):
        common = [rng.gauss(0.5, 1) for _ in range(6)]
        metrics = [[c + rng.gauss(0, own) for c in common] for own in (0.1, 0.5, 2.0)]
        assert paired.metric_ps(metrics) == pytest.approx(by_definition(metrics))


def test_correction_over_pairs_is_holms_with_one_row_a_pair() -> None:
    rng = random.Random(1)
    for _ in range(50):
        ps = [rng.random() ** 3 for _ in range(rng.randint(1, 6))]
        assert [one[0] for one in paired.holm_over_pairs([[p] for p in ps])] == pytest.approx(holm(ps))
    assert paired.holm_over_pairs([[0.01, 0.9], [0.02]]) == [[0.02, 0.9], [0.04]]
    assert paired.holm_over_pairs([]) == []


@pytest.mark.parametrize("blocks", [6, 8, 10])
def test_interval_is_the_test_inverted(blocks: int) -> None:
    rng = random.Random(blocks)
    differences = [rng.gauss(0.3, 1) for _ in range(blocks)]
    found = paired.interval(differences)
    assert found is not None
    assert found.value == paired.estimate(differences)
    for at, inside in ((found.low, 1), (found.high, -1)):
        for step, held in ((1e-6, True), (-1e-6, False)):
            moved = [one - (at + inside * step) for one in differences]
            assert (paired.metric_ps([moved])[0] > ALPHA) == held


def test_there_is_no_interval_with_too_few_blocks() -> None:
    assert paired.interval([0.1] * 5) is None
    assert paired.interval([0.1] * 6) is not None
    assert paired.interval([0.1] * 5 + [None] * 3) is None


def test_intervals_of_many_blocks_are_continued_by_the_approximation(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(2)
    differences = [rng.gauss(0.3, 1) for _ in range(30)]
    exact = paired.interval(differences)
    monkeypatch.setattr(paired, "EXACT_SUMS", 20)
    close = paired.interval(differences)
    assert exact is not None
    assert close is not None
    assert (close.low, close.high) == (pytest.approx(exact.low, abs=0.02), pytest.approx(exact.high, abs=0.02))
    assert paired.interval([rng.gauss(0, 1) for _ in range(300)]) is not None


def test_one_stalled_trial_does_not_decide_the_estimate() -> None:
    found = paired.interval([0.10, 0.11, 0.09, 0.10, 0.12, 0.08, 0.10, 0.80])
    assert found is not None
    assert found.value == pytest.approx(0.1, abs=0.01)  # the mean is 0.19
    assert found.low == pytest.approx(0.09)


def claims(rng: random.Random, *, drift: float, by_blocks: bool) -> bool:
    """Whether equal variants A and B are called different, with the paired test or the one over all trials."""
    a, b = [], []
    for block in range(8):
        first, second = (rng.gauss(0, 0.01) + drift * order for order in (2 * block, 2 * block + 1))
        one, other = (first, second) if not by_blocks or rng.random() < 0.5 else (second, first)
        a.append(one)
        b.append(other)
    if by_blocks:
        return paired.metric_ps([[y - x for x, y in zip(a, b, strict=True)]])[0] < ALPHA
    return mann_whitney(a, [x + 8 * drift for x in b]) < ALPHA


def test_drift_is_no_difference_with_shuffled_blocks_and_is_one_between_runs() -> None:
    rng = random.Random(5)
    assert sum(claims(rng, drift=0.005, by_blocks=True) for _ in range(400)) <= 0.07 * 400
    assert sum(claims(rng, drift=0.005, by_blocks=False) for _ in range(200)) >= 0.9 * 200
