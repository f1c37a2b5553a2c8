"""Finds where a series of runs changes: the method of Apache Otava, formerly Hunter. Pure.

Fleming et al., Hunter: Using Change Point Detection to Hunt for Performance Regressions (ICPE 2023): the E-divisive
means of Matteson & James (A Nonparametric Approach for Multiple Change Point Analysis, 2014) propose where to divide,
Student's t decides, a relaxed threshold lets them propose, and the weakest is merged until the rest are below the real
one. Apache Otava 0.8.0 itself needs SciPy, NumPy and clients of cloud services, 240 MB. Different from it:

- the logarithms are divided, because the figures of runs differ by factors;
- `compare_runs` is the t test: it takes the sample's standard deviation (n - 1), Otava that of a population, which
  finds too much in short series;
- a part has `LEAST_RUNS` or more: one run alone may be an outlier.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.run_spread import LEAST_RUNS, compare_runs
from harness.analysis.stats import Interval

MAX_P = 0.001
"""Otava's threshold. It is far below 5 %, because the place of the division was chosen to make p small."""
RELAXED = 10
"""Divisions are proposed up to this multiple of the threshold."""
WINDOW = 50
"""Runs that are divided together; windows overlap by half. A long series would hide a short change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePoint:
    """A change before the run with this `index`. `ratio`: geometric mean of the part after it to that before it."""

    index: int
    ratio: Interval
    p: float


def change_points(values: Sequence[float], max_p: float = MAX_P) -> list[ChangePoint]:
    """Returns the change points of a series of positive figures (ValueError), one per run, in their order."""
    if any(not 0 < value < math.inf for value in values):
        raise ValueError("the figures of a series must be positive")
    places = _proposed(values, min(1.0, RELAXED * max_p))
    while places:
        points = [_judged(values, *part) for part in _parts(places, len(values))]
        weakest = max(points, key=lambda point: point.p)
        if weakest.p < max_p:
            return points
        places.remove(weakest.index)
    return []


def _parts(places: Sequence[int], end: int) -> list[tuple[int, int, int]]:
    """Returns (start, place, end) for each place: the parts before and after it reach to its neighbours."""
    return [(a, b, c) for a, b, c in zip([0, *places], places, [*places[1:], end], strict=False)]


def _judged(values: Sequence[float], start: int, place: int, end: int) -> ChangePoint:
    ratio, p = compare_runs(values[start:place], values[place:end])
    return ChangePoint(index=place, ratio=ratio, p=p)


def _proposed(values: Sequence[float], max_p: float) -> list[int]:
    """Returns the weak change points of all windows."""
    found: set[int] = set()
    start = 0
    while start < len(values):
        inside = _divided(values[start : start + WINDOW], max_p)
        found |= {start + place for place in inside}
        start = max([start + WINDOW // 2, *(start + place for place in inside[-1:])])
    places: list[int] = []
    for place in sorted(found):  # overlapping windows may propose neighbours
        if place - (places or [0])[-1] >= LEAST_RUNS and len(values) - place >= LEAST_RUNS:
            places.append(place)
    return places


def _divided(values: Sequence[float], max_p: float) -> list[int]:
    """Divides one window at the most different place of all its parts, as long as that is significant."""
    logs = [math.log(value) for value in values]
    places: list[int] = []
    while True:
        candidates = [
            (*found, start, end)
            for start, end in itertools.pairwise([0, *places, len(logs)])
            if (found := most_different(logs[start:end]))
        ]
        if not candidates:
            return places
        _, offset, start, end = max(candidates, key=lambda candidate: candidate[0])
        if _judged(values, start, start + offset, end).p > max_p:
            return places
        places = sorted([*places, start + offset])


def most_different(values: Sequence[float]) -> tuple[float, int] | None:
    """Returns the largest energy distance and the place that has it; None where two parts would be too short.

    All pairs of neighbouring parts are tried: the first ends at the place, the second anywhere behind it.
    Q = 2 / (n + m) * S(X, Y) - 2 m / ((n + m)(n - 1)) * S(X) - 2 n / ((n + m)(m - 1)) * S(Y), where S sums the
    absolute differences between two parts or within one, and n and m are their lengths.
    """
    best: tuple[float, int] | None = None
    for place in range(LEAST_RUNS, len(values) - LEAST_RUNS + 1):
        left = values[:place]
        within_left = sum(abs(x - y) for x, y in itertools.combinations(left, 2))
        across = within_right = 0.0
        for end in range(place, len(values)):
            across += sum(abs(x - values[end]) for x in left)
            within_right += sum(abs(x - values[end]) for x in values[place:end])
            n, m = place, end + 1 - place
            if m < LEAST_RUNS:
                continue
            q = 2 / (n + m) * (across - m / (n - 1) * within_left - n / (m - 1) * within_right)
            if best is None or q > best[0]:
                best = q, place
    return best
