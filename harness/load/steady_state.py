"""Decides when a warm-up is over: throughput and p95 have stopped changing, within the noise of so many requests.

The warm-up is divided into steps of a quarter second, so a few seconds are enough to compare two stretches. The fewer
requests a stretch has, the more two of them differ by chance, so the tolerance grows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

STEP_MS = 250
Row = tuple[int, float | None]
"""Requests completed in one step, and their p95 in ms (None: too few requests to carry one)."""
MOST_ROWS = 8
"""Greatest length of a stretch: two seconds."""
LEAST_REQUESTS = 20
"""A stretch with fewer requests cannot show whether the rate changes."""
RATE_TOLERANCE = 0.05
P95_TOLERANCE = 0.20
P95_GRAIN_MS = 0.2
"""Smaller differences of p95 come from timers and the scheduler, not from the server."""
_ERRORS = 2.0
"""A difference of up to so many standard errors is taken for chance."""
_RATE_ERROR = 1.0
"""Relative standard error of a count of n, times √n: independent arrivals (Poisson). A closed loop has less."""
_P95_ERROR = math.sqrt(0.05 * 0.95) / 0.05 / math.log(20)
"""Relative standard error of the p95 of n values, times √n: √(p(1-p)) over density and quantile of an exponential tail
(Serfling, Approximation Theorems, 2.3.3)."""


def is_steady(rows: Sequence[Row]) -> bool:
    """Whether the latest steps equal as many steps before them: half of all steps, two seconds at most.

    The first step is excluded, because connections are new and clients that start together are still synchronised.
    Requests may differ by 5 %, the median p95 by 20 %, and both by two standard errors more. Comparing two stretches
    instead of neighbouring steps tolerates noise and detects a slow trend.
    """
    stretch = min(MOST_ROWS, (len(rows) - 1) // 2)
    if stretch < 1:
        return False
    before, after = rows[-2 * stretch : -stretch], rows[-stretch:]
    requests_before, requests_after = (sum(done for done, _ in part) for part in (before, after))
    fewest = min(requests_before, requests_after)
    if fewest < LEAST_REQUESTS:
        return False
    chance = _ERRORS * math.sqrt(2 / fewest)
    if abs(requests_after - requests_before) > (RATE_TOLERANCE + chance * _RATE_ERROR) * requests_before:
        return False
    p95s = [[p95 for _, p95 in part if p95 is not None] for part in (before, after)]
    if not all(p95s):
        return True  # too few requests in a step for a p95: the rate decides
    p95_before, p95_after = map(statistics.median, p95s)
    return abs(p95_after - p95_before) <= max((P95_TOLERANCE + chance * _P95_ERROR) * p95_before, P95_GRAIN_MS)


def together(stripes: Iterable[Row]) -> Row:
    """Merges one step of several stripes: the sum of their requests, and the greatest p95."""
    rows = list(stripes)
    return sum(done for done, _ in rows), max((p95 for _, p95 in rows if p95 is not None), default=None)
