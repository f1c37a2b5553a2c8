"""The rows of a comparison: one cell and metric with ratio, interval, p and verdict. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from harness.analysis.stats import Interval
from harness.compare.cells import CellFigures

Verdict = Literal["faster", "slower", "~", "too few trials", "too few blocks", "too few runs", "MISSING", "invalid"]

METRICS: Mapping[str, Literal["higher", "lower"]] = {
    "rps": "higher",
    "p50_ms": "lower",
    "p95_ms": "lower",
    "p99_ms": "lower",
}
"""The compared columns, and which direction is better. Not max_ms: it grows with the number of requests."""

LEAST_REFUSED = 0.001
"""If the shares of requests that were not acknowledged differ by more, the latencies are not comparable.

A smaller difference is at most a tenth of the requests beyond the p99."""

ALL_METRICS = "all"
"""The metric of a row about the whole cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cell and metric. `ratio` is median B / median A; `n_a` and `n_b` count the valid trials with the figure.

    With several runs a side, each run is one observation, and the medians are geometric means of the runs' medians.
    `p` is corrected over the comparison, None where the trials are too few for the test. `floor`: no smaller ratio is
    called a difference. `new`: only B has the cell, so nothing can be worse than in A.
    """

    cell: str
    metric: str
    n_a: int
    n_b: int
    verdict: Verdict
    median_a: float | None = None
    median_b: float | None = None
    ratio: Interval | None = None
    p: float | None = None
    floor: float = 1.0
    note: str = ""
    new: bool = False

    @property
    def change(self) -> float:
        """The difference of B from A as a share of A: 0.05 for 5 % more or less. 0 without a ratio."""
        return abs(self.ratio.value - 1) if self.ratio else 0.0

    @property
    def loss_at_most(self) -> float:
        """How much worse than A, as a share, B may be: the bad end of the interval, or the floor where it is larger."""
        if self.ratio is None:
            return math.inf
        loss = 1 - self.ratio.low if METRICS.get(self.metric) == "higher" else self.ratio.high - 1
        return loss if self.verdict == "faster" else max(loss, self.floor - 1)


def refused_shares(a: CellFigures, b: CellFigures) -> tuple[float, float] | None:
    """Returns the median shares of requests not acknowledged, if one is larger than in any trial of the other side."""
    if not a.refused or not b.refused:
        return None
    one, other = statistics.median(a.refused), statistics.median(b.refused)
    rose, fell = other > max(a.refused) + LEAST_REFUSED, one > max(b.refused) + LEAST_REFUSED
    return (one, other) if rose or fell else None


def of_equal_work(row: Row, refused: tuple[float, float] | None, metrics: Mapping[str, str]) -> Row:
    """Returns the row; a latency that favours the side with more rejections becomes invalid.

    A rejection is quick, and it leaves less work for the other requests.
    """
    if refused is None or metrics.get(row.metric) != "lower":
        return row
    in_favour = ("faster", "~") if refused[1] > refused[0] else ("slower",)
    return replace(row, verdict="invalid", note=acknowledged(*refused)) if row.verdict in in_favour else row


def acknowledged(a: float, b: float) -> str:
    return f"A acknowledged {1 - a:.2%} of its requests, B {1 - b:.2%}"
