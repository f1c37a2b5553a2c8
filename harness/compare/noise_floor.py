"""The noise floor: the ratio within which two identical runs on one rig differ (`bench --aa N`). Pure.

`bench --aa N` makes N runs of the same thing in separate sessions. Sessions differ (placement in memory, hour,
neighbours), and trials within a run do not show by how much: the trials of one run are alike and those of another are
not. So a run is one observation of each figure, the median of its trials. The logarithms of the N medians have the
standard deviation s; the floor is the distance, in units of s x sqrt(2), beyond which two further runs differ in 5 % of
cases, over all figures measured together and for sessions with heavy tails (a prediction interval, see
harness/analysis/run_spread.py). It is at least `LEAST_FLOOR`.

A floor maps `metric cell` to a ratio of 1 or more, `metric` alone to the largest ratio of all cells, `runs cell` to the
number of runs of that cell, and `trials cell` to the fewest trials of one of them: medians of fewer differ by more.
Without `runs cell` it comes from an earlier version, which compared two halves of one session: it says nothing about
two sessions.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.run_spread import prediction_factor
from harness.analysis.stats import fold
from harness.compare.cells import CellFigures, RunData, by_cell, checked_figure
from harness.plan.options import AA_RUNS

LEAST_FLOOR = 1.02
"""No smaller ratio is reported as a difference: a reboot alone can cause it."""
ASSUMED_FLOOR = 1.05
"""No smaller ratio is reported as a difference for a cell whose noise between runs has not been measured."""
ONE_SESSION = 2.0
"""No smaller ratio between two runs is reported as a difference for a cell whose noise between runs is not known.

Six identical runs of PostgreSQL differed by 1.67 elsewhere (HammerDB, issue 822), and the quiet and the busy hours of
one machine of ours by 1.84. Two is the next round number; with less, the difference may be the session."""
LARGEST_LOG = 20.0
"""A floor of more than e^20 is stored as that: no ratio is beyond it, and it is a number that files can hold."""
_RUNS, _TRIALS = "runs", "trials"

Floor = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFloors:
    """The known floors, each with its source: `run A`, `rig 'local'`."""

    floors: Sequence[tuple[str, Floor]]

    def of(self, cell: str, metric: str) -> tuple[float, str]:
        """Returns the ratio that holds for the cell's metric, with its source ("": assumed).

        It is the largest that was measured for the cell between runs. A cell without one keeps the larger of what is
        known (of it, or of other cells) and the assumed ratio. Raises FormatError for an impossible ratio.
        """
        between = [(source, floor) for source, floor in self.floors if _is_between_runs(floor, cell, metric)]
        ratios = [(ASSUMED_FLOOR, "")] if not between else []
        for source, floor in between or self.floors:
            stored = floor.get(f"{metric} {cell}", floor.get(metric))
            ratio = checked_figure(stored, source.removeprefix("run "), "noise_floor", metric)
            if ratio:
                ratios.append((max(fold(ratio), LEAST_FLOOR), source))
        return max(ratios, key=lambda one: one[0], default=(ASSUMED_FLOOR, ""))

    def trials(self, cell: str) -> int:
        """Returns the fewest trials of a run behind the floors of the cell; 0 where that is not known."""
        known = [floor.get(f"{_TRIALS} {cell}", 0.0) for _, floor in self.floors if f"{_RUNS} {cell}" in floor]
        return int(min((number for number in known if number >= 1), default=0))

    def between_runs(self, cell: str, metric: str) -> bool:
        """Returns whether the cell's metric was measured in several runs: `of` then holds for two single runs."""
        return any(_is_between_runs(floor, cell, metric) for _, floor in self.floors)


def _is_between_runs(floor: Floor, cell: str, metric: str) -> bool:
    return floor.get(f"{_RUNS} {cell}", 0) >= AA_RUNS and f"{metric} {cell}" in floor


def measured_floor(
    runs: Sequence[RunData], metrics: Iterable[str], *, wrong: Collection[str] = ()
) -> tuple[dict[str, float], list[str]]:
    """Returns the floor from identical runs, and why cells have none. Only figures that can be claimed have one.

    `wrong`: cells (by `comparable_name`) that failed a check; their figures mean nothing. The second value has one
    sentence per reason. Raises FormatError for an impossible figure.
    """
    metrics = tuple(metrics)
    sides = [by_cell(run, metrics) for run in runs]
    medians: dict[str, dict[str, list[float]]] = {}
    trials: dict[str, int] = {}
    without: dict[str, str] = {}
    for cell in dict.fromkeys(cell for side in sides for cell in side):
        measured = [side[cell] for side in sides if cell in side and side[cell].valid]
        if cell in wrong:
            without[cell] = "it failed a check, alone or together with other cells"
        elif len(measured) < AA_RUNS:
            without[cell] = f"valid trials in {len(measured)} of {len(runs)} runs, {AA_RUNS} are needed"
        else:
            trials[cell] = min(side.valid for side in measured)
            medians[cell] = {
                metric: of_runs
                for metric in metrics
                if metric in measured[0].claimed and len(of_runs := _medians(measured, metric)) >= AA_RUNS
            }
    together = sum(len(of_metric) for of_metric in medians.values())
    floor: dict[str, float] = {}
    for cell, of_metric in medians.items():
        floor |= {f"{metric} {cell}": _distance(values, together) for metric, values in of_metric.items()}
        if of_metric:
            floor[f"{_RUNS} {cell}"] = float(min(map(len, of_metric.values())))
            floor[f"{_TRIALS} {cell}"] = float(trials[cell])
    reasons = Counter(without.values())
    first = {why: cell for cell, why in reversed(without.items())}
    sentences = [f"{first[why]}{f' and {n - 1} more' if n > 1 else ''}: {why}" for why, n in reasons.items()]
    return with_largest(floor), sentences


def _medians(runs: Sequence[CellFigures], metric: str) -> list[float]:
    """Returns the median of each run that has the figure; none where one is 0, which has no ratio."""
    medians = [statistics.median(values) for run in runs if (values := run.values[metric])]
    return medians if min(medians, default=0) > 0 else []


def _distance(medians: Sequence[float], figures: int) -> float:
    """Returns the ratio that two further runs seldom reach; `figures`: those that are judged together."""
    spread = statistics.stdev(map(math.log, medians))
    reach = prediction_factor(len(medians), figures) * math.sqrt(2) * spread
    return max(LEAST_FLOOR, math.exp(min(reach, LARGEST_LOG)))


def with_largest(floor: Floor) -> dict[str, float]:
    """Returns the floors of cells with the largest ratio of each metric."""
    cells = {key: ratio for key, ratio in floor.items() if " " in key}
    largest: dict[str, float] = {}
    for key, ratio in cells.items():
        metric = key.split(" ")[0]
        if metric not in (_RUNS, _TRIALS):
            largest[metric] = max(ratio, largest.get(metric, 1.0))
    return largest | cells


def trials_of(floor: Floor) -> dict[str, int]:
    """Returns the fewest trials of a run by cell."""
    return {key.removeprefix(f"{_TRIALS} "): int(n) for key, n in floor.items() if key.startswith(f"{_TRIALS} ")}


def figures_of(floor: Floor) -> list[tuple[str, str, float]]:
    """Returns the ratios as (metric, cell or "", ratio), without the numbers of runs and trials."""
    parts = [(*key.partition(" ")[::2], ratio) for key, ratio in floor.items()]
    return [(metric, cell, ratio) for metric, cell, ratio in parts if metric not in (_RUNS, _TRIALS)]
