"""The ratio of a figure between two cells of a run, taken within each block, and on which side of a bound it is. Pure.

A block is one repetition of all cells (`Trial.number`). What changes from block to block changes both sides of a ratio
and cancels. The value is the median of the Walsh averages, the interval that of harness/analysis/paired.py.

Simulated with the noises of `./run selfbench trust`, 6 blocks of six cells: the interval holds the true ratio in 96 to
98 of 100 runs. That of medians of trials resampled apart holds it in 95 to 100, and is 3.5 times as wide beside drift
of 0.5 % per trial and 1.3 times beside autocorrelation, but 0.7 to 0.8 times where trials are independent. Student's t
over the logarithms is a fifth narrower, holds it in 94 to 98, and where one trial of twenty takes twice as long decides
less often (57 against 73 of 100). With 5 blocks the signed rank test allows no 95 % interval; the range of their ratios
holds the true one in 91 to 97.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.analysis import paired
from harness.analysis.stats import Interval
from harness.record import TrialResult
from harness.text import plural

INTERVAL_BLOCKS = paired.blocks_needed(1)
"""Blocks that a 95 % interval needs, and so the trials of each cell that a criterion compares."""

Blocks = Mapping[int, float | None]
"""Block -> the figure of its trial; None where no trial of the block has valid times and the figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRatio:
    """b / a over the blocks in which both sides have a figure: at least one.

    `ratios`: by block. `measured`: blocks in which both have a trial, valid or not. `interval`: None with fewer than
    `INTERVAL_BLOCKS` ratios.
    """

    value: float
    ratios: tuple[float, ...]
    measured: int
    interval: Interval | None = None

    @property
    def incomplete(self) -> bool:
        """Whether there is no interval and trials are invalid, so that few ratios would speak for all blocks."""
        return self.interval is None and (self.measured >= INTERVAL_BLOCKS or len(self.ratios) < self.measured)

    def reaches(self, bound: float) -> bool | None:
        """Whether the ratio is at least `bound`; None where the blocks do not show it.

        The whole interval must be on one side. A bench of fewer blocks (--quick measures one) has no interval: all its
        ratios must be on one side.
        """
        if self.incomplete:
            return None
        ends = (self.interval.low, self.interval.high) if self.interval else (min(self.ratios), max(self.ratios))
        low, high = (end >= bound for end in ends)
        return low if low == high else None

    @property
    def doubt(self) -> str:
        """Why the blocks do not show on which side of a bound the ratio is, where `reaches` returns None."""
        if self.incomplete:
            needs = f", an interval needs {INTERVAL_BLOCKS}" if self.measured >= INTERVAL_BLOCKS else ""
            return f"{len(self.ratios)} of {self.measured} blocks have valid trials of both{needs}"
        if self.interval is None:
            return f"the ratios of {plural(len(self.ratios), 'block')} are on both sides of the bound"
        return "the interval includes the bound"

    @property
    def basis(self) -> str:
        """What the value rests on: ` [7.02, 7.90]`, or the number of blocks where there is no interval."""
        if self.interval:
            return f" [{self.interval.low:.2f}, {self.interval.high:.2f}]"
        return f" (no interval: {plural(len(self.ratios), 'block')})"


def by_block(values: Iterable[tuple[TrialResult, float | None]]) -> dict[int, float | None]:
    """Returns the figure of a cell by block, from its trials with their figure.

    A trial that was measured once more takes the place of an invalid one.
    """
    blocks: dict[int, float | None] = {}
    for row, value in sorted(values, key=lambda each: each[0].trial.order):
        known = value if row.times_valid else None
        blocks[row.trial.number] = blocks.get(row.trial.number) if known is None else known
    return blocks


def ratio(a: Blocks, b: Blocks) -> BlockRatio | None:
    """Returns b / a; None where no block has a positive figure of `a` and a figure of `b`."""
    both = sorted(a.keys() & b.keys())
    known = [(x, y) for x, y in ((a[block], b[block]) for block in both) if x and y is not None]
    if not known:
        return None
    ratios = tuple(y / x for x, y in known)
    logs = [math.log(one) if one else -math.inf for one in ratios]
    within = paired.interval(logs)
    return BlockRatio(
        value=math.exp(paired.estimate(logs)) if len(ratios) > 1 else ratios[0],
        ratios=ratios,
        measured=len(both),
        interval=within
        and Interval(value=math.exp(within.value), low=math.exp(within.low), high=math.exp(within.high)),
    )
