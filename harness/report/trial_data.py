"""What a report reads of each trial besides its row. The only module here that opens files of a run.

A damaged file costs what stood in it and is named; it never costs the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from harness.analysis.bottleneck import Attribution, attribute
from harness.analysis.stats import samples_needed
from harness.analysis.telemetry_totals import TelemetryTotals
from harness.errors import FormatError
from harness.isolation import matrix
from harness.isolation.matrix import MatrixRow
from harness.load.results import histogram
from harness.load.results.summary import LaneSummary
from harness.record import Evidence, TrialResult
from harness.report.charts.telemetry_series import SeriesBuilder, TelemetrySeries, spans_of
from harness.report.charts.theme import number as number_of
from harness.store.run_reader import Run

CURVE = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.99)
"""Percentiles of a curve, as far as the samples carry them."""

MOST_CURVES = 8
"""Cells whose curves can still be told apart in one picture."""

PER_KEY = frozenset({"concurrent-writes"})
"""Scenarios whose samples are read one by one, to show key by key what was acknowledged."""

T = TypeVar("T")
_Kind = Literal["latency", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialData:
    """A trial as read: `summary` and `curves` are of its main lane, `curves` kind -> [(percent, ms)].

    `seconds`: its rows of timeline.csv, one a second. `acknowledged` and `unknown`: increments by key, where samples
    were read. `matrix`: rows of harness.isolation.matrix, where the trial ran isolation cases.
    """

    row: TrialResult
    attribution: Attribution
    evidence: Evidence | None = None
    summary: LaneSummary | None = None
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    seconds: Sequence[Mapping[str, str | float]] = ()
    acknowledged: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    matrix: Sequence[MatrixRow] = ()

    @property
    def errors(self) -> Mapping[str, int]:
        """The error names of the measured phase with their counts."""
        return self.summary.measure.errors if self.summary else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """All of a run: the readings in the order of the trials, what hosts and database did over each scenario that has
    telemetry, a sentence for each damaged file."""

    readings: Sequence[TrialData]
    courses: Mapping[str, TelemetrySeries] = field(default_factory=dict)
    damage: tuple[str, ...] = ()


def read(run: Run) -> Read:
    """What a report needs of a run besides its manifest and its rows."""
    damage: list[str] = []

    def attempt(what: Callable[[], T], otherwise: T) -> T:
        try:
            return what()
        except FormatError as error:
            damage.append(error.message)
            return otherwise

    table: list[dict[str, str]] = attempt(run.timeline, [])
    seconds: dict[str, list[Mapping[str, str]]] = {}
    for line in table:
        seconds.setdefault(line.get("order") or "", []).append(line)
    heard: dict[int, dict[str, TelemetryTotals]] = attempt(run.telemetry_totals, {})
    readings = []
    rows = sorted(run.rows, key=lambda row: row.trial.order)
    drawn = _drawn(rows)
    for row in rows:
        order = row.trial.order
        summaries: dict[str, LaneSummary] = attempt(partial(run.summaries, order), {})
        lane = "main" if "main" in summaries or not summaries else next(iter(summaries))
        curves: dict[str, Sequence[tuple[float, float]]] = {
            kind: attempt(partial(_curve, run, order, lane, kind), []) for kind in drawn.get(order, ())
        }
        per_key = row.cell.scenario in PER_KEY
        ok, unknown = attempt(partial(_by_key, run, order), _NO_KEYS) if per_key else _NO_KEYS
        evidence = attempt(partial(run.evidence, order), None)
        readings.append(
            TrialData(
                row=row,
                evidence=evidence,
                matrix=attempt(partial(anomalies, evidence), ()),
                summary=summaries.get(lane),
                curves=curves,
                seconds=_whole_seconds(s for s in seconds.get(str(order), ()) if s.get("lane", lane) in (lane, "")),
                acknowledged=ok,
                unknown=unknown,
                attribution=attribute(heard.get(order, {}), run.roles, row),
            )
        )
    courses: dict[str, TelemetrySeries] = attempt(partial(_courses, run, heard), {})
    return Read(readings=readings, courses=courses, damage=tuple(dict.fromkeys(damage)))


def _courses(run: Run, heard: Mapping[int, Mapping[str, TelemetryTotals]]) -> dict[str, TelemetrySeries]:
    """Scenario -> its course, where it has one. All are drawn in one more pass over the telemetry."""
    serving: dict[str, dict[int, int]] = {}
    for row in run.rows:
        if row.trial.order in heard:
            serving.setdefault(row.cell.scenario, {})[row.trial.order] = row.cell.hosts
    drawings = {
        name: SeriesBuilder(spans, run.roles, orders)
        for name, orders in serving.items()
        if (spans := spans_of(heard, orders))
    }
    for moment in run.readings() if drawings else ():
        for drawing in drawings.values():
            drawing.add(moment)
    return {name: drawing.course() for name, drawing in drawings.items()}


def _whole_seconds(rows: Iterable[Mapping[str, str]]) -> list[Mapping[str, str | float]]:
    """One row a second: where warm-up and measuring share one, counts are added, times are of the part with more."""
    seconds: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        seconds.setdefault(row.get("second") or "", []).append(row)
    whole: list[Mapping[str, str | float]] = []
    for parts in seconds.values():
        sent = [number_of(part.get("sent")) or 0.0 for part in parts]
        counts = {
            name: sum(value for part in parts if (value := number_of(part.get(name))) is not None)
            for name in ("sent", "ok", "fail", "unknown")
        }
        whole.append({**parts[sent.index(max(sent))], **counts} if len(parts) > 1 else parts[0])
    return whole


_Keys = tuple[Mapping[str, int], Mapping[str, int]]
_NO_KEYS: _Keys = ({}, {})


def _by_key(run: Run, order: int) -> _Keys:
    ok: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for samples in run.lanes(order).values():
        for op, key, outcome in zip(samples.op, samples.key, samples.outcome, strict=True):
            if op == "increment" and outcome != "fail":
                (ok if outcome == "ok" else unknown)[key] += 1
    return ok, unknown


def anomalies(evidence: Evidence | None) -> Sequence[MatrixRow]:
    """Rows of harness.isolation.matrix, where the trial ran isolation cases. Raises FormatError."""
    result = (evidence.workload_result if evidence else None) or {}
    return matrix.matrix(matrix.read(result)) if result.get("what") == "isolation" else ()


def _drawn(rows: Sequence[TrialResult]) -> dict[int, tuple[_Kind, ...]]:
    """Trial -> the curves to read: the first valid trial of each cell, where a scenario has not too many."""
    first: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.valid:
            first.setdefault(row.cell.scenario, {}).setdefault(row.cell.name, row.trial.order)
    return {
        order: ("latency", "service") if len(cells) == 1 else ("latency",)
        for cells in first.values()
        if len(cells) <= MOST_CURVES
        for order in cells.values()
    }


def _curve(run: Run, order: int, lane: str, kind: _Kind) -> list[tuple[float, float]]:
    counts = run.histogram(order, lane, kind)
    size = histogram.total(counts)
    percents = [percent for percent in CURVE if size >= samples_needed(percent)]
    values = histogram.quantiles_us(counts, [percent / 100 for percent in percents])
    return [(percent, us / 1e3) for percent, us in zip(percents, values, strict=True) if us is not None]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
