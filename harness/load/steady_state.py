"""Decides whether a load is steady: at the end of its warm-up, and in the measured window. Pure.

The warm-up is divided into steps of a quarter second, and two stretches of steps are compared. The fewer requests a
stretch has, the more two of them differ by chance, so the tolerance grows, and so does the stretch: a rate that changes
by a tenth per second must differ by twice what is tolerated. The measured window is tested for a trend.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

STEP_MS = 250
Row = tuple[int, float | None]
"""Requests completed in one step, and their p95 in ms (None: too few requests to carry one)."""
STEEP = 0.10
"""A rate that changes by this share per second is not steady."""
MOST_ROWS = 16
"""Greatest length of a stretch: four seconds. A rate below a hundred per second would need more."""
LEAST_REQUESTS = 20
"""A stretch with fewer requests cannot show whether the rate changes."""
RATE_TOLERANCE = 0.05
P95_TOLERANCE = 0.20
P95_GRAIN_MS = 0.2
"""Smaller differences of p95 come from timers and the scheduler, not from the server."""
_ERRORS = 2.0
"""A difference of up to this many standard errors counts as chance."""
_RATE_ERROR = 1.0
"""Relative standard error of a count of n, times √n: independent arrivals (Poisson). A closed loop has less."""
_P95_ERROR = math.sqrt(0.05 * 0.95) / 0.05 / math.log(20)
"""Relative standard error of the p95 of n values, times √n: √(p(1-p)) over density and quantile of an exponential tail
(Serfling, Approximation Theorems, 2.3.3)."""


def is_steady(rows: Sequence[Row]) -> bool:
    """Whether the latest steps equal as many steps before them: the shortest two stretches that can show it.

    The first step is excluded, because connections are new and clients that start together are still synchronised.
    Requests may differ by 5 %, the median p95 by 20 %, and both by two standard errors more.
    """
    for stretch in range(1, min(MOST_ROWS, (len(rows) - 1) // 2) + 1):
        before, after = rows[-2 * stretch : -stretch], rows[-stretch:]
        fewest = min(sum(done for done, _ in part) for part in (before, after))
        if fewest < LEAST_REQUESTS:
            continue
        chance = _ERRORS * math.sqrt(2 / fewest)
        seen = STEEP * stretch * STEP_MS / 1000
        if seen >= 2 * (RATE_TOLERANCE + chance * _RATE_ERROR) or stretch == MOST_ROWS:
            return _are_alike(before, after, chance)
    return False


def _are_alike(before: Sequence[Row], after: Sequence[Row], chance: float) -> bool:
    requests_before, requests_after = (sum(done for done, _ in part) for part in (before, after))
    if abs(requests_after - requests_before) > (RATE_TOLERANCE + chance * _RATE_ERROR) * requests_before:
        return False
    p95s = [[p95 for _, p95 in part if p95 is not None] for part in (before, after)]
    if not all(p95s):
        return True  # too few requests in a step for a p95: the rate decides
    p95_before, p95_after = map(statistics.median, p95s)
    return abs(p95_after - p95_before) <= max((P95_TOLERANCE + chance * _P95_ERROR) * p95_before, P95_GRAIN_MS)


MOST_GROUPS, LEAST_GROUPS = 10, 6
LEAST_CHANGE = 0.10
"""A smaller change of the rate over the whole window is no trend, however certain."""
_T_99 = {4: 4.604, 5: 4.032, 6: 3.707, 7: 3.499, 8: 3.355}
"""Two-sided 1 % points of Student's t by degrees of freedom."""


def trend(counts: Sequence[int]) -> float | None:
    """The share by which the rate changed over the window, if it did: the slope of a straight line, tested at 1 %.

    `counts`: requests completed in steps of equal length. The steps are added up in at most ten groups, which takes out
    most of the correlation of neighbouring steps. Returns 0 without a trend, None for a window too short to tell
    (below six steps).
    """
    size = max(1, math.ceil(len(counts) / MOST_GROUPS))
    if len(counts) // size < LEAST_GROUPS:
        size = max(1, len(counts) // MOST_GROUPS)
    groups = [sum(counts[first : first + size]) for first in range(len(counts) % size, len(counts), size)]
    groups = groups[-MOST_GROUPS:]
    number, mean = len(groups), statistics.fmean(groups) if groups else 0.0
    if number < LEAST_GROUPS or mean <= 0:
        return None
    at = [place - (number - 1) / 2 for place in range(number)]
    spread = sum(x * x for x in at)
    slope = sum(x * (count - mean) for x, count in zip(at, groups, strict=True)) / spread
    rest = sum((count - mean - slope * x) ** 2 for x, count in zip(at, groups, strict=True))
    # counts vary by chance even where the residuals happen to be small
    error = math.sqrt(max(rest / (number - 2), mean * _LEAST_VARIANCE) / spread)
    change = slope * number / mean
    return change if abs(change) > LEAST_CHANGE and abs(slope) > _T_99[number - 2] * error else 0.0


_LEAST_VARIANCE = 0.1
"""Least variance of a count, as a share of a Poisson count's: a closed loop has less than independent arrivals."""


def together(stripes: Iterable[Row]) -> Row:
    """Merges one step of several stripes: the sum of their requests, and the greatest p95."""
    rows = list(stripes)
    return sum(done for done, _ in rows), max((p95 for _, p95 in rows if p95 is not None), default=None)


def windows_together(stripes: Sequence[tuple[int, Sequence[int]]]) -> tuple[int, ...]:
    """Adds up the measured windows of several stripes (length of a step, requests by step); none if lengths differ."""
    if len({step_ms for step_ms, _ in stripes}) > 1:
        return ()
    return tuple(map(sum, zip(*(counts for _, counts in stripes), strict=False)))
