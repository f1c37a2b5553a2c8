"""Series of stored runs over time: levels, change points, and which runs may be compared with each other. Pure.

A run is one observation of each figure, the median of its trials. Runs are compared only with those of the same
environment; each environment has its own change points. `change_points` proposes where a series changes, with a
threshold that is divided by the number of series; `compare`, with the runs before as one side and those after as the
other, has the last word: it also sees machines that were not equally fast, and sides that did unlike work.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analysis.change_points import MAX_P, change_points
from harness.analysis.run_spread import LEAST_RUNS
from harness.compare.cells import CellFigures, RunData, by_cell, comparable_name
from harness.compare.compare import compare
from harness.compare.environment import Difference, differences, environment
from harness.compare.noise_floor import Floor, KnownFloors
from harness.compare.rows import METRICS, Row
from harness.errors import InvalidMeasurement

TREND_METRICS = ("rps", "p99_ms")
OF_THE_CALL = ("code.command", "code.seed", "settings.generator.")
"""How the facts begin that differ from call to call."""
LEAST_SERIES = 2 * LEAST_RUNS
"""Runs of one environment below which nothing is claimed: two before a change and two after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendRun:
    """A run of the trend. `environment`: 0 is that of the newest run; `differences`: from the newest run.

    `since`: the facts of code and settings that are not those of the run before it, and forbid no comparison.
    """

    run: RunData
    environment: int
    differences: tuple[Difference, ...] = ()
    since: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """A figure of the run at `index`: the median, smallest and largest of its trials. `wrong`: it failed a check."""

    index: int
    value: float
    low: float
    high: float
    wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change with the run at `index`. `row`: how `compare` judges the runs before it and after it."""

    index: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    row: Row

    @property
    def claimed(self) -> bool:
        """Whether `compare` shows a difference too."""
        return self.row.verdict in ("faster", "slower")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendSeries:
    """One metric of one cell. `judged`: the most runs of one environment that count; `claimed`: the metric can be.

    `levels`: the parts of the newest environment between its changes, as indexes of runs with their geometric mean.
    `floor`: the ratio between two runs that is no difference, None where it was not measured between runs.
    """

    cell: str
    metric: str
    points: tuple[TrendPoint, ...]
    claimed: bool
    judged: int
    changes: tuple[Change, ...] = ()
    levels: tuple[tuple[tuple[int, ...], float], ...] = ()
    floor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The runs in the order of time, and the series by cell and metric. `tested`: series searched for changes."""

    runs: tuple[TrendRun, ...]
    series: tuple[TrendSeries, ...]
    tested: int


def trend(
    runs: Sequence[RunData],
    *,
    wrong: Mapping[str, Collection[str]] | None = None,
    floors: Mapping[str, Floor] | None = None,
) -> Trend:
    """Returns the trend of runs that are given in the order of time.

    `wrong`: run id -> cells (by `comparable_name`) that failed a check, whose speed does not count. `floors`: noise
    floors by source, besides those of the runs. Raises FormatError for a figure that cannot have been measured.
    """
    placed = _placed(runs)
    figures = [by_cell(run, TREND_METRICS) for run in runs]
    stored = [(f"run {of.run.run_id}", _floor(of.run)) for of in placed if of.environment == 0]
    known = KnownFloors(floors=[*stored, *(floors or {}).items()])
    found = [
        _series((cell, metric), placed, figures, wrong or {}, known)
        for cell in dict.fromkeys(cell for of_run in figures for cell in of_run)
        for metric in TREND_METRICS
    ]
    series = [one for one in found if one.points]
    searches = [(one, part) for one in series if one.claimed for part in _parts(one, placed)]
    threshold = MAX_P / max(len(searches), 1)
    changes: dict[tuple[str, str], list[Change]] = {}
    for one, part in searches:
        changes.setdefault((one.cell, one.metric), []).extend(_changes(one, part, runs, threshold))
    return Trend(
        runs=placed,
        series=tuple(_with_changes(one, changes.get((one.cell, one.metric), ()), placed) for one in series),
        tested=len(searches),
    )


def _placed(runs: Sequence[RunData]) -> tuple[TrendRun, ...]:
    """Numbers the environments from the newest run backwards.

    A run is of an environment only if it could be compared with each of its members: that A equals B within the
    tolerances, and B equals C, does not make A equal to C. `kinds`: the members whose recorded facts differ.
    """
    kinds: list[list[RunData]] = []
    placed = []
    for place, run in reversed(list(enumerate(runs))):
        alike = (
            number
            for number, members in enumerate(kinds)
            if not any(_forbids(differences(other.manifest, run.manifest)) for other in members)
        )
        number = next(alike, len(kinds))
        if number == len(kinds):
            kinds.append([])
        if all(environment(other.manifest) != environment(run.manifest) for other in kinds[number]):
            kinds[number].append(run)
        unlike = differences(run.manifest, runs[-1].manifest)
        changed = differences(runs[max(place - 1, 0)].manifest, run.manifest)
        since = tuple(one.fact for one in changed if not one.forbids and not one.fact.startswith(OF_THE_CALL))
        placed.append(TrendRun(run=run, environment=number, differences=unlike, since=since))
    return tuple(reversed(placed))


