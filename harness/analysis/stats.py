"""The statistics behind claims: quantiles, intervals, rank tests. Pure, standard library only.

Trials are resampled and ranked, never requests: the requests of one trial share its cache, its checkpoint and its
neighbours, so a million of them are still one observation. The tests compare every function with known answers and
with SciPy, which at 171 MB is too large to be a dependency.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.load.results.histogram import values_needed

ALPHA = 0.05
"""Accepted chance of a false claim in a whole comparison, over all its cells and metrics (see `holm`)."""

EXACT_LIMIT = 40
"""Up to this number of trials of both sides the rank test is exact; above, the normal approximation is as good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Descriptive statistics of the trials of one cell; `cv` is stdev / mean, None where undefined."""

    n: int
    median: float
    mean: float
    stdev: float | None
    cv: float | None
    low: float
    high: float


def summary(values: Sequence[float]) -> Summary:
    """Describes `values`, which must be finite and not empty (ValueError). `stdev` is the sample's, n - 1."""
    numbers = _finite(values)
    mean = statistics.fmean(numbers)
    stdev = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Summary(
        n=len(numbers),
        median=statistics.median(numbers),
        mean=mean,
        stdev=stdev,
        cv=stdev / abs(mean) if stdev is not None and mean else None,
        low=min(numbers),
        high=max(numbers),
    )


def samples_needed(percent: float) -> int:
    """The samples that a percentile needs, so that ten are beyond it. p50: 20, p95: 200, p99: 1,000, p99.9: 10,000."""
    if not 0 < percent < 100:
        raise ValueError(f"a percentile must be between 0 and 100, not {percent!r}")
    return values_needed(percent / 100)


def percentiles(values: Sequence[float], percents: Sequence[float]) -> tuple[float | None, ...]:
    """The `percents` of `values` by nearest rank: the smallest value that this per cent of them do not exceed.

    This is the inverse of the empirical distribution (type 1 of Hyndman & Fan, Sample Quantiles in Statistical
    Packages, 1996): always a measured latency, never one interpolated between two. None
    where the sample is too small (`samples_needed`). `values` need not be sorted.
    """
    ordered = sorted(values)
    size = len(ordered)
    return tuple(
        # rounded first: 0.07 * 100 is 7.000000000000001, whose ceiling is one rank too high
        ordered[math.ceil(round(percent * size / 100, 6)) - 1] if size >= samples_needed(percent) else None
        for percent in percents
    )


