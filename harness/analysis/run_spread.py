"""Compares several runs a side by their spread, and predicts further runs: each is one observation. Pure.

Runs differ by more than their trials do (session, hour, placement), so the trials of a run are no evidence about
another session. Three runs a side are too few for a test of ranks: of 20 ways to divide six runs two are extreme, so
no p is below 0.1. Student's t on the logarithms can decide. It assumes that both sides spread alike and that the
medians of runs are about normal; heavier tails make it claim less where the sides have about as many runs
(tests/harness/selfbench/test_trust.py), and more with 2 on one side and 9 on the other: 6.5 % of single figures where
sessions are Student's t with 2 degrees of freedom.

A prediction is different: a further run can be the outlier that the spread does not contain. If sessions differ by
Student's t with 2 degrees of freedom, two further runs are beyond the 98.75 % prediction interval of five runs in 5.2 %
of cases instead of 1.25 %, because that interval is for normal ones. `prediction_factor` allows for such sessions.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from harness.analysis.stats import ALPHA, Interval, student_share, student_t

LEAST_RUNS = 2
"""Runs a side. A single one may be the outlier that the spread of the others does not contain."""

HEAVY_TAILED = {5: 6.44, 6: 5.76, 7: 5.40, 8: 5.06, 10: 4.70, 12: 4.45, 15: 4.20, 20: 3.90, 30: 3.59, 50: 3.29}
"""Runs -> what |x - y| / (s x sqrt(2)) exceeds with a chance of ALPHA / 2, where x, y and the runs are Student's t with
2 degrees of freedom and s is the standard deviation of the runs. From 1.2 million simulated cases each."""


def prediction_factor(runs: int, figures: int) -> float:
    """How far two further runs may differ, in units of sqrt(2) x the standard deviation of the logarithms of `runs`.

    The chance that one of `figures` figures, judged together, differs by more is ALPHA, in two halves. One is for a
    session far from all others, with tails as heavy as Student's t with 2 degrees of freedom: it moves all figures at
    once, so it counts once. The other is for the independent part of each figure, about normal because a run is the
    median of its trials: Student's t with Bonferroni's correction. Figures that are outliers independently of each
    other are beyond it more often. Raises ValueError for fewer runs than the table has.
    """
    if runs < min(HEAVY_TAILED):
        raise ValueError(f"no prediction from {runs} runs")
    heavy = HEAVY_TAILED[max(known for known in HEAVY_TAILED if known <= runs)]
    return max(heavy, student_t(1 - ALPHA / (4 * figures), runs - 1))


def compare_runs(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> tuple[Interval, float]:
    """The ratio B / A of the geometric means with its interval, and the two-sided p of Student's t.

    `a` and `b`: one positive figure per run, `LEAST_RUNS` a side (ValueError).
    """
    if min(len(a), len(b)) < LEAST_RUNS or min(*a, *b) <= 0:
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