def _forbids(unlike: Sequence[Difference]) -> bool:
    return any(one.forbids for one in unlike)


def _series(
    of_metric: tuple[str, str],
    placed: Sequence[TrendRun],
    figures: Sequence[Mapping[str, CellFigures]],
    wrong: Mapping[str, Collection[str]],
    known: KnownFloors,
) -> TrendSeries:
    cell, metric = of_metric
    points = [
        TrendPoint(
            index=index,
            value=statistics.median(values),
            low=min(values),
            high=max(values),
            wrong=cell in wrong.get(of.run.run_id, ()),
        )
        for index, (of, of_run) in enumerate(zip(placed, figures, strict=True))
        if cell in of_run and (values := of_run[cell].values.get(metric, ()))
    ]
    claimed = all(metric in of_run[cell].claimed for of_run in figures if cell in of_run)
    counts = [
        sum(_counts(point) and placed[point.index].environment == one for point in points)
        for one in {of.environment for of in placed}
    ]
    return TrendSeries(
        cell=cell,
        metric=metric,
        points=tuple(points),
        claimed=claimed,
        judged=max(counts, default=0),
        floor=known.of(cell, metric)[0] if known.between_runs(cell, metric) else None,
    )


def _counts(point: TrendPoint) -> bool:
    return not point.wrong and point.value > 0


def _parts(series: TrendSeries, placed: Sequence[TrendRun]) -> Iterator[list[TrendPoint]]:
    """Returns the points that count of each environment that has enough of them."""
    for number in sorted({of.environment for of in placed}):
        points = [point for point in series.points if _counts(point) and placed[point.index].environment == number]
        if len(points) >= LEAST_SERIES:
            yield points


def _changes(
    series: TrendSeries, points: Sequence[TrendPoint], runs: Sequence[RunData], threshold: float
) -> Iterator[Change]:
    proposed = change_points([point.value for point in points], threshold)
    edges = [0, *(one.index for one in proposed), len(points)]
    for number, one in enumerate(proposed, start=1):
        before, after = points[edges[number - 1] : one.index], points[one.index : edges[number + 1]]
        row = _judged(series, [runs[point.index] for point in before], [runs[point.index] for point in after])
        yield Change(
            index=points[one.index].index,
            before=tuple(point.index for point in before),
            after=tuple(point.index for point in after),
            row=row,
        )


def _judged(series: TrendSeries, before: Sequence[RunData], after: Sequence[RunData]) -> Row:
    """Returns how `compare` judges both sides, for this cell and metric alone; `invalid` where it refuses them."""
    sides = [
        [
            RunData(
                run_id=run.run_id,
                manifest=run.manifest,
                rows=[row for row in run.rows if comparable_name(row.cell) == series.cell],
            )
            for run in side
        ]
        for side in (before, after)
    ]
    try:
        comparison = compare(*sides, metrics={series.metric: METRICS[series.metric]})
    except InvalidMeasurement as error:
        return Row(
            cell=series.cell, metric=series.metric, n_a=len(before), n_b=len(after), verdict="invalid",
            note=error.message,
        )  # fmt: skip
    found = [row for row in comparison.rows if row.metric == series.metric]
    return found[0] if found else comparison.rows[0]


def _with_changes(series: TrendSeries, changes: Sequence[Change], placed: Sequence[TrendRun]) -> TrendSeries:
    ordered = sorted(changes, key=lambda change: change.index)
    newest = [point for point in series.points if _counts(point) and placed[point.index].environment == 0]
    starts = [change.index for change in ordered if change.claimed and placed[change.index].environment == 0]
    parts: list[list[TrendPoint]] = [[]]
    for point in newest:
        if point.index in starts:
            parts.append([])
        parts[-1].append(point)
    levels = tuple(
        (tuple(point.index for point in part), statistics.geometric_mean(point.value for point in part))
        for part in parts
        if part
    )
    return replace(series, changes=tuple(ordered), levels=levels)


def _floor(run: RunData) -> Floor:
    stored = run.manifest.get("noise_floor")
    return stored if isinstance(stored, Mapping) else {}
