"""The test and the interval of variants that were measured side by side, in blocks. Pure, standard library only.

A block has every variant once, in random order. What changes from block to block (session, hour, neighbours, drift)
changes both sides of a ratio and cancels. If two variants do not differ, the order alone decides which of the two
trials of a block is called A, so the logarithm of their ratio has either sign with the same chance, whatever the noise
is: autocorrelated, drifting or heavy-tailed. The test flips these signs, and needs no other assumption.

The statistic is Wilcoxon's signed rank, the estimate and the interval are made of Walsh averages (Hollander & Wolfe,
Nonparametric Statistical Methods, 3.1 to 3.3). Flipping the mean instead has the same power with 8 blocks (99 % for a
difference of 10 % at noise of 3 %, 65 % where the noise is Student's t with 2 degrees of freedom), and where one trial
of twenty takes twice as long less with 12 (55 against 64 %); one such trial moves the mean, but not the estimate.

The metrics of a trial move together: a slow trial has a low rate and high percentiles. So the metrics of a pair are
flipped together, and the smallest p of all metrics in each flip is the yardstick (Westfall & Young, Resampling-Based
Multiple Testing, 1993, algorithm 2.8). Holm's correction over the metrics would find 95 % instead of 99 %. Over the
pairs the correction is Holm's.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
import statistics
from collections import Counter
from collections.abc import Sequence

from harness.analysis.stats import ALPHA, Interval, doubled_midranks

EXACT_BLOCKS = 14
"""Up to this number of blocks all flips are counted, 2^13 because a flip and its opposite are alike."""
FLIPS = 10_000
"""Random flips where there are more blocks."""
EXACT_SUMS = 40

Differences = Sequence[float | None]
"""log(B / A) by block; None: the block has no such figure. Minus infinity: a rate of 0 in B."""


def least_p(blocks: int) -> float:
    """The smallest p that this number of blocks can reach: 5: 0.0625, 6: 0.031, 8: 0.0078."""
    return min(1.0, 2.0 * 0.5**blocks)


def blocks_needed(rows: int) -> int:
    """Blocks with which a row whose blocks all agree is significant beside so many rows: 1: 6, 4: 8, 8: 9, 32: 11."""
    return next(blocks for blocks in range(1, 64) if least_p(blocks) * max(rows, 1) < ALPHA)


def blocks_for(pairs: int) -> int:
    """Blocks with which a difference of 10 % at noise of 3 % is found in 96 of 100 runs beside so many pairs.

    1: 8, 2: 9, 4: 10, 8: 11, 32: 13. With `blocks_needed(pairs)` a claim is possible, and found in 58 to 99 of 100.
    """
    return blocks_needed(4 * pairs)


def metric_ps(metrics: Sequence[Differences], *, seed: int = 0) -> list[float]:
    """The two-sided p of each metric of one pair, corrected over its metrics. All metrics have the same blocks.

    Exact up to `EXACT_BLOCKS` blocks, above with `FLIPS` random flips of this seed, of which the observed one is one.
    """
    flips = _Flips(blocks=len(metrics[0]), seed=seed) if metrics else None
    of_flips = [_ps_of_flips(flips.sums(signed_ranks(one))) for one in metrics] if flips else []
    raw = [ps[0] for ps in of_flips]
    corrected = [1.0] * len(metrics)
    worst = 0.0
    order = sorted(range(len(metrics)), key=lambda index: raw[index])
    smallest: list[float] = []  # of the metrics from this one on, by flip
    yardsticks = []
    for index in reversed(order):
        smallest = list(map(min, smallest, of_flips[index])) if smallest else of_flips[index]
        yardsticks.append(smallest)
    for index, yardstick in zip(order, reversed(yardsticks), strict=True):
        share = sum(p <= raw[index] for p in yardstick) / len(yardstick)
        corrected[index] = worst = max(worst, share)
    return corrected


def holm_over_pairs(pairs: Sequence[Sequence[float]]) -> list[list[float]]:
    """Corrects ps that are corrected within each pair also over the pairs (Holm 1979).

    A pair stops to count for the others once all its rows are significant: with one row per pair this is `stats.holm`.
    """
    size = len(pairs)
    corrected = []
    for index, ps in enumerate(pairs):
        others = sorted(max(other) for at, other in enumerate(pairs) if at != index and other)
        levels = [0.0]  # the p at which so many other pairs are significant as a whole
        for done, worst in enumerate(others):
            levels.append(max(levels[-1], worst * (size - done)))
        corrected.append([min(1.0, *(max(level, p * (size - done)) for done, level in enumerate(levels))) for p in ps])
    return corrected


def interval(differences: Differences, confidence: float = 0.95) -> Interval | None:
    """The median of the Walsh averages (Hodges & Lehmann 1963) with the ends at which the signed rank test turns.

    As logarithms. None with fewer blocks than the confidence needs: 6 for 95 %.
    """
    known = [one for one in differences if one is not None]
    beyond = _rejected_sums(len(known), 1 - confidence)
    if beyond is None:
        return None
    walsh = sorted((x + y) / 2 for x, y in itertools.combinations_with_replacement(known, 2))
    return Interval(value=statistics.median(walsh), low=walsh[beyond], high=walsh[-1 - beyond])


def estimate(differences: Differences) -> float:
    """The median of the Walsh averages, as a logarithm. ValueError without blocks."""
    known = [one for one in differences if one is not None]
    return statistics.median((x + y) / 2 for x, y in itertools.combinations_with_replacement(known, 2))


def signed_ranks(differences: Differences) -> list[int]:
    """Twice the rank of each absolute difference with its sign; 0 for no difference and for no figure.

    Zeros are ranked and then left out (Pratt 1959); ties share the mean of their ranks.
    """
    known = [(block, one) for block, one in enumerate(differences) if one is not None]
    ranks = [0] * len(differences)
    for (block, one), rank in zip(known, doubled_midranks([abs(one) for _, one in known]), strict=True):
        ranks[block] = (one > 0) * rank - (one < 0) * rank
    return ranks


class _Flips:
    """All flips of the signs of the blocks up to their opposites, or random ones; the first flips nothing."""

    def __init__(self, *, blocks: int, seed: int) -> None:
        self._random: list[list[int]] = []
        if blocks > EXACT_BLOCKS:
            rng = random.Random(seed)
            self._random = [[1] * blocks, *(rng.choices((1, -1), k=blocks) for _ in range(FLIPS))]

    def sums(self, ranks: Sequence[int]) -> list[int]:
        """The absolute sum of the signed ranks in each flip, in the same order for all metrics."""
        if self._random:
            return [abs(sum(map(int.__mul__, flip, ranks))) for flip in self._random]
        sums = list(ranks[:1])
        for rank in ranks[1:]:
            sums = [each + rank for each in sums] + [each - rank for each in sums]
        return [abs(each) for each in sums]


def _ps_of_flips(sums: Sequence[int]) -> list[float]:
    """For each flip, the share of the flips whose sum is as large or larger."""
    count = Counter(sums)
    share, before = {}, 0
    for value in sorted(count, reverse=True):
        before += count[value]
        share[value] = before / len(sums)
    return [share[value] for value in sums]


@functools.cache
def _rejected_sums(blocks: int, alpha: float) -> int | None:
    """The largest sum of ranks of one sign that the two-sided test rejects; None if it rejects none.

    Exact up to `EXACT_SUMS` blocks, above by the normal approximation with the correction for continuity.
    """
    if blocks > EXACT_SUMS:
        mean, variance = blocks * (blocks + 1) / 4, blocks * (blocks + 1) * (2 * blocks + 1) / 24
        return math.floor(mean - 0.5 + statistics.NormalDist().inv_cdf(alpha / 2) * math.sqrt(variance))
    ways = [1]
    for rank in range(1, blocks + 1):
        longer = ways + [0] * rank
        for total, count in enumerate(ways):
            longer[total + rank] += count
        ways = longer
    below, rejected = 0, None
    for total, count in enumerate(ways):
        below += count
        if 2 * below / 2**blocks > alpha + 1e-12:
            return rejected
        rejected = total
    return rejected
