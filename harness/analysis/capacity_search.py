"""Searches the highest rate that a service holds, from trials that each hold or do not hold. Pure.

A trial near the capacity holds by chance, and one far below it may fail by a hiccup of the machine, so bisection that
trusts each answer ends in the wrong half. Instead a posterior distribution over the capacity is kept (the staircase of
Watson & Pelli, QUEST: A Bayesian adaptive psychometric method, 1983): at a rate r a trial holds with the probability

    fluke + (1 - fluke - miss) / (1 + exp((ln r - ln capacity) / width))

where `width` (how much the capacity differs from trial to trial) and `miss` (how often a trial far below it fails) are
not known either: the posterior is over all three. The next trial runs at the median of the capacity; the search ends
when its 95 % interval is narrow enough. The capacity is thus the rate at which, hiccups aside, every second trial
holds; `low` is the rate to rely on.

Simulated (harness/selfbench/capacity.py), bisection with a majority of three trials is worse where hiccups are frequent
(within 5 % in 84 % of the runs against 100 %), and its bracket contains the capacity in 20 to 80 % of the runs.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

WIDTHS = (0.005, 0.015, 0.04)
"""Relative widths of the transition: quiet, ordinary and noisy machines."""
MISSES = (0.02, 0.1, 0.25)
"""Chances that a trial far below the capacity fails."""
FLUKE = 0.02
"""Chance that a trial far above the capacity holds."""
STEP = 0.01
"""Resolution of the capacity, relative."""
USUAL = 0.8
"""Usual ratio of the capacity to the reference rate: where the search begins."""
SPREAD = 0.3
"""Scale of the prior, in logarithms: a Cauchy distribution, so no rate is out of reach."""
HIGHEST = 16.0
"""Highest rate that is tried, as a multiple of the reference."""
NEAR = 1.1
"""Ratio of a rate that the load generator did not reach to one that it did, at which the search for its limit ends."""
NEGLIGIBLE = 1e-7
"""Probability of the rates at either end that are no longer followed."""
MOST_WIDTH = 1.25
"""Greatest ratio of the ends of an interval that is called a capacity."""
LEAST_OF_EACH = 3
"""Trials that hold, and trials that do not, below which there is no capacity."""
TIRED = 2
"""Trials of one rate that do not count, after which it is taken for out of reach."""
HOPELESS = 10
"""Trials that do not count, and outnumber those that do, after which the search gives up."""
ENDS = (0.025, 0.5, 0.975)
"""Quantiles of the ends of the interval, and of the capacity."""
BEYOND = 1.1
"""Ratio of a rate beyond the median, which tells a hiccup from a rate that is too high."""
SHORT_WINDOW, SLOW_CHANGE = 0.025, 0.01
"""What the interval is widened by, below and above. A window of ten seconds sees less of the rare long queues than an
endless run, so a trial may hold up to 2 % above the rate that holds for ever (M/M/1, simulated). And a service that
becomes slower or faster during the search makes trials depend on each other, which the posterior does not know.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One trial at a rate. `held`: None for a trial that does not count, because the generator was the limit."""

    rate: float
    held: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to search: until the ends of the interval are this ratio apart, within these numbers of trials."""

    least: int
    most: int
    ratio: float


FULL, QUICK = Effort(least=12, most=30, ratio=1.08), Effort(least=8, most=16, ratio=1.15)

