"""Compares two runs: for each cell and metric, whether B is faster than A, slower, or no difference is shown. Pure.

A difference is claimed only if three tests agree: the 95 % interval of the ratio excludes 1, the p of the rank test is
below 5 % after Holm's correction over the whole comparison, and the ratio is beyond the noise floor, the difference
between two identical runs on the same rig (`bench --aa N`). Otherwise the verdict has the reason. Runs of
different environments are rejected with a list of the differences.
"""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

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
from harness.compare.cells import CellFigures, RunData, by_cell
from harness.compare.environment import Difference, differences, moved_canaries
from harness.compare.noise_floor import ASSUMED_FLOOR, Floor, KnownFloors
from harness.compare.rows import ALL_METRICS, METRICS, Row, acknowledged, of_equal_work, refused_shares
from harness.errors import FormatError, InvalidMeasurement, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All rows, and what a reader must know to interpret them.

    `tested`: number of rows over which p is corrected. `needed`: trials per side with which every row is tested.
    `verdict_b`: the verdict of B's own checks. `noise_floor`: the largest ratio that holds for a cell, by metric;
    `floor_sources`: the sources of the floors.
    """

    run_a: str
    run_b: str
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    anyway: bool
    tested: int
    needed: int
    verdict_b: str
    noise_floor: Mapping[str, float]
    floor_sources: tuple[str, ...]
    warnings: tuple[str, ...]


def compare(
    a: RunData,
    b: RunData,
    *,
    anyway: bool = False,
    metrics: Mapping[str, Literal["higher", "lower"]] = METRICS,
    floors: Mapping[str, Floor] | None = None,
) -> Comparison:
    """Compares run `b` with run `a`, the baseline.

    `floors`: noise floors by source, besides those of the runs; the largest holds. Raises UsageError if a run has no
    trials, FormatError if the formats differ or a figure is impossible, InvalidMeasurement if the environments differ
    in a fact that forbids a comparison and `anyway` is not set.
    """
    for run in (a, b):
        if not run.rows:
            raise UsageError(f"run {run.run_id} has no trials: nothing to compare", hint="start a new run: ./run bench")
    formats = a.manifest.get("format"), b.manifest.get("format")
    if formats[0] != formats[1]:
        raise FormatError(
            f"run {a.run_id} has format {formats[0]}, run {b.run_id} has format {formats[1]}",
            hint="repeat the older run with this version",
        )
    unlike = differences(a.manifest, b.manifest)
    forbidding = [str(one) for one in unlike if one.forbids]
    if forbidding and not anyway:
        raise InvalidMeasurement(
            f"runs {a.run_id} and {b.run_id} were measured in different environments: " + "; ".join(forbidding),
            hint="bench both on one rig, or compare them with --anyway, which is recorded as a warning",
        )
    known = KnownFloors(floors=[*((f"run {run.run_id}", _floor(run)) for run in (a, b)), *(floors or {}).items()])
    cells_a, cells_b = by_cell(a, metrics), by_cell(b, metrics)
    rows: list[Row] = []
    for cell in list(dict.fromkeys([*cells_a, *cells_b])):
        if cell not in cells_a or cell not in cells_b:
            rows.append(_missing(cell, cells_a.get(cell), cells_b.get(cell), a, b))
        else:
            rows += _rows(cell, cells_a[cell], cells_b[cell], metrics)
    refused = {cell: refused_shares(cells_a[cell], cells_b[cell]) for cell in cells_a if cell in cells_b}
    questions = sum(len(metrics) if row.metric == ALL_METRICS else 1 for row in rows if row.verdict != "MISSING")
    needed = trials_needed(questions)
    with_verdicts = [
        of_equal_work(row, refused.get(row.cell), metrics) for row in _verdicts(rows, needed, known, metrics)
    ]
    of_rows = {metric: [known.of(row.cell, metric) for row in rows if row.metric == metric] for metric in metrics}
    used = {metric: of_metric or [known.of("", metric)] for metric, of_metric in of_rows.items()}
    return Comparison(
        run_a=a.run_id,
        run_b=b.run_id,
        rows=tuple(with_verdicts),
        differences=unlike,
        anyway=bool(forbidding),
        tested=sum(row.p is not None for row in with_verdicts),
        needed=needed,
        verdict_b=str(b.manifest.get("verdict")),
        noise_floor={metric: max(ratio for ratio, _ in of_metric) for metric, of_metric in used.items()},
        floor_sources=tuple(dict.fromkeys(source for of_metric in used.values() for _, source in of_metric if source)),
        warnings=(
            *_warnings(a, b, used),
            *(f"{cell}: {acknowledged(*shares)}" for cell, shares in refused.items() if shares),
        ),
    )


def _rows(cell: str, a: CellFigures, b: CellFigures, metrics: Mapping[str, str]) -> Iterator[Row]:
    """Returns the rows of a cell with medians, ratio and uncorrected p; the verdicts need all rows."""
    if not a.valid or not b.valid:
        which = " and ".join(side for side, one in (("A", a), ("B", b)) if not one.valid)
        note = f"no valid trial in {which}"
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
        if not left or not right:
            yield replace(row, verdict="MISSING", note=f"no trial of {'A' if right else 'B'} has the figure")
        elif min(left) <= 0 or (min(right) <= 0 and metrics[metric] == "lower"):  # only the rate of B may be 0
            zero = " and ".join(side for side, one in (("A", left), ("B", right)) if min(one) <= 0)
            yield replace(row, verdict="invalid", note=f"a figure of 0 in {zero} has no ratio")
        else:
            seed = zlib.crc32(f"{cell} {metric}".encode())
            yield replace(row, ratio=ratio_of_medians(left, right, seed=seed), p=mann_whitney(left, right))


def _verdicts(rows: Sequence[Row], needed: int, known: KnownFloors, metrics: Mapping[str, str]) -> list[Row]:
    """Corrects p over all rows with enough trials for so many tests, and sets the verdicts.

    The choice of rows depends on the numbers of trials and rows, never on their values, so it cannot favour a result.
    Other rows claim nothing and do not count in the correction.
    """
    measured = [row for row in rows if row.p is not None]
    tested = testable([least_p(row.n_a, row.n_b) for row in measured])
    chosen = [row for row, can in zip(measured, tested, strict=True) if can]
    ps = holm([row.p for row in chosen if row.p is not None])
    corrected = {(row.cell, row.metric): p for row, p in zip(chosen, ps, strict=True)}
    with_verdicts = []
    for row in rows:
        if (row.cell, row.metric) in corrected:
            tested_row = replace(row, p=corrected[row.cell, row.metric])
            with_verdicts.append(_verdict(tested_row, known.of(row.cell, row.metric)[0], metrics[row.metric]))
        elif row.p is not None:
            with_verdicts.append(replace(row, p=None, verdict="too few trials", note=f"{needed} per side are needed"))
        else:
            with_verdicts.append(row)
    return with_verdicts


def _verdict(row: Row, floor: float, better: str) -> Row:
    if row.ratio is None or row.p is None or row.p >= ALPHA or row.ratio.holds(1):
        return row
    if fold(row.ratio.value) <= floor:
        return replace(row, note=f"within the noise floor of {floor - 1:.1%}")
    return replace(row, verdict="faster" if (row.ratio.value > 1) == (better == "higher") else "slower")


def _missing(cell: str, in_a: CellFigures | None, in_b: CellFigures | None, a: RunData, b: RunData) -> Row:
    return Row(
        cell=cell,
        metric=ALL_METRICS,
        n_a=in_a.valid if in_a else 0,
        n_b=in_b.valid if in_b else 0,
        verdict="MISSING",
        note=f"not in {'B' if in_a else 'A'}, run {b.run_id if in_a else a.run_id}",
        new=in_a is None,
    )


def _floor(run: RunData) -> Floor:
    stored = run.manifest.get("noise_floor")
    return stored if isinstance(stored, Mapping) else {}


def _warnings(a: RunData, b: RunData, floors: Mapping[str, Sequence[tuple[float, str]]]) -> Iterator[str]:
    for side, run in (("A", a), ("B", b)):
        status, verdict = run.manifest.get("status"), run.manifest.get("verdict")
        if status not in (None, "finished"):
            yield f"{side} ({run.run_id}) is {status}: only its finished trials are compared"
        if verdict in ("fail", "unknown"):
            findings = run.manifest.get("findings") or ()
            failed = sorted({str(one.get("cell")) for one in findings if one.get("verdict") == verdict})
            where = f" in {', '.join(failed)}" if failed else ""
            yield f"{side} ({run.run_id}) has the verdict {verdict}{where}: its speed does not count"
        invalid = sum(not row.valid for row in run.rows)
        if invalid:
            yield f"{side} ({run.run_id}): {invalid} of {len(run.rows)} trials are invalid and left out"
        timed = [row for row in run.rows if row.times_valid]
        if doubtful := len(run.rows) - invalid - len(timed):
            yield f"{side} ({run.run_id}): {doubtful} of {len(run.rows)} trials are left out: their times are doubtful"
        if unsteady := sum(row.steady is False for row in timed):
            yield f"{side} ({run.run_id}): {unsteady} of {len(run.rows)} trials began before the load was steady"
    if a.run_id == b.run_id:
        yield "A and B are the same run"
    if not any((run.manifest.get("rig") or {}).get("hosts") for run in (a, b)):
        yield "neither run has a record of its hosts: their environments could not be compared"
    yield from moved_canaries(a.manifest, b.manifest)
    unmeasured = [metric for metric, of_metric in floors.items() if not all(source for _, source in of_metric)]
    if unmeasured:
        yield (
            f"the noise floor of {', '.join(unmeasured)} has not been measured: {ASSUMED_FLOOR - 1:.0%} is assumed; "
            "`bench --aa 5` measures it"
        )
