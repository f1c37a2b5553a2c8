"""When a warm-up is over: throughput and p95 have stopped moving, as far as so many requests can tell.

A warm-up is looked at in steps of a quarter second, so that a few seconds are enough to see two stretches alike. The
fewer requests a stretch has, the further apart two of them are by chance alone, and the more is allowed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

STEP_MS = 250
Row = tuple[int, float | None]
"""Requests done in one step, and their p95 in ms (None: too few to carry one)."""
MOST_ROWS = 8
"""Of a stretch: two seconds."""
LEAST_REQUESTS = 20
"""In a stretch: of fewer nobody can say whether their rate moves."""
RATE_TOLERANCE = 0.05
P95_TOLERANCE = 0.20
P95_GRAIN_MS = 0.2
"""Differences of p95 below this are the timers' and the scheduler's, not the server's."""
_ERRORS = 2.0
"""Standard errors of a difference that are chance."""
_RATE_ERROR = 1.0
"""Of a count of n, times √n: arrivals that know nothing of each other (Poisson). A closed loop has less."""
_P95_ERROR = math.sqrt(0.05 * 0.95) / 0.05 / math.log(20)
"""Of the p95 of n, times √n, over the p95: √(p(1-p)) over density and quantile of an exponential tail
(Serfling, Approximation Theorems, 2.3.3)."""


def is_steady(rows: Sequence[Row]) -> bool:
    """Whether the latest steps are like as many before them: half of all, two seconds at most.

    The first step is left out: in it connections are first used, and clients that start together still march in step.
    Requests may differ by 5 %, the median p95 by 20 %, and both by two standard errors more. Comparing two stretches
    rather than neighbours lets noise pass and finds a slow trend.
    """
    stretch = min(MOST_ROWS, (len(rows) - 1) // 2)
    if stretch < 1:
        return False
    before, after = rows[-2 * stretch : -stretch], rows[-stretch:]
    was, now = (sum(done for done, _ in part) for part in (before, after))
    least = min(was, now)
    if least < LEAST_REQUESTS:
        return False
    chance = _ERRORS * math.sqrt(2 / least)
    if abs(now - was) > (RATE_TOLERANCE + chance * _RATE_ERROR) * was:
        return False
    tails = [[p95 for _, p95 in part if p95 is not None] for part in (before, after)]
    if not all(tails):
        return True  # too few requests in a step for a p95: the rate decides
    p95_was, p95_now = map(statistics.median, tails)
    return abs(p95_now - p95_was) <= max((P95_TOLERANCE + chance * _P95_ERROR) * p95_was, P95_GRAIN_MS)


def together(stripes: Iterable[Row]) -> Row:
    """One step of several stripes as one: their requests, and the p95 of the slowest."""
    rows = list(stripes)
    return sum(done for done, _ in rows), max((p95 for _, p95 in rows if p95 is not None), default=None)
