"""The search for the capacity (harness/analysis/capacity_search.py) against simulated services with a known one.

Each noise is one that real rigs show: trials that differ by chance, hiccups that break trials at any rate, a service
that becomes slower and faster again, trials that resemble their neighbours (AR(1)), noisy percentiles, and all at once.
"""

from __future__ import annotations

import functools
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from harness.analysis.capacity_search import FULL, Capacity, Effort, Probe, Search
from harness.selfbench.analysis import Entry, entry

RUNS = 100
QUEUE_RUNS = 12
WARMUP_S, WINDOW_S = 3.0, 10.0
WITHIN = 0.05
NOISES: Mapping[str, Mapping[str, float]] = {
    "quiet": {"trial": 0.003},
    "trials differ by 2 %": {"trial": 0.02},
    "a hiccup in every fifth trial": {"trial": 0.01, "hiccups": 0.2},
    "drift of 2 %": {"trial": 0.01, "drift": 0.02},
    "AR(1) of 1.5 %": {"trial": 0.01, "neighbours": 0.01},
    "all": {"trial": 0.015, "hiccups": 0.1, "drift": 0.015, "neighbours": 0.007, "percentile": 0.1},
}
"""Name -> the noise of a Service. Standard deviations relative to the speed; `hiccups`: the share of the trials."""


Result = tuple[Capacity, float]
"""What a search found, and the true capacity."""


class Simulated(Protocol):
    """A service whose p99 at a rate can be asked for, and the rate at which it reaches the limit."""

    limit_s: float
    knee: float
    reference: float

    def p99_s(self, rate: float) -> float:
        """The p99 of one more trial."""
        ...


class Service:
    """A queue with the p99 of M/M/1, ln 100 / (speed - rate), that differs from trial to trial.

    Beyond its speed the queue grows through the window. `reference`: what a closed load would show, 0.5 to 1.3 times
    the speed.
    """

    def __init__(
        self, *, seed: int, trial: float = 0.0, hiccups: float = 0.0, drift: float = 0.0,
        neighbours: float = 0.0, percentile: float = 0.0,
    ) -> None:  # fmt: skip
        self.limit_s, self.speed = 0.05, 2000.0
        self.knee = self.speed - math.log(100) / self.limit_s
        self._rng = random.Random(seed)
        self.reference = self.speed * self._rng.uniform(0.5, 1.3)
        self._trial, self._hiccups, self._drift = trial, hiccups, drift
        self._neighbours, self._percentile = neighbours, percentile
        self._phase, self._number, self._walk = self._rng.uniform(0, 2 * math.pi), 0, 0.0

    def p99_s(self, rate: float) -> float:
        """The p99 of one more trial at this rate."""
        rng, self._number = self._rng, self._number + 1
        self._walk = 0.8 * self._walk + rng.gauss(0, self._neighbours)
        drift = self._drift * math.sin(self._phase + self._number / 6)
        speed = self.speed * (1 + rng.gauss(0, self._trial) + self._walk + drift)
        backlog_s = max(0.0, 1 - speed / rate) * (WARMUP_S + 0.99 * WINDOW_S)
        grown_s = backlog_s + math.log(100) / speed * math.sqrt(speed * (WARMUP_S + WINDOW_S)) / 2
        p99_s = min(math.log(100) / (speed - rate), grown_s) if rate < speed else grown_s
        p99_s *= math.exp(rng.gauss(0, self._percentile))
        return max(p99_s, rng.uniform(0.03, 0.3)) if rng.random() < self._hiccups else p99_s


class QueueService:
    """One server that is simulated request by request (Lindley's recursion): Poisson arrivals, exponential service."""

    def __init__(self, *, seed: int, trial: float = 0.01) -> None:
        self.limit_s, self.speed = 0.05, 2000.0
        self.knee = self.speed - math.log(100) / self.limit_s
        self._rng, self._trial = random.Random(seed), trial
        self.reference = self.speed * self._rng.uniform(0.5, 1.3)

    def p99_s(self, rate: float) -> float:
        """The p99 of one more trial at this rate: of the requests due in the window, after the warm-up."""
        uniform, log = self._rng.random, math.log
        speed = self.speed * (1 + self._rng.gauss(0, self._trial))
        at_s, wait_s, latencies = 0.0, 0.0, list[float]()
        while True:
            gap_s = -log(1 - uniform()) / rate
            at_s += gap_s
            if at_s > WARMUP_S + WINDOW_S:
                break
            wait_s = max(0.0, wait_s - gap_s) - log(1 - uniform()) / speed
            if at_s > WARMUP_S:
                latencies.append(wait_s)
        latencies.sort()
        return latencies[math.ceil(0.99 * len(latencies)) - 1]


def searched(service: Simulated, effort: Effort = FULL) -> Result:
    """The result of a whole search, and the true capacity."""
    search = Search(reference=service.reference, lowest=20.0, effort=effort)
    while (rate := search.next_rate()) is not None:
        search.add(Probe(rate=rate, held=service.p99_s(rate) <= service.limit_s))
    return search.capacity(), service.knee


def capacity_within_5pct() -> Entry:
    """The share of searches that end within 5 % of the true capacity, under the worst noise.

    A search that finds no capacity, or only a bound, counts as wrong.
    """
    return _worst(near, "searches that end within 5 % of the true capacity")


def capacity_interval_covers() -> Entry:
    """The share of intervals that contain the true capacity, under the worst noise."""
    return _worst(covers, "95 % intervals that contain the true capacity")


def near(result: Result) -> bool:
    """Whether a search found the capacity within 5 %."""
    capacity, knee = result
    return capacity.kind == "found" and abs(capacity.rate / knee - 1) <= WITHIN


def covers(result: Result) -> bool:
    """Whether the interval of a search contains the capacity."""
    capacity, knee = result
    return capacity.low <= knee <= capacity.high


@functools.cache
def _results() -> Mapping[str, Sequence[Result]]:
    """Name of the noise -> its searches."""
    results = {name: [searched(Service(seed=seed, **noise)) for seed in range(RUNS)] for name, noise in NOISES.items()}
    return results | {"a queue, request by request": [searched(QueueService(seed=n)) for n in range(QUEUE_RUNS)]}


def _worst(right: Callable[[Result], bool], what: str) -> Entry:
    shares = {name: statistics.fmean(map(right, results)) for name, results in _results().items()}
    name = min(shares, key=lambda each: shares[each])
    detail = f"{what}, of {RUNS} for each of {len(NOISES)} noises and {QUEUE_RUNS} of a queue; worst: {name}"
    return entry(shares[name], "share", ">= 0.95", detail)
