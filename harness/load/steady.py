"""When a warm-up is over: throughput and p95 have stopped moving."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

Row = tuple[int, float | None]
"""Requests done in one second, and their p95 in ms (None: too few to carry one)."""
ROWS = 2
RATE_TOLERANCE = 0.05
P95_TOLERANCE = 0.20
P95_GRAIN_MS = 0.2
"""Differences of p95 below this are the timers' and the scheduler's, not the server's."""


def is_steady(rows: Sequence[Row]) -> bool:
    """Whether the last `ROWS` seconds are like the `ROWS` before them; of three, the last is like the one before.

    The means of the requests may differ by 5 %, the medians of p95 by 20 %. Comparing two stretches rather than
    neighbours lets noise pass and finds a slow trend.
    """
    if len(rows) <= ROWS:
        return False
    stretch = min(ROWS, len(rows) // 2)
    before, after = rows[-2 * stretch : -stretch], rows[-stretch:]
    rate_before = statistics.fmean(done for done, _ in before)
    rate_after = statistics.fmean(done for done, _ in after)
    if rate_before <= 0 or abs(rate_after - rate_before) > RATE_TOLERANCE * rate_before:
        return False
    p95_before = [p95 for _, p95 in before if p95 is not None]
    p95_after = [p95 for _, p95 in after if p95 is not None]
    if not p95_before or not p95_after:
        return not p95_before and not p95_after  # too few requests a second for a p95: the rate decides
    was, now = statistics.median(p95_before), statistics.median(p95_after)
    return abs(now - was) <= max(P95_TOLERANCE * was, P95_GRAIN_MS)