def ratio_of_medians(
    a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """median(b) / median(a) and its bootstrap interval, resampling the trials of each side separately.

    Medians, because the report shows medians and because one trial with a checkpoint must not move the claim.
    The percentile method (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13),
    as Kalibera & Jones, Rigorous Benchmarking in Reasonable Time, 2013, do for ratios of run times. With fewer
    than about five trials per side it is too narrow, so it is never used alone; see `mann_whitney`.
    Values must be finite, those of `a` positive, those of `b` not negative (ValueError). The same seed gives the same
    interval.
    """
    left, right = _finite(a), _finite(b)
    if min(left) <= 0 or min(right) < 0:
        raise ValueError("a ratio needs positive values as denominators and no negative numerator")
    rng = random.Random(seed)
    medians_a = _resampled_medians(left, resamples, rng)
    medians_b = _resampled_medians(right, resamples, rng)
    ratios = [y / x for x, y in zip(medians_a, medians_b, strict=True)]
    return central_interval(statistics.median(right) / statistics.median(left), ratios, confidence)


def central_interval(value: float, draws: Sequence[float], confidence: float = 0.95) -> Interval:
    """`value` with the ends of the central part of its bootstrap `draws`, without the tail at either side."""
    ordered = sorted(draws)
    cut = math.floor(round((1 - confidence) / 2 * len(ordered), 6))
    return Interval(value=value, low=ordered[cut], high=ordered[-1 - cut])


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p of the Mann-Whitney U test that `a` and `b` come from one distribution.

    Exact also with ties: all assignments of the pooled midranks to the two sides are counted
    (Lehmann, Nonparametrics, 1975, chapter 1). Above `EXACT_LIMIT` values the normal approximation with the
    corrections for ties and continuity. Values must be finite and no side empty (ValueError).
    """
    left, right = _finite(a), _finite(b)
    doubled = doubled_midranks([*left, *right])
    n, size = len(left), len(doubled)
    observed = sum(doubled[:n])
    if size <= EXACT_LIMIT:
        ways: list[Counter[int]] = [Counter() for _ in range(n + 1)]
        ways[0][0] = 1
        for rank in doubled:
            for chosen in range(n, 0, -1):
                for total, count in ways[chosen - 1].items():
                    ways[chosen][total + rank] += count
        below = sum(count for total, count in ways[n].items() if total <= observed)
        above = sum(count for total, count in ways[n].items() if total >= observed)
        return min(1.0, 2 * min(below, above) / math.comb(size, n))
    ties = sum(t**3 - t for t in Counter(doubled).values())
    variance = n * (size - n) / 12 * (size + 1 - ties / (size * (size - 1)))
    if not variance:
        return 1.0
    distance = max(0.0, abs(observed - n * (size + 1)) / 2 - 0.5)
    return min(1.0, math.erfc(distance / math.sqrt(2 * variance)))


def least_p(n_a: int, n_b: int) -> float:
    """The smallest p that `mann_whitney` can reach with these trials: 3 against 3: 0.1, 4: 0.029, 5: 0.008."""
    return min(1.0, 2 / math.comb(n_a + n_b, n_a))


def holm(ps: Sequence[float]) -> list[float]:
    """Corrects the ps of tests that are made together, in the order given.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979: the chance of one false claim or more in
    the family stays below the level to which a corrected p is compared, however the tests depend on each other.
    """
    corrected = [0.0] * len(ps)
    worst = 0.0
    for step, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min(1.0, (len(ps) - step) * ps[index]))
        corrected[index] = worst
    return corrected


def testable(smallest_ps: Sequence[float]) -> list[bool]:
    """Returns for each test, by its smallest possible p, whether it can be significant after Holm's correction.

    Tarone, A Modified Bonferroni Method for Discrete Data, 1990: a test that can never be significant adds nothing to
    the chance of a false claim. With few trials, rank tests are of this kind once there are many of them.
    """
    size = next(k for k in range(1, len(smallest_ps) + 2) if sum(p * k < ALPHA for p in smallest_ps) <= k)
    return [p * size < ALPHA for p in smallest_ps]


def trials_needed(questions: int) -> int:
    """Trials per side that allow this number of rank tests together (`testable`): 1: 4, 4: 5, 12: 6, 48: 7."""
    return next(n for n in itertools.count(2) if least_p(n, n) * max(questions, 1) < ALPHA)


def student_t(share: float, freedom: int) -> float:
    """The quantile of Student's t: the value below which this share of it lies, by bisection of its distribution.

    The distribution is the finite series for whole degrees of freedom (Abramowitz & Stegun, Handbook of Mathematical
    Functions, 26.7.3 and 26.7.4). `share` must be at least a half and below 1, `freedom` at least 1 (ValueError).
    """
    if not 0.5 <= share < 1 or freedom < 1:
        raise ValueError(f"no quantile {share} of Student's t with {freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while student_share(high, freedom) < 2 * share - 1:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_share(middle, freedom) < 2 * share - 1 else (low, middle)
    return high


def student_share(t: float, freedom: int) -> float:
    """The share of Student's t between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    square = math.cos(angle) ** 2
    term = total = math.cos(angle) if freedom % 2 else 1.0
    for step in range(2 + freedom % 2, freedom - 1, 2):
        term *= square * (step - 1) / step
        total += term
    if freedom % 2 == 0:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))


def fold(ratio: float) -> float:
    """The distance of a ratio from 1 in either direction: 0.8 and 1.25 both give 1.25; 0 gives infinity."""
    return max(ratio, 1 / ratio) if ratio else math.inf


def _finite(values: Sequence[float]) -> list[float]:
    numbers = [float(value) for value in values]
    if not numbers:
        raise ValueError("no values")
    if not all(map(math.isfinite, numbers)):
        raise ValueError("values must be finite")
    return numbers


def _resampled_medians(values: Sequence[float], resamples: int, rng: random.Random) -> list[float]:
    size = len(values)
    low, high = (size - 1) // 2, size // 2
    drawn = rng.choices(sorted(values), k=resamples * size)
    ordered = (sorted(drawn[start : start + size]) for start in range(0, len(drawn), size))
    return [(one[low] + one[high]) / 2 for one in ordered]


def doubled_midranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each value, ties sharing the mean of their ranks: doubled, these are integers."""
    count = Counter(values)
    rank: dict[float, int] = {}
    before = 0
    for value in sorted(count):
        rank[value] = 2 * before + count[value] + 1
        before += count[value]
    return [rank[value] for value in values]


CLAIM_TRIALS = 5
"""Trials per cell that a claim of a difference needs."""
