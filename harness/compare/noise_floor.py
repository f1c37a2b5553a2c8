"""The noise floor: how far apart the same thing, measured twice on one rig, comes out (`bench --aa`). Pure.

The two measurements follow each other as two runs do: what drifts from one run to the next drifts from one to the
other too, where interleaved trials would cancel it. One ratio of medians is one draw, and may be a lucky one; so the
far end of its 95 % interval is what counts, and never less than `LEAST_FLOOR`.

A floor maps `metric cell` to a ratio of 1 or more, and `metric` alone to the largest of all its cells, which is what
holds for a cell that was never measured twice.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analysis.stats import CLAIM_TRIALS, fold, ratio_of_medians
from harness.compare.cells import RunData, by_cell, checked_figure

LEAST_FLOOR = 1.02
"""No smaller ratio is ever called a difference: machines that were rebooted or moved a little differ by as much."""
ASSUMED_FLOOR = 1.05
"""Ratio below which nothing is called a difference while the rig's own noise floor has not been measured."""
HALF_TRIALS = CLAIM_TRIALS
"""Valid trials of a cell that each of the two measurements needs: the interval of fewer is too narrow."""

Floor = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The floors that are known, each after where from: `run A`, `rig 'local'`."""

    floors: Sequence[tuple[str, Floor]]

    def of(self, cell: str, metric: str) -> tuple[float, str]:
        """The largest ratio that any of them has for the cell's metric, and its source; where none has one, the
        assumed ratio and no source. FormatError for a ratio that cannot be one.
        """
        found = []
        for source, floor in self.floors:
            stored = floor.get(f"{metric} {cell}", floor.get(metric))
            ratio = checked_figure(stored, source.removeprefix("run "), "noise_floor", metric)
            if ratio:
                found.append((max(fold(ratio), LEAST_FLOOR), source))
        return max(found, key=lambda one: one[0], default=(ASSUMED_FLOOR, ""))


def measured_floor(
    run: RunData, metrics: Iterable[str], *, half: int, wrong: Collection[str] = ()
) -> tuple[dict[str, float], list[str]]:
    """The floor from an A/A run whose trials 1 to `half` were measured before the others, and the cells without one.

    `wrong`: cells (by `comparable_name`) that failed a check; their figures mean nothing. The second value holds one
    sentence for each reason. Raises FormatError for an impossible figure.
    """
    halves = [
        replace(run, rows=[row for row in run.rows if (row.trial.number <= half) == first]) for first in (True, False)
    ]
    metrics = tuple(metrics)
    one, other = (by_cell(side, metrics) for side in halves)
    floor: dict[str, float] = {}
    without: dict[str, str] = {}
    for cell in dict.fromkeys([*one, *other]):
        valid = [side[cell].valid if cell in side else 0 for side in (one, other)]
        if cell in wrong:
            without[cell] = "it failed a check, alone or with others"
        elif min(valid) < HALF_TRIALS:
            counts = f"{valid[0]} and {valid[1]}"
            without[cell] = f"{counts} valid trials, {HALF_TRIALS} and {HALF_TRIALS} needed (--repeat)"
        else:
            floor |= _of_cell(cell, one[cell].values, other[cell].values)
    reasons = Counter(without.values())
    first = {why: cell for cell, why in reversed(without.items())}
    said = [f"{first[why]}{f' and {n - 1} more' if n > 1 else ''}: {why}" for why, n in reasons.items()]
    return with_largest(floor), said


def _of_cell(
    cell: str, one: Mapping[str, Collection[float]], other: Mapping[str, Collection[float]]
) -> dict[str, float]:
    floor = {}
    for metric in one:
        left, right = list(one[metric]), list(other[metric])
        if min(len(left), len(right)) < HALF_TRIALS or min(*left, *right) <= 0:
            continue  # too few carry it, or a figure of 0 has no ratio
        ratio = ratio_of_medians(left, right, seed=zlib.crc32(f"{cell} {metric}".encode()))
        floor[f"{metric} {cell}"] = max(LEAST_FLOOR, fold(ratio.low), fold(ratio.high))
    return floor


def with_largest(floor: Floor) -> dict[str, float]:
    """The floor of cells, and by metric alone the largest of them."""
    cells = {key: ratio for key, ratio in floor.items() if " " in key}
    largest: dict[str, float] = {}
    for key, ratio in cells.items():
        metric = key.split(" ")[0]
        largest[metric] = max(ratio, largest.get(metric, 1.0))
    return largest | cells
