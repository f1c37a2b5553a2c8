"""The rows of a comparison: one cell and metric with ratio, interval, p and verdict. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.analysis.stats import Interval
from harness.compare.cells import CellFigures

Verdict = Literal[
    "faster", "slower", "~", "too few trials", "too few blocks", "too few runs", "MISSING", "invalid", "shown"
]
"""`shown`: the figures of both sides, about which nothing is claimed."""

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

LEAST_OFFERED = 0.01
"""If the rates offered to the two sides differ by a larger share, the latencies are not comparable.

At 70 % of the capacity, 1 % more load makes the mean latency 2.3 % longer (M/M/1: 1 / (capacity - load))."""

OMITS_STALLS = "closed loop: omits stalls"
"""Why a latency is only shown."""

ABOUT_SHOWN = (
    "latencies of a closed loop omit the stalls that its clients wait through (coordinated omission): they are shown, "
    "not compared"
)

ALL_METRICS = "all"
"""The metric of a row about the whole cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cell and metric. `ratio` is median B / median A; `n_a` and `n_b` count the valid trials with the figure.

    With several runs a side (`of_runs`), each run is one observation, and the medians are geometric means of the runs'
    medians; the interval is Student's t, which holds for few runs too.
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
    of_runs: bool = False

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LessWork:
    """The side that did less work than the other, and how much both did."""

    side: Literal["A", "B"]
    reason: str


def less_work(a: CellFigures, b: CellFigures) -> tuple[LessWork, ...]:
    """Returns where a side refused more requests, or was offered fewer, than the other did or was in any trial."""
    found = []
    if a.refused and b.refused:
        one, other = statistics.median(a.refused), statistics.median(b.refused)
        reason = f"A acknowledged {1 - one:.2%} of its requests, B {1 - other:.2%}"
        if other > max(a.refused) + LEAST_REFUSED:
            found.append(LessWork(side="B", reason=reason))
        elif one > max(b.refused) + LEAST_REFUSED:
            found.append(LessWork(side="A", reason=reason))
    if a.offered and b.offered:
        one, other = statistics.median(a.offered), statistics.median(b.offered)
        reason = f"A was offered {one:,.0f} requests/s, B {other:,.0f}: --rate R offers both the same"
        if other * (1 + LEAST_OFFERED) < min(a.offered):
            found.append(LessWork(side="B", reason=reason))
        elif one * (1 + LEAST_OFFERED) < min(b.offered):
            found.append(LessWork(side="A", reason=reason))
    return tuple(found)


def of_equal_work(row: Row, uneven: Sequence[LessWork], metrics: Mapping[str, str]) -> Row:
    """Returns the row; a latency that favours the side with less work becomes invalid.

    A rejection is quick, and it leaves less work for the other requests; so does a lower rate.
    """
    if metrics.get(row.metric) != "lower":
        return row
    for one in uneven:
        if row.verdict in (("faster", "~") if one.side == "B" else ("slower",)):
            return replace(row, verdict="invalid", note=one.reason)
    return row
