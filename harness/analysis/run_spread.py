"""Compares several runs a side by their spread: each run is one observation. Pure, standard library only.

Runs differ by more than their trials do (session, hour, placement), so the trials of a run are no evidence about
another session. Three runs a side are too few for a test of ranks: of 20 ways to divide six runs two are extreme, so
no p is below 0.1. Student's t on the logarithms can decide. It assumes that both sides spread alike and that the
medians of runs are about normal; heavier tails make it claim less (tests/harness/selfbench/test_trust.py).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from harness.analysis.stats import Interval, student_share, student_t

LEAST_RUNS = 3
"""Runs of both sides together from which their spread is known."""


def compare_runs(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> tuple[Interval, float]:
    """The ratio B / A of the geometric means with its interval, and the two-sided p of Student's t.

    `a` and `b`: one positive figure per run, `LEAST_RUNS` together and one a side (ValueError).
    """
    if not a or not b or len(a) + len(b) < LEAST_RUNS or min(*a, *b) <= 0:
        raise ValueError(f"no comparison of {len(a)} with {len(b)} runs")
    left, right = [math.log(one) for one in a], [math.log(one) for one in b]
    freedom = len(a) + len(b) - 2
    distance = statistics.fmean(right) - statistics.fmean(left)
    squares = sum((one - statistics.fmean(side)) ** 2 for side in (left, right) for one in side)
    error = math.sqrt(squares / freedom * (1 / len(a) + 1 / len(b)))
    reach = student_t((1 + confidence) / 2, freedom) * error
    interval = Interval(
        value=math.exp(distance), low=math.exp(distance - reach), high=math.exp(min(distance + reach, 700.0))
    )
    if not error:
        return interval, float(distance == 0)
    return interval, 1 - student_share(abs(distance) / error, freedom)
