"""What a reader must know about the noise floors that a comparison used. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.compare.noise_floor import ONE_SESSION, KnownFloors
from harness.compare.rows import Row


def sources(rows: Sequence[Row], known: KnownFloors, *, several: bool) -> tuple[str, ...]:
    """Returns where the floors of the tested rows come from; none: they are assumed."""
    if several:
        return ("beside the spread of the runs",)
    found = [known.of(row.cell, row.metric)[1] for row in rows if row.p is not None]
    return tuple(dict.fromkeys(source for source in found if source))


def unmeasured(rows: Sequence[Row], known: KnownFloors, *, several: bool) -> Iterator[str]:
    """Names the cells of single runs for which no difference between sessions was measured."""
    cells = dict.fromkeys(
        row.cell for row in rows if row.p is not None and not known.between_runs(row.cell, row.metric)
    )
    if cells and not several:
        first, *more = cells
        yield (
            f"one session a side, and how far sessions of this rig differ was not measured for {first}"
            f"{f' and {len(more)} more' if more else ''}: only ratios beyond {ONE_SESSION:g} are shown there. "
            "`bench --aa 5` measures it; several runs a side (compare A1,A2,A3 B1,B2,B3) are judged by their own "
            "spread; variants of one run (bench --vary) need neither"
        )


def fewer_trials(rows: Sequence[Row], known: KnownFloors, *, several: bool) -> Iterator[str]:
    """Names the cells with fewer trials than the runs that their floor was measured with: their medians vary more."""
    fewer = {
        row.cell: (min(row.n_a, row.n_b), floor_trials)
        for row in rows
        if row.p is not None and min(row.n_a, row.n_b) < (floor_trials := known.trials(row.cell))
    }
    if fewer and not several:
        (cell, (here, there)), *more = fewer.items()
        yield (
            f"the noise floor of {cell}{f' and {len(more)} more' if more else ''} is that of runs of {there} trials, "
            f"and {here} a side are compared here, whose medians differ by more: compare with --repeat {there}"
        )
