"""The noise floor: the difference between two identical measurements on one rig (`bench --aa`). Pure.

The two measurements follow each other like two runs, so they contain the drift between runs, which interleaved trials
would cancel. One ratio of medians is a single sample and may be small by chance. So the noise floor is the far end of
its 95 % interval, and at least `LEAST_FLOOR`.

A floor maps `metric cell` to a ratio of 1 or more, and `metric` alone to the largest ratio of all cells, which holds
for cells that were never measured twice.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analysis.stats import CLAIM_TRIALS, fold, ratio_of_medians
from harness.compare.cells import RunData, by_cell, checked_figure

LEAST_FLOOR = 1.02
"""No smaller ratio is reported as a difference: a reboot alone can cause it."""
ASSUMED_FLOOR = 1.05
"""No smaller ratio is reported as a difference as long as the noise floor of the rig has not been measured."""
HALF_TRIALS = CLAIM_TRIALS
"""Valid trials of a cell that each of the two measurements needs; with fewer the interval is too narrow."""

Floor = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFloors:
    """The known floors, each with its source: `run A`, `rig 'local'`."""

    floors: Sequence[tuple[str, Floor]]

    def of(self, cell: str, metric: str) -> tuple[float, str]:
        """Returns the largest ratio for the cell's metric with its source; if there is none, the assumed ratio and "".

        Raises FormatError for an impossible ratio.
        """
        ratios = []
        for source, floor in self.floors:
            stored = floor.get(f"{metric} {cell}", floor.get(metric))
            ratio = checked_figure(stored, source.removeprefix("run "), "noise_floor", metric)
            if ratio:
                ratios.append((max(fold(ratio), LEAST_FLOOR), source))
        return max(ratios, key=lambda one: one[0], default=(ASSUMED_FLOOR, ""))


def measured_floor(
    run: RunData, metrics: Iterable[str], *, half: int, wrong: Collection[str] = ()
) -> tuple[dict[str, float], list[str]]:
    """Returns the floor from an A/A run, whose trials 1 to `half` were measured first, and why cells have none.

    `wrong`: cells (by `comparable_name`) that failed a check; their figures mean nothing. The second value has one
    sentence per reason. Raises FormatError for an impossible figure.
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
            without[cell] = "it failed a check, alone or together with other cells"
        elif min(valid) < HALF_TRIALS:
            counts = f"{valid[0]} and {valid[1]}"
            without[cell] = f"{counts} valid trials, {HALF_TRIALS} and {HALF_TRIALS} are needed (--repeat)"
        else:
            floor |= _of_cell(cell, one[cell].values, other[cell].values)
    reasons = Counter(without.values())
    first = {why: cell for cell, why in reversed(without.items())}
    sentences = [f"{first[why]}{f' and {n - 1} more' if n > 1 else ''}: {why}" for why, n in reasons.items()]
    return with_largest(floor), sentences


def _of_cell(
    cell: str, one: Mapping[str, Collection[float]], other: Mapping[str, Collection[float]]
) -> dict[str, float]:
    floor = {}
    for metric in one:
        left, right = list(one[metric]), list(other[metric])
        if min(len(left), len(right)) < HALF_TRIALS or min(*left, *right) <= 0:
            continue  # too few trials have the figure, or it is 0 and has no ratio
        ratio = ratio_of_medians(left, right, seed=zlib.crc32(f"{cell} {metric}".encode()))
        floor[f"{metric} {cell}"] = max(LEAST_FLOOR, fold(ratio.low), fold(ratio.high))
    return floor


def with_largest(floor: Floor) -> dict[str, float]:
    """Returns the floors of cells with the largest ratio of each metric."""
    cells = {key: ratio for key, ratio in floor.items() if " " in key}
    largest: dict[str, float] = {}
    for key, ratio in cells.items():
        metric = key.split(" ")[0]
        largest[metric] = max(ratio, largest.get(metric, 1.0))
    return largest | cells
