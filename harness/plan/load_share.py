"""Open cells whose rate is a share of what a closed cell reached in the same block. Pure.

Latencies of a closed loop omit stalls. Those of an open one depend on its rate, and no fixed rate suits every rig. So
the rate is a share of the closed cell's, which is known when the trial begins. A trial is stored with the rate it used.
The variants of a block are all offered the same: the share of what the baseline reached in that block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.model import Cell, Trial
from harness.plan.variants import without_variant
from harness.record import TrialResult

SHARE = 0.7
"""Below saturation, where a queue would grow for as long as the load lasts."""
OF_OPEN = ("rate_share", "fault", "without", "seed", "retries")
"""Params that an open cell has and its closed one has not."""
CLIENTS_OF_CLOSED = 4
"""Most connections of the open cell for each client of the closed one; a stall needs more than are busy on average."""


def open_cell(closed: Cell, seconds: float, *, share: float = SHARE, **params: object) -> Cell:
    """Returns the open cell at a share of the rate of a closed one. `params`: see OF_OPEN."""
    return replace(
        closed,
        mode="open",
        rate=None,
        clients=CLIENTS_OF_CLOSED * closed.clients,
        requests=None,
        seconds=seconds,
        params={**closed.params, "rate_share": share, **params},
    )


def is_closed_cell_of(open_one: Cell, other: Cell) -> bool:
    """Whether the rate of `other` sets that of `open_one`: they differ in the load alone, and in the variant."""
    return (
        open_one.rate_share is not None and other.mode == "closed" and _without_load(open_one) == _without_load(other)
    )


def _without_load(cell: Cell) -> Cell:
    cell = without_variant(cell)
    params = {name: value for name, value in cell.params.items() if name not in OF_OPEN}
    return replace(cell, mode="closed", rate=None, clients=0, requests=None, seconds=None, params=params)


def after_closed(cells: Sequence[Cell]) -> list[Cell]:
    """Returns the cells of a block in their order, each open one moved right behind its closed one."""
    ordered: list[Cell] = []
    for cell in cells:
        if cell.rate_share is None:
            ordered += [cell, *(one for one in cells if is_closed_cell_of(one, cell))]
    return ordered


def with_rate(trial: Trial, results: Iterable[TrialResult], *, baseline: str = "") -> Trial:
    """Returns the trial with its rate: the share of what its closed cell reached in the latest trial with this number.

    `baseline`: the name of the variant whose closed cell it is; empty without variants. The rate is 0 where the closed
    cell reached none, so nothing can be offered.
    """
    share = trial.cell.rate_share
    if share is None or trial.cell.rate is not None:
        return trial
    closed = closed_trial_of(trial, results, baseline=baseline)
    rate = (closed.figure("rps") or 0.0) if closed else 0.0
    return replace(trial, cell=replace(trial.cell, rate=round(share * rate, 1)))


def closed_trial_of(trial: Trial, results: Iterable[TrialResult], *, baseline: str = "") -> TrialResult | None:
    """Returns the latest closed trial whose rate sets that of the open one; None without one, and for other trials."""
    found = [
        row
        for row in results
        if row.trial.number == trial.number and row.cell.variant == baseline and is_closed_cell_of(trial.cell, row.cell)
    ]
    return found[-1] if found else None


def with_doubt_of(result: TrialResult, closed: TrialResult | None) -> TrialResult:
    """Returns the result of an open trial; its times do not count where the closed trial that set its rate is invalid.

    Other programs may have halved that rate, and at half the load any latency looks good.
    """
    if closed is None or closed.valid or not result.times_valid:
        return result
    reason = f"its rate is a share of what trial {closed.trial.order} reached, which does not count: {closed.reason}"
    return replace(result, validity="generator_bound", reasons=(reason,))


def as_planned(trial: Trial) -> Trial:
    """Returns a stored trial as it was planned: without the rate that the results decided."""
    return trial if trial.cell.rate_share is None else replace(trial, cell=replace(trial.cell, rate=None))
