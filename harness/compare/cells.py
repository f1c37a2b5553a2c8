"""Groups stored trials into cells with their figures: the input of a comparison.

An absent figure is left out. A figure that cannot have been measured is an error, because the
median of the rest of a damaged file would look like any other.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.trial_validity import never_steady
from harness.compare.environment import PlainData
from harness.errors import FormatError
from harness.model import Cell
from harness.record import TrialResult

_LARGEST = 1e15
"""A larger figure is damage: as milliseconds it would be 30,000 years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """A stored run as a comparison needs it: the manifest as plain data, and the rows of trials.csv."""

    run_id: str
    manifest: PlainData
    rows: Sequence[TrialResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFigures:
    """The figures by metric of a cell's trials with valid times, and the number of such trials.

    `refused`: the share of the requests that were not acknowledged, one value per trial. `unsteady`: there is none
    left, because no trial was in a steady state; `wrong`: because the cell failed a check. `claimed`: the metrics whose
    differences can be claimed; `offered`: requests per second that each trial was offered, where the run decided that.
    """

    values: Mapping[str, Sequence[float]]
    valid: int
    refused: Sequence[float]
    unsteady: bool = False
    wrong: bool = False
    claimed: frozenset[str] = frozenset()
    offered: Sequence[float] = ()


def is_claimed(cell: Cell, metric: str) -> bool:
    """Whether a difference of the metric can be claimed: rates of closed loads, latencies that omit no stalls.

    The rate of an open load is what was offered. The latencies of a closed one omit the stalls that its clients wait
    through (coordinated omission), so two of them may be equal where one service stalls and the other does not.
    """
    return cell.mode == "closed" if metric == "rps" else not cell.omits_stalls


def by_cell(run: RunData, metrics: Iterable[str], wrong: Collection[str] = ()) -> dict[str, CellFigures]:
    """Returns the cells of a run in the order of their first trial. Raises FormatError for an impossible figure.

    `wrong`: comparable names of cells that failed a check; none of their trials counts.
    """
    grouped: dict[str, list[TrialResult]] = {}
    for row in run.rows:
        grouped.setdefault(comparable_name(row.cell), []).append(row)
    cells = {}
    for name, rows in grouped.items():
        timed = [row for row in rows if row.times_valid]
        unsteady = never_steady(timed)
        valid = [] if unsteady or name in wrong else timed
        values = {
            metric: [
                figure
                for row in valid
                if not (metric == "rps" and row.cell.mode == "open")  # the load that was offered, no result
                if (figure := checked_figure(row.figure(metric), run.run_id, name, metric)) is not None
            ]
            for metric in metrics
        }
        counts = [[checked_figure(row.figure(key), run.run_id, name, key) for key in ("sent", "ok")] for row in valid]
        refused = [max(0.0, 1 - ok / sent) for sent, ok in counts if sent and ok is not None]
        cells[name] = CellFigures(
            values=values,
            valid=len(valid),
            refused=refused,
            unsteady=unsteady,
            wrong=name in wrong,
            claimed=frozenset(metric for metric in values if is_claimed(rows[0].cell, metric)),
            offered=[row.cell.rate for row in valid if row.cell.rate_share is not None and row.cell.rate],
        )
    return cells


def by_run(
    runs: Sequence[RunData], metrics: Iterable[str], wrong: Mapping[str, Collection[str]]
) -> dict[str, CellFigures]:
    """Returns the cells of several runs, each run one observation: the median of its trials; `valid` counts runs.

    `wrong`: run id -> cells that failed a check in that run.
    """
    metrics = tuple(metrics)
    found: dict[str, list[CellFigures]] = {}
    for run in runs:
        for name, figures in by_cell(run, metrics, wrong.get(run.run_id, ())).items():
            found.setdefault(name, []).append(figures)
    return {
        name: CellFigures(
            values={
                metric: [statistics.median(values) for one in of_runs if (values := one.values[metric])]
                for metric in metrics
            },
            valid=sum(one.valid > 0 for one in of_runs),
            refused=[statistics.median(one.refused) for one in of_runs if one.refused],
            unsteady=all(one.unsteady for one in of_runs),
            wrong=all(one.wrong for one in of_runs),
            claimed=of_runs[0].claimed,
            offered=[statistics.median(one.offered) for one in of_runs if one.offered],
        )
        for name, of_runs in found.items()
    }


def comparable_name(cell: Cell) -> str:
    """Returns the name that identifies a measurement in two runs: the cell's name, its connections, the trial's size.

    The connections of an open load bound the requests in flight, so a stall looks longer with fewer; those of a closed
    one are in the cell's name. The size is the number of requests, or else the seconds: the latencies of 1,000
    simultaneous requests are not those of 100, and a trial of half a second has no checkpoint.
    """
    name = cell.name if cell.mode == "closed" else f"{cell.name}.c{cell.clients}"
    if cell.requests is not None:
        return f"{name}.n{cell.requests}"
    return f"{name}.s{cell.seconds:.15g}" if cell.seconds is not None else name


def checked_figure(value: float | None, run_id: str, cell: str, metric: str) -> float | None:
    """Returns a stored figure, or None where there is none. Raises FormatError for one that cannot be measured."""
    if value is None or 0 <= value < _LARGEST:
        return value
    raise FormatError(
        f"run {run_id}, {cell}: {metric} is {value!r:.40}, which is not a valid measurement",
        hint="the stored file is damaged: copy the run again from where it was measured",
    )