Kind = Literal["found", "at least", "none", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The result of a search, so far. Rates in requests per second.

    `found`: `rate` within `low` and `high` (95 %). `at least`: `rate` held, and the load generator or the range of the
    search ended there. `none`: even `rate`, the lowest one, does not hold. `unclear`: the trials do not decide;
    `rate`, `low` and `high` are what they suggest.
    """

    kind: Kind
    rate: float
    low: float
    high: float
    held: int
    broken: int
    uncounted: int
    finished: bool
    """Whether another trial is not needed, or not allowed."""


class Search:
    """The trials so far, and what follows from them. `reference`: a rate of the capacity's order of magnitude."""

    def __init__(self, *, reference: float, lowest: float, effort: Effort) -> None:
        self._lowest, self._effort = lowest, effort
        self._highest = max(HIGHEST * reference, 2 * lowest)
        start = math.log(min(lowest, reference) / 2)
        points = math.ceil((math.log(2 * self._highest) - start) / STEP) + 1
        self._logs = [start + STEP * n for n in range(points)]
        self._probes: list[Probe] = []
        usual = math.log(max(USUAL * reference, lowest))
        prior = [1 / (1 + ((log - usual) / SPREAD) ** 2) for log in self._logs]
        self._weights = {key: list(prior) for key in itertools.product(WIDTHS, MISSES)}
        self._normalise()

    @classmethod
    def after(cls, probes: Sequence[Probe], *, reference: float, lowest: float, effort: Effort) -> Search:
        """The search after these trials, in their order."""
        search = cls(reference=reference, lowest=lowest, effort=effort)
        for probe in probes:
            search.add(probe)
        return search

    def add(self, probe: Probe) -> None:
        """Takes one more trial into account."""
        self._probes.append(probe)
        if probe.held is None:
            return
        at = math.log(probe.rate)
        for width in WIDTHS:
            curve = [1 / (1 + math.exp(max(-50.0, min(50.0, (at - log) / width)))) for log in self._logs]
            for miss in MISSES:
                first, factor = (FLUKE, 1 - FLUKE - miss) if probe.held else (1 - FLUKE, FLUKE + miss - 1)
                pairs = zip(self._weights[width, miss], curve, strict=True)
                self._weights[width, miss] = [weight * (first + factor * share) for weight, share in pairs]
        self._normalise()

    def _normalise(self) -> None:
        """Makes the weights of all rates add up to 1, and forgets the ends that are negligible."""
        sums = [sum(column) for column in zip(*self._weights.values(), strict=True)]
        total = sum(sums)
        below = [each / total for each in itertools.accumulate(sums)]
        first = bisect.bisect_left(below, NEGLIGIBLE)
        last = bisect.bisect_right(below, 1 - NEGLIGIBLE) + 1
        self._logs = self._logs[first:last]
        self._weights = {key: [weight / total for weight in row[first:last]] for key, row in self._weights.items()}
        self._shares = [each / total for each in sums[first:last]]

    def next_rate(self) -> float | None:
        """The rate of the next trial, with three digits; None when the search has ended."""
        if self.capacity().finished:
            return None
        last = self._probes[-1] if self._probes else None
        if last is not None and last.held is None and self._tries(last.rate) < TIRED:
            return last.rate
        return _rounded(max(self._lowest, min(self._proposed(), self._reachable())))

    def _proposed(self) -> float:
        """The median of the capacity; every third time a rate beyond it on a side where the interval is long.

        Trials at the median alone hardly tell hiccups from a rate that is too high.
        """
        low, median, high = self._quantiles(*ENDS)
        counted = sum(probe.held is not None for probe in self._probes)
        if counted < 6 or counted % 3:
            return median
        if high > BEYOND * median:
            return BEYOND * median
        return median / BEYOND if BEYOND * low < median else median

    def capacity(self) -> Capacity:
        """What the trials show so far."""
        low, rate, high = self._quantiles(*ENDS)
        narrow = high / low <= self._effort.ratio
        held = [probe.rate for probe in self._probes if probe.held]
        broken = [probe.rate for probe in self._probes if probe.held is False]
        uncounted = len(self._probes) - len(held) - len(broken)
        kind: Kind = "unclear"
        if high < self._lowest * (1 + STEP):
            kind, rate = "none", min(broken, default=self._lowest)
        elif low >= self._reachable() / (1 + STEP) and held:
            kind, rate = "at least", max(held)
        elif high / low <= MOST_WIDTH and min(len(held), len(broken)) >= LEAST_OF_EACH:
            kind = "found"
        settled = kind in ("none", "at least") or (kind == "found" and narrow)
        counted = len(held) + len(broken)
        enough = counted >= (self._effort.least if kind == "found" else LEAST_OF_EACH)
        hopeless = uncounted >= HOPELESS and uncounted > counted
        return Capacity(
            kind=kind, rate=rate, low=low * (1 - SHORT_WINDOW), high=high * (1 + SLOW_CHANGE),
            held=len(held), broken=len(broken), uncounted=uncounted,
            finished=(settled and enough) or hopeless or len(self._probes) >= self._effort.most,
        )  # fmt: skip

    def _quantiles(self, *shares: float) -> list[float]:
        """Quantiles of the capacity."""
        below, found = 0.0, list[float]()
        for log, share in zip(self._logs, self._shares, strict=True):
            while len(found) < len(shares) and below + share >= shares[len(found)]:
                found.append(math.exp(log + STEP * ((shares[len(found)] - below) / share - 0.5)))
            below += share
        return found

    def _tries(self, rate: float) -> int:
        """Trials of this rate that did not count."""
        return sum(probe.held is None and probe.rate == rate for probe in self._probes)

    def _reachable(self) -> float:
        """The highest rate to try: below the lowest one that the load generator did not reach in two trials.

        Between it and the highest rate that counted, the search for the generator's own limit goes on.
        """
        counted = max((probe.rate for probe in self._probes if probe.held is not None), default=0.0)
        tries = Counter(probe.rate for probe in self._probes if probe.held is None)
        tired = min((rate for rate, times in tries.items() if times >= TIRED and rate > counted), default=math.inf)
        if tired == math.inf:
            return self._highest
        return counted if NEAR * counted >= tired else math.sqrt(tired * max(counted, tired / 4))


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")
