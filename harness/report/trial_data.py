"""Reads the data of each trial that a report needs besides its row. Only this module of the report opens run files.

A damaged file costs the page the data in it, and the page names the file; the rest of the page is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

from harness.analysis.bottleneck import Attribution, attribute
from harness.analysis.stats import samples_needed
from harness.analysis.telemetry_totals import TelemetryTotals
from harness.errors import FormatError
from harness.isolation import matrix
from harness.isolation.matrix import MatrixRow
from harness.load.results import histogram
from harness.load.results.summary import LaneSummary
from harness.record import Evidence, Samples, TrialResult, distinct
from harness.report.charts.telemetry_series import SeriesBuilder, TelemetrySeries, curve_values, spans_of
from harness.report.charts.theme import number as number_of
from harness.report.fault_views import FaultView, fault_view
from harness.store.run_reader import Run

CURVE = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.99)
"""Percentiles of a curve, as far as the number of samples allows them."""

MOST_CURVES = 8
"""Curves of more cells cannot be distinguished in one chart."""

MOST_REQUESTS = 1000
"""Requests of a trial that a picture shows one by one."""

T = TypeVar("T")
_Kind = Literal["latency", "service"]
Second = Mapping[str, str | float]
"""A row of timeline.csv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialData:
    """The data of one trial.

    `summary` and `seconds` (its rows of timeline.csv, one per second) are of its main lane. `errors`: the error names
    of the measured phase with their counts, over all lanes. `curves`: kind -> [(percent, ms)], over all lanes.
    `acknowledged` and `unknown`: increments by key, where the samples were read for them. `matrix`: rows of
    harness.isolation.matrix, where the trial ran isolation cases.
    """

    row: TrialResult
    attribution: Attribution
    evidence: Evidence | None = None
    summary: LaneSummary | None = None
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    seconds: Sequence[Second] = ()
    acknowledged: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    matrix: Sequence[MatrixRow] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    faults: FaultView = field(default_factory=FaultView)
    """Of a trial with faults."""
    requests: Mapping[str, Samples] = field(default_factory=dict)
    """Lane -> its samples, where a picture shows single requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTrials:
    """The trials of a run in their order, the telemetry of each scenario that has any, a sentence per damaged file."""

    trials: Sequence[TrialData]
    series: Mapping[str, TelemetrySeries] = field(default_factory=dict)
    damage: tuple[str, ...] = ()


def read_trials(run: Run, *, counts_by_key: Collection[str] = (), requests: Collection[str] = ()) -> ReadTrials:
    """Reads what a report needs of a run besides its manifest and its rows.

    `counts_by_key`: the scenarios whose samples are read to count the acknowledged increments of each key; `requests`:
    those whose samples are kept, because a picture shows single requests.
    """
    damage: list[str] = []

    def attempt(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except FormatError as error:
            damage.append(error.message)
            return otherwise

    table: list[dict[str, str]] = attempt(run.timeline, [])
    seconds: dict[str, list[Mapping[str, str]]] = {}
    for line in table:
        seconds.setdefault(line.get("order") or "", []).append(line)
    telemetry: dict[int, dict[str, TelemetryTotals]] = attempt(run.telemetry_totals, {})
    trials = []
    rows = sorted(run.rows, key=lambda row: row.trial.order)
    curves_of = _curves_to_read(rows)
    for row in rows:
        order = row.trial.order
        summaries: dict[str, LaneSummary] = attempt(partial(run.summaries, order), {})
        attempt(partial(run.require_results_of, row, summaries), None)
        lane = "main" if "main" in summaries or not summaries else next(iter(summaries))
        curves: dict[str, Sequence[tuple[float, float]]] = {
            kind: attempt(partial(_curve, run, order, list(summaries) or [lane], kind), [])
            for kind in curves_of.get(order, ())
        }
        by_key = row.cell.scenario in counts_by_key
        ok, unknown = attempt(partial(_by_key, run, order), _NO_KEYS) if by_key else _NO_KEYS
        evidence = attempt(partial(run.evidence, order), None)
        lines = (line for line in seconds.get(str(order), ()) if line.get("lane", lane) in (lane, ""))
        trials.append(
            TrialData(
                row=row,
                evidence=evidence,
                matrix=attempt(partial(isolation_rows, evidence), ()),
                summary=summaries.get(lane),
                faults=attempt(partial(_fault_view, run, order, evidence), FaultView()),
                errors=sum((Counter(one.measure.errors) for one in summaries.values()), Counter[str]()),
                curves=curves,
                requests=attempt(partial(_requests, run, order), {}) if row.cell.scenario in requests else {},
                seconds=_whole_seconds(lines),
                acknowledged=ok,
                unknown=unknown,
                attribution=attribute(telemetry.get(order, {}), run.roles, row),
            )
        )
    series: dict[str, TelemetrySeries] = attempt(partial(_series, run, telemetry), {})
    return ReadTrials(trials=trials, series=series, damage=tuple(dict.fromkeys(damage)))


def _series(run: Run, telemetry: Mapping[int, Mapping[str, TelemetryTotals]]) -> dict[str, TelemetrySeries]:
    """Returns the telemetry series by scenario.

    They need a second pass over telemetry.csv: the first one tells how long each lasts, which sets its buckets.
    """
    serving: dict[str, dict[int, int]] = {}
    for row in run.rows:
        if row.trial.order in telemetry:
            serving.setdefault(row.cell.scenario, {})[row.trial.order] = row.cell.hosts
    run_roles = run.roles
    builders = {
        name: SeriesBuilder(spans, run_roles, orders)
        for name, orders in serving.items()
        if (spans := spans_of(telemetry, orders))
    }
    for reading in run.readings() if builders else ():
        values = curve_values(reading, run_roles)
        for builder in builders.values():
            builder.add(reading, values)
    return {name: builder.series() for name, builder in builders.items()}


def _whole_seconds(rows: Iterable[Mapping[str, str]]) -> list[Second]:
    """Returns one row per second.

    Where warm-up and measured phase share a second, the counts are added and the times are of the part with more
    requests.
    """
    seconds: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        seconds.setdefault(row.get("second") or "", []).append(row)
    whole: list[Second] = []
    for parts in seconds.values():
        sent = [number_of(part.get("sent")) or 0.0 for part in parts]
        counts = {
            name: sum(value for part in parts if (value := number_of(part.get(name))) is not None)
            for name in ("sent", "ok", "fail", "unknown")
        }
        whole.append({**parts[sent.index(max(sent))], **counts} if len(parts) > 1 else parts[0])
    return whole


def _requests(run: Run, order: int) -> Mapping[str, Samples]:
    """Returns the samples by lane; none of a trial with more than a picture can show."""
    lanes = run.lanes(order)
    return lanes if sum(map(len, lanes.values())) <= MOST_REQUESTS else {}


_Keys = tuple[Mapping[str, int], Mapping[str, int]]
_NO_KEYS: _Keys = ({}, {})


def _by_key(run: Run, order: int) -> _Keys:
    """Returns the acknowledged and the unknown increments of a trial by key."""
    ok: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for samples in run.lanes(order).values():
        once = distinct(samples)
        for op, key, outcome in zip(once.op, once.key, once.outcome, strict=True):
            if op == "increment" and outcome != "fail":
                (ok if outcome == "ok" else unknown)[key] += 1
    return ok, unknown


def _fault_view(run: Run, order: int, evidence: Evidence | None) -> FaultView:
    """Returns the view of a trial with faults; of others an empty one, for which no samples are read."""
    if evidence is None or not evidence.faults:
        return FaultView()
    samples = run.lanes(order).get("main")
    return FaultView() if samples is None else fault_view(samples, evidence)


def isolation_rows(evidence: Evidence | None) -> Sequence[MatrixRow]:
    """Returns the rows of the matrix, where the trial ran isolation cases. Raises FormatError."""
    result = (evidence.workload_result if evidence else None) or {}
    return matrix.matrix(matrix.read(result)) if result.get("what") == "isolation" else ()


def _curves_to_read(rows: Sequence[TrialResult]) -> dict[int, tuple[_Kind, ...]]:
    """Returns the curves to read by trial: those of the first trial of each cell whose times hold, unless there are too
    many cells."""
    first: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.times_valid:
            first.setdefault(row.cell.scenario, {}).setdefault(row.cell.name, row.trial.order)
    return {
        order: ("latency", "service") if len(cells) == 1 else ("latency",)
        for cells in first.values()
        if len(cells) <= MOST_CURVES
        for order in cells.values()
    }


def _curve(run: Run, order: int, lanes: Iterable[str], kind: _Kind) -> list[tuple[float, float]]:
    counts: histogram.Counts = {}
    for lane in lanes:
        histogram.add(counts, run.histogram(order, lane, kind))
    size = histogram.total(counts)
    percents = [percent for percent in CURVE if size >= samples_needed(percent)]
    values = histogram.quantiles_us(counts, [percent / 100 for percent in percents])
    return [(percent, us / 1e3) for percent, us in zip(percents, values, strict=True) if us is not None]
