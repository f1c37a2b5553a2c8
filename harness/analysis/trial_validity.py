"""Invalid trials that were not replaced by a valid one, and trials whose load was not steady. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from harness.record import TrialResult
from harness.text import plural


def unreplaced(rows: Iterable[TrialResult]) -> list[TrialResult]:
    """The invalid trials that were not replaced by a valid one of the same cell and number.

    A trial whose load host is killed on purpose is invalid as it should be.
    """
    rows = [row for row in rows if row.cell.params.get("fault") != "load-host-kill"]
    again = replaced(rows)
    return [row for row in rows if not row.valid and row.trial.order not in again]


def replaced(rows: Iterable[TrialResult]) -> set[int]:
    """The invalid trials, by order, of whose cell and number there is a valid one."""
    rows = list(rows)
    valid = {(row.cell.name, row.trial.number) for row in rows if row.valid}
    return {row.trial.order for row in rows if not row.valid and (row.cell.name, row.trial.number) in valid}


WARMUP_S = "warmup_s"
"""The param of a cell whose warm-up has a fixed length, in seconds."""


def unsteady(rows: Iterable[TrialResult]) -> list[str]:
    """A sentence for each cell with valid trials whose load was not steady, one for all with a short warm-up."""
    cells = _warmed_up(rows)
    short = {name for name, of in cells.items() if WARMUP_S in of[0].cell.params and not any(row.steady for row in of)}
    warnings = []
    if short:
        seconds = max(cells[name][0].cell.params[WARMUP_S] for name in short)
        warnings.append(
            f"the times of {plural(len(short), 'cell')} are reported only: a warm-up of {seconds:g} s (--quick) is too "
            "short to show a steady state"
        )
    for name, cell_rows in cells.items():
        if name in short:
            continue
        began = [row.steady for row in cell_rows]
        if not all(began):
            some = f"{began.count(False)} of {len(began)} trials"
            warnings.append(
                f"{name}: {some} were not steady: throughput or p95 changed at the end of the warm-up, or throughput "
                "during the measured phase"
            )
    return warnings


def never_steady(rows: Iterable[TrialResult]) -> bool:
    """Whether some cell has valid trials with a warm-up, and none of them was in a steady state."""
    return any(not any(row.steady for row in cell_rows) for cell_rows in _warmed_up(rows).values())


def _warmed_up(rows: Iterable[TrialResult]) -> dict[str, list[TrialResult]]:
    """Cell -> its valid trials that had a warm-up."""
    cells: dict[str, list[TrialResult]] = {}
    for row in rows:
        if row.valid and row.steady is not None:
            cells.setdefault(row.cell.name, []).append(row)
    return cells
