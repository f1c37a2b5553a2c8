"""Compares what one run measured side by side: its variants, or the strategies and backends of one load. Pure.

The cells of a group differ only in what is compared, and a block is one repetition (`Trial.number`) of the group.
Ratios are taken within a block (harness/analysis/paired.py), so a difference needs no noise floor. The first cell is
the baseline, and every other one is compared with it. Latencies of closed loops are shown without a verdict; the
variants of an open cell are all offered the same rate.
"""

from __future__ import annotations

import itertools
import math
import statistics
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.analysis import paired
from harness.analysis.stats import ALPHA, Interval, testable
from harness.analysis.trial_validity import never_steady
from harness.compare.cells import CellFigures, checked_figure, comparable_name, is_claimed
from harness.compare.rows import ALL_METRICS, METRICS, OMITS_STALLS, LessWork, Row, less_work, of_equal_work
from harness.model import BACKENDS, STRATEGIES, Cell
from harness.plan.variants import without_variant
from harness.record import TrialResult
from harness.text import plural

By = Literal["variant", "strategy", "backend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two cells of a group: `a` is the baseline. `rows`: one per metric; their `n_a` and `n_b` are blocks."""

    by: By
    a: Cell
    b: Cell
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantComparison:
    """All pairs of a run. `tested`: rows over which p is corrected. `blocks`: the most blocks of a pair.

    `needed`: blocks with which a difference is as good as always found that one pair shows in 8 (`paired.blocks_for`).
    """

    pairs: tuple[Pair, ...] = ()
    tested: int = 0
    blocks: int = 0
    needed: int = 0

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all pairs."""
        return tuple(row for pair in self.pairs for row in pair.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """One pair before the verdicts: the values of both sides and log(B / A) by block, for each metric."""

    by: By
    a: Cell
    b: Cell
    rows: Sequence[Row]
    differences: Mapping[str, paired.Differences]
    uneven: tuple[LessWork, ...] = ()
    blocks: int = 0

    @property
    def least_p(self) -> float:
        """The smallest p that the pair can reach; 1 where it has no row to test."""
        return paired.least_p(self.blocks) if self.differences else 1.0


def compare_within(
    rows: Sequence[TrialResult],
    *,
    run_id: str = "",
    variants: Sequence[str] = (),
    failed: Collection[str] = (),
    metrics: Mapping[str, Literal["higher", "lower"]] = METRICS,
) -> VariantComparison:
    """Compares the cells of a run within blocks. A control that is meant to be wrong is left out.

    `variants`: the names of the run's variants, the baseline first. A run with variants compares these alone.
    `failed`: names of cells that failed a check: their speed does not count. Raises FormatError for a figure that
    cannot have been measured.
    """
    by_cell: dict[str, list[TrialResult]] = {}
    for row in rows:
        by_cell.setdefault(row.cell.name, []).append(row)
    measured = []
    for by, a, b in pairs([of_cell[0].cell for of_cell in by_cell.values()], variants):
        wrong = [cell for cell in (a, b) if cell.name in failed]
        note = f"{getattr(wrong[0], by)} failed a check" if wrong else ""
        measured.append(_measure(by, by_cell[a.name], by_cell[b.name], metrics, note=note, run_id=run_id))
    return _judged(measured, metrics)


def pairs(cells: Iterable[Cell], variants: Sequence[str] = ()) -> Iterator[tuple[By, Cell, Cell]]:
    """Returns what is compared with what, the baseline first: by variant, or else by strategy and by backend."""
    groups: dict[tuple[By, str], list[Cell]] = {}
    for cell in cells:
        for by, without in _WITHOUT.items():
            own_load = cell.rate_share is not None and by != "variant"  # the rate is a share of its own closed cell's
            left_out = cell.params.get("control") or own_load
            if (by == "variant") == bool(cell.variant) and not left_out:
                groups.setdefault((by, comparable_name(without(cell))), []).append(cell)
    order: Mapping[By, Sequence[str]] = {"variant": variants, "strategy": STRATEGIES, "backend": BACKENDS}
    for (by, _), group in groups.items():
        names = order[by]
        places = {name: place for place, name in enumerate(names)}
        first, *others = sorted(group, key=lambda cell: places.get(getattr(cell, by), len(places)))
        yield from ((by, first, other) for other in others)


_WITHOUT: Mapping[By, Callable[[Cell], Cell]] = {
    "variant": without_variant,
    "strategy": lambda cell: replace(cell, strategy=""),
    "backend": lambda cell: replace(cell, backend=BACKENDS[0]),
}
"""What is compared -> the cell without it: its name is the same for all cells of a group."""


def blocks_of(by: By, a: Iterable[TrialResult], b: Iterable[TrialResult]) -> Iterator[tuple[TrialResult, TrialResult]]:
    """Returns the two trials of each block in which both have valid times.

    A trial that was measured once more takes the place of the one that was not valid. With variants a whole block is
    measured once more, so both trials are of the same attempt (they have the same seed), the last one that is valid.
    Both were offered the same rate, or none.
    """
    of_a, of_b = (_by_number(side) for side in (a, b))
    for number in sorted(of_a.keys() & of_b.keys()):
        one, other = of_a[number], of_b[number]
        attempts = itertools.product(one, other)
        same = [
            (x, y)
            for x, y in attempts
            if x.cell.rate == y.cell.rate and (by != "variant" or x.trial.seed == y.trial.seed)
        ]
        valid = [(x, y) for x, y in same if x.times_valid and y.times_valid]
        yield from valid[-1:]


def _by_number(rows: Iterable[TrialResult]) -> dict[int, list[TrialResult]]:
    found: dict[int, list[TrialResult]] = {}
    for row in sorted(rows, key=lambda row: row.trial.order):
        found.setdefault(row.trial.number, []).append(row)
    return found


def _measure(
    by: By, a: Sequence[TrialResult], b: Sequence[TrialResult], metrics: Mapping[str, str], *, note: str, run_id: str
) -> _Measured:
    """Takes the ratios of a pair within the blocks in which both have a trial with valid times.

    `note`: why the pair cannot be compared, if that is known.
    """
    blocks = list(blocks_of(by, a, b))
    cell_a, cell_b = a[0].cell, b[0].cell
    name_a, name_b = cell_a.name, cell_b.name
    whole = Row(cell=name_b, metric=ALL_METRICS, n_a=len(blocks), n_b=len(blocks), verdict="invalid")
    measured = _Measured(by=by, a=cell_a, b=cell_b, rows=(whole,), differences={}, blocks=len(blocks))
    if not blocks:
        note = note or "no block in which both trials are valid"
    elif never_steady(row for block in blocks for row in block):
        note = note or "no trial of one side was in a steady state"
    if note:
        return replace(measured, rows=(replace(whole, note=note),))
    differences, found = {}, []
    for metric, better in metrics.items():
        if metric == "rps" and cell_a.mode == "open":  # the load that was offered, no result
            continue
        values = [
            (
                checked_figure(x.figure(metric), run_id, name_a, metric),
                checked_figure(y.figure(metric), run_id, name_b, metric),
            )
            for x, y in blocks
        ]
        known = [(x, y) for x, y in values if x is not None and y is not None]
        if not known:
            continue
        row = Row(
            cell=name_b,
            metric=metric,
            n_a=len(known),
            n_b=len(known),
            verdict="~",
            median_a=statistics.median(x for x, _ in known),
            median_b=statistics.median(y for _, y in known),
        )
        if not is_claimed(cell_a, metric):
            found.append(replace(row, verdict="shown", note=OMITS_STALLS))
            continue
        if any(x <= 0 or (y <= 0 and better == "lower") for x, y in known):  # only the rate of B may be 0
            found.append(replace(row, verdict="invalid", note="a figure of 0 has no ratio"))
            continue
        differences[metric] = [None if x is None or y is None else _log_ratio(x, y) for x, y in values]
        found.append(replace(row, ratio=_ratio(differences[metric])))
    uneven = less_work(_shares(row for row, _ in blocks), _shares(row for _, row in blocks))
    return replace(measured, rows=found, differences=differences, uneven=uneven)


def _log_ratio(a: float, b: float) -> float:
    return math.log(b / a) if b else -math.inf


def _ratio(differences: paired.Differences) -> Interval:
    """Returns the ratio with its interval; from 0 to infinity where there are too few blocks for one."""
    found = paired.interval(differences)
    if found is None:
        return Interval(value=math.exp(paired.estimate(differences)), low=0.0, high=math.inf)
    return Interval(value=math.exp(found.value), low=math.exp(found.low), high=math.exp(found.high))


def _shares(rows: Iterable[TrialResult]) -> CellFigures:
    counts = [(row.figure("sent"), row.figure("ok")) for row in rows]
    return CellFigures(
        values={},
        valid=len(counts),
        refused=[max(0.0, 1 - ok / sent) for sent, ok in counts if sent and ok is not None],
    )


def _judged(measured: Sequence[_Measured], metrics: Mapping[str, str]) -> VariantComparison:
    """Corrects p over all pairs with enough blocks for that number of pairs, and sets the verdicts.

    The choice of pairs depends on the numbers of blocks and pairs, never on the figures.
    """
    can = [one for one, able in zip(measured, testable([one.least_p for one in measured]), strict=True) if able]
    corrected = paired.holm_over_pairs(
        [
            paired.metric_ps(list(one.differences.values()), seed=zlib.crc32(f"{one.a.name} {one.b.name}".encode()))
            for one in can
        ]
    )
    p_of = {
        (one.a.name, one.b.name, metric): p
        for one, ps in zip(can, corrected, strict=True)
        for metric, p in zip(one.differences, ps, strict=True)
    }
    needed = paired.blocks_for(sum(bool(one.differences) for one in measured))
    least = paired.blocks_needed(sum(bool(one.differences) for one in measured))
    found = []
    for one in measured:
        rows = []
        for row in one.rows:
            p = p_of.get((one.a.name, one.b.name, row.metric))
            if row.verdict in ("invalid", "shown"):
                rows.append(row)
            elif p is None:
                note = f"{plural(one.blocks, 'block')}, a claim needs {least} or more"
                rows.append(replace(row, verdict="too few blocks", note=note))
            else:
                rows.append(of_equal_work(_verdict(replace(row, p=p), metrics[row.metric]), one.uneven, metrics))
        found.append(Pair(by=one.by, a=one.a, b=one.b, rows=tuple(rows)))
    return VariantComparison(
        pairs=tuple(found), tested=len(p_of), blocks=max((one.blocks for one in measured), default=0), needed=needed
    )


def _verdict(row: Row, better: str) -> Row:
    if row.ratio is None or row.p is None or row.p >= ALPHA or row.ratio.holds(1):
        return row
    return replace(row, verdict="faster" if (row.ratio.value > 1) == (better == "higher") else "slower")
