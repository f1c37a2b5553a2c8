"""Compares runs: for each cell and metric, whether B is faster than A, slower, or no difference is shown. Pure.

With one run a side a difference is claimed only if three tests agree: the 95 % interval of the ratio excludes 1, the p
of the rank test over the trials is below 5 % after Holm's correction over the whole comparison, and the ratio is beyond
the noise floor, the difference between two identical runs on the same rig (`bench --aa N`). Where no floor was measured
between runs, it must be beyond `ONE_SESSION`.

With several runs a side each run is one observation (harness/analysis/run_spread.py), and their own spread takes the
place of the floor. Otherwise the verdict has the reason. Latencies of closed loops are shown without a verdict. Runs of
different environments are rejected with a list of the differences. Machines whose canaries moved were not equally fast:
no row of theirs is called slower or faster.
"""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.analysis.run_spread import LEAST_RUNS, compare_runs
from harness.analysis.stats import (
    ALPHA,
    fold,
    holm,
    least_p,
    mann_whitney,
    ratio_of_medians,
    testable,
    trials_needed,
)
from harness.compare import floor_notes
from harness.compare.cells import CellFigures, RunData, by_cell, by_run
from harness.compare.comparable import environment_differences, require_comparable, unequal_machines, warnings
from harness.compare.environment import Difference
from harness.compare.noise_floor import ASSUMED_FLOOR, LEAST_FLOOR, ONE_SESSION, Floor, KnownFloors
from harness.compare.rows import ABOUT_SHOWN, ALL_METRICS, METRICS, OMITS_STALLS, Row, less_work, of_equal_work
from harness.errors import InvalidMeasurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All rows, and what a reader must know to interpret them. `run_a`, `run_b`: the ids of `runs` runs a side.

    `tested`: number of rows over which p is corrected. `needed`: trials per side with which every row is tested.
    `verdict_b`: the worst verdict of B's own checks; `moved`: canaries that show unequal machines. `noise_floor`: the
    largest ratio that holds for a cell, by metric; `floor_sources`: the sources of the floors. `comparisons`: as many
    are made together, and p is corrected over them too.
    """

    run_a: str
    run_b: str
    runs: tuple[int, int]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    anyway: bool
    tested: int
    needed: int
    verdict_b: str
    moved: tuple[str, ...]
    noise_floor: Mapping[str, float]
    floor_sources: tuple[str, ...]
    warnings: tuple[str, ...]
    comparisons: int = 1


def compare(
    a: RunData | Sequence[RunData],
    b: RunData | Sequence[RunData],
    *,
    anyway: bool = False,
    metrics: Mapping[str, Literal["higher", "lower"]] = METRICS,
    floors: Mapping[str, Floor] | None = None,
    wrong: Mapping[str, Collection[str]] | None = None,
    comparisons: int = 1,
) -> Comparison:
    """Compares run `b` with run `a`, the baseline, or several runs with several.

    `floors`: noise floors by source, besides those of the runs; the largest holds. `wrong`: run id -> cells (by
    `comparable_name`) that failed a check, whose speed does not count. `comparisons`: as many are made
    together, so that one false claim in all of them is as unlikely as in one (Bonferroni's correction).

    Raises UsageError if a run has no trials or is named twice, FormatError if the formats differ or a figure is
    impossible, InvalidMeasurement if the environments differ in a fact that forbids a comparison and `anyway` is not
    set.
    """
    side_a, side_b = ((side,) if isinstance(side, RunData) else tuple(side) for side in (a, b))
    runs = (*side_a, *side_b)
    several = len(runs) > 2
    require_comparable(side_a, side_b)
    unlike = environment_differences(runs)
    forbidding = [str(one) for one in unlike if one.forbids]
    if forbidding and not anyway:
        raise InvalidMeasurement(
            f"runs {_ids(side_a)} and {_ids(side_b)} were measured in different environments: " + "; ".join(forbidding),
            hint="bench both on one rig, or compare them with --anyway, which is recorded as a warning",
        )
    known = KnownFloors(floors=[*((f"run {run.run_id}", _floor(run)) for run in runs), *(floors or {}).items()])
    bad = wrong or {}
    cells_a, cells_b = (
        by_run(side, metrics, bad) if several else by_cell(side[0], metrics, bad.get(side[0].run_id, ()))
        for side in (side_a, side_b)
    )
    rows: list[Row] = []
    for cell in list(dict.fromkeys([*cells_a, *cells_b])):
        if cell not in cells_a or cell not in cells_b:
            rows.append(_missing(cell, cells_a.get(cell), cells_b.get(cell), _ids(side_a), _ids(side_b)))
        else:
            rows += _rows(cell, cells_a[cell], cells_b[cell], metrics, several=several)
    rows = [_with_floor(row, known, several=several) for row in rows]
    uneven = {cell: less_work(cells_a[cell], cells_b[cell]) for cell in cells_a if cell in cells_b}
    questions = sum(
        len(cells_a[row.cell].claimed) if row.metric == ALL_METRICS else 1
        for row in rows
        if row.verdict not in ("MISSING", "shown")
    )
    needed = trials_needed(questions * comparisons)
    moved = tuple(unequal_machines(side_a, side_b))
    if several:
        judged = _verdicts_of_runs(rows, metrics, comparisons)
    else:
        judged = _verdicts(rows, needed, known, metrics, comparisons)
    with_verdicts = [_on_equal_machines(of_equal_work(row, uneven.get(row.cell, ()), metrics), moved) for row in judged]
    return Comparison(
        run_a=_ids(side_a),
        run_b=_ids(side_b),
        runs=(len(side_a), len(side_b)),
        rows=tuple(with_verdicts),
        differences=unlike,
        anyway=bool(forbidding),
        tested=sum(row.p is not None for row in with_verdicts),
        needed=needed,
        verdict_b=_worst_verdict(side_b),
        moved=moved,
        noise_floor={
            metric: max(
                (row.floor for row in rows if row.metric == metric and row.p is not None), default=ASSUMED_FLOOR
            )
            for metric in metrics
        },
        floor_sources=floor_notes.sources(rows, known, several=several),
        comparisons=comparisons,
        warnings=(
            *warnings(side_a, side_b),
            *moved,
            *floor_notes.unmeasured(rows, known, several=several),
            *floor_notes.fewer_trials(rows, known, several=several),
            *(f"{cell}: {one.reason}" for cell, found in uneven.items() for one in found),
            *dict.fromkeys(f"{ABOUT_SHOWN}; --rate R measures an open load" for row in rows if row.verdict == "shown"),
        ),
    )


def _rows(cell: str, a: CellFigures, b: CellFigures, metrics: Mapping[str, str], *, several: bool) -> Iterator[Row]:
    """Returns the rows of a cell with medians, ratio and uncorrected p; the verdicts need all rows."""
    if not a.valid or not b.valid:
        which = " and ".join(side for side, one in (("A", a), ("B", b)) if not one.valid)
        kind = "trial in a steady state" if (a.valid or a.unsteady) and (b.valid or b.unsteady) else "valid trial"
        failed = " and ".join(side for side, one in (("A", a), ("B", b)) if one.wrong)
        note = f"{failed} failed a check: its speed does not count" if failed else f"no {kind} in {which}"
        yield Row(cell=cell, metric=ALL_METRICS, n_a=a.valid, n_b=b.valid, verdict="invalid", note=note)
        return
    for metric in a.values:
        left, right = a.values[metric], b.values[metric]
        if not left and not right:
            continue
        row = Row(
            cell=cell,
            metric=metric,
            n_a=len(left),
            n_b=len(right),
            verdict="~",
            median_a=statistics.median(left) if left else None,
            median_b=statistics.median(right) if right else None,
        )
        if metric not in a.claimed:
            yield replace(row, verdict="shown", note=OMITS_STALLS)
        elif not left or not right:
            yield replace(row, verdict="MISSING", note=f"no trial of {'A' if right else 'B'} has the figure")
        elif min(left) <= 0 or (min(right) <= 0 and (several or metrics[metric] == "lower")):
            # only the rate of B may be 0: it has a ratio, but no logarithm
            zero = " and ".join(side for side, one in (("A", left), ("B", right)) if min(one) <= 0)
            yield replace(row, verdict="invalid", note=f"a figure of 0 in {zero} has no ratio")
        elif several and min(len(left), len(right)) < LEAST_RUNS:
            yield replace(row, verdict="too few runs", note=f"{LEAST_RUNS} a side are needed")
        elif several:
            ratio, p = compare_runs(left, right)
            means = (statistics.geometric_mean(left), statistics.geometric_mean(right))
            yield replace(row, median_a=means[0], median_b=means[1], ratio=ratio, p=p, of_runs=True)
        else:
            seed = zlib.crc32(f"{cell} {metric}".encode())
            yield replace(row, ratio=ratio_of_medians(left, right, seed=seed), p=mann_whitney(left, right))


def _with_floor(row: Row, known: KnownFloors, *, several: bool) -> Row:
    """Returns the row with the ratio that a difference must exceed."""
    if row.verdict == "shown":
        return row
    if several:
        return replace(row, floor=LEAST_FLOOR)
    floor, _ = known.of(row.cell, row.metric)
    return replace(row, floor=floor if known.between_runs(row.cell, row.metric) else max(floor, ONE_SESSION))


def _verdicts_of_runs(rows: Sequence[Row], metrics: Mapping[str, str], comparisons: int) -> list[Row]:
    """Corrects p over all rows and sets the verdicts; each run was one observation."""
    measured = [row for row in rows if row.p is not None]
    ps = _corrected([row.p for row in measured if row.p is not None], comparisons)
    corrected = {(row.cell, row.metric): p for row, p in zip(measured, ps, strict=True)}
    return [
        _verdict(replace(row, p=corrected[row.cell, row.metric]), metrics[row.metric]) if row.p is not None else row
        for row in rows
    ]


def _verdicts(
    rows: Sequence[Row], needed: int, known: KnownFloors, metrics: Mapping[str, str], comparisons: int
) -> list[Row]:
    """Corrects p over all rows with enough trials for that number of tests, and sets the verdicts.

    The choice of rows depends on the numbers of trials and rows, never on their values, so it cannot favour a result.
    Other rows claim nothing and do not count in the correction.
    """
    measured = [row for row in rows if row.p is not None]
    tested = testable([least_p(row.n_a, row.n_b) * comparisons for row in measured])
    chosen = [row for row, can in zip(measured, tested, strict=True) if can]
    ps = _corrected([row.p for row in chosen if row.p is not None], comparisons)
    corrected = {(row.cell, row.metric): p for row, p in zip(chosen, ps, strict=True)}
    with_verdicts = []
    for row in rows:
        if (row.cell, row.metric) in corrected:
            judged = _verdict(replace(row, p=corrected[row.cell, row.metric]), metrics[row.metric])
            if judged.verdict == "~" and not known.between_runs(row.cell, row.metric):
                judged = replace(judged, note=f"one session a side: shown beyond {row.floor:.2f}x")
            with_verdicts.append(judged)
        elif row.p is not None:
            with_verdicts.append(replace(row, p=None, verdict="too few trials", note=f"{needed} per side are needed"))
        else:
            with_verdicts.append(row)
    return with_verdicts


def _corrected(ps: Sequence[float], comparisons: int) -> list[float]:
    """Returns p after Holm's correction over the rows, and Bonferroni's over the comparisons made together."""
    return [min(1.0, comparisons * p) for p in holm(ps)]


def _verdict(row: Row, better: str) -> Row:
    if row.ratio is None or row.p is None or row.p >= ALPHA or row.ratio.holds(1):
        return row
    if fold(row.ratio.value) <= row.floor:
        return replace(row, note=f"within the noise floor of {row.floor - 1:.1%}")
    return replace(row, verdict="faster" if (row.ratio.value > 1) == (better == "higher") else "slower")


def _on_equal_machines(row: Row, moved: Sequence[str]) -> Row:
    if moved and row.verdict in ("faster", "slower"):
        return replace(row, verdict="invalid", note="the machines were not equally fast, see the canaries below")
    return row


def _missing(cell: str, in_a: CellFigures | None, in_b: CellFigures | None, a: str, b: str) -> Row:
    return Row(
        cell=cell,
        metric=ALL_METRICS,
        n_a=in_a.valid if in_a else 0,
        n_b=in_b.valid if in_b else 0,
        verdict="MISSING",
        note=f"not in {'B' if in_a else 'A'}, run {b if in_a else a}",
        new=in_a is None,
    )


def _floor(run: RunData) -> Floor:
    stored = run.manifest.get("noise_floor")
    return stored if isinstance(stored, Mapping) else {}


def _ids(side: Sequence[RunData]) -> str:
    return ",".join(run.run_id for run in side)


def _worst_verdict(side: Sequence[RunData]) -> str:
    """Returns the worst verdict; a run that did not finish may fail in the trials that it lacks, so it never passes."""
    found = [str(run.manifest.get("verdict")) for run in side]
    unfinished = [run.manifest.get("status") not in (None, "finished") for run in side]
    found = ["unknown" if less and one == "pass" else one for one, less in zip(found, unfinished, strict=True)]
    return next((verdict for verdict in ("fail", *found) if verdict in found and verdict != "pass"), "pass")
