"""Invalid trials that were not replaced by a valid one, and trials whose load was not steady. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from harness.record import TrialResult


def unreplaced(rows: Iterable[TrialResult]) -> list[TrialResult]:
    """The invalid trials that were not replaced by a valid one of the same cell and number."""
    rows = list(rows)
    valid = {(row.cell.name, row.trial.number) for row in rows if row.valid}
    return [row for row in rows if not row.valid and (row.cell.name, row.trial.number) not in valid]


def unsteady(rows: Iterable[TrialResult]) -> list[str]:
    """A sentence for each cell with valid trials whose load was not steady."""
    warnings = []
    for name, cell_rows in _warmed_up(rows).items():
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
