"""The search for the capacity, as chart and table: latency by load, and the trials in their order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.capacity_steps import Steps, held, keeps_up, searches
from harness.analysis.slo import ERRORS, FIGURE
from harness.checks import names
from harness.model import Finding
from harness.plan.scenario import backend_name, joined
from harness.record import TrialResult
from harness.report.charts import load_curve
from harness.report.charts.drawing import Chart
from harness.report.charts.load_curve import BROKEN, HELD, UNCOUNTED
from harness.report.formatting import number, percent
from harness.report.page_model import Block, Fold, table
from harness.report.section_input import SectionInput
from harness.report.summary import ScenarioSummary

ALWAYS = ("p50", "p99")
"""Percentiles that are drawn beside those of the SLO."""
RESULTS = {True: HELD, False: BROKEN, None: UNCOUNTED}


def capacity_charts(source: SectionInput) -> Iterator[Chart]:
    """Returns the chart of each search: latency by load, the limits of the SLO, the capacity with its interval."""
    for steps in _searches(source):
        if not steps.probes:
            continue
        found = _found(source, steps.probes)
        shown = {*ALWAYS, *(bound.metric for bound in steps.slo.bounds)}
        rows = [
            {"rate": row.cell.rate, "percentile": name, "ms": row.figure(column), "result": RESULTS[_held(row, steps)]}
            for row in steps.probes
            for name, column in FIGURE.items()
            if name in shown
        ]
        limits = [{"percentile": b.metric, "ms": b.limit} for b in steps.slo.bounds if b.metric != ERRORS]
        title = joined("Latency by load", _what(source, steps))
        subtitle = "The dashed line is the limit of the SLO."
        interval = _interval(found)
        if interval:
            title = f"{title}: {number(interval[1])} requests/s hold {steps.slo}"
            subtitle += " The band is the 95 % interval of the capacity."
        yield Chart(
            name="latency-by-load",
            spec=load_curve.load_curve(rows, limits=limits, interval=interval, title=title, subtitle=subtitle),
            caption="One point per trial and percentile. A trial that does not hold broke some limit, or its queue "
            "grew through the window; one that does not count was limited by the load generator, or its requests are "
            "too few for a percentile.",
            alt=f"{title}. The table of trials below has the same figures.",
        )


def capacity_blocks(source: SectionInput) -> Iterator[Block]:
    """Returns the trials of each search in their order, with the reason why one did not hold."""
    for steps in _searches(source):
        rows = [
            (
                f"{row.trial.order}",
                number(row.cell.rate),
                RESULTS[_held(row, steps)],
                _reason(row, steps),
                number(row.figure("p50_ms")),
                number(row.figure("p99_ms")),
                percent(next(b.measured(row.figures) for b in steps.slo.bounds if b.metric == ERRORS)),
                {True: "yes", False: "no", None: ""}[row.steady],
            )
            for row in steps.probes
        ]
        head = ("trial", "offered requests/s", "result", "because", "p50, ms", "p99, ms", "errors", "began steady")
        caption = joined("Trials in their order", _what(source, steps))
        yield Fold(
            title=joined("The search, trial by trial", _what(source, steps)), blocks=(table(caption, head, rows),)
        )


def _searches(source: SectionInput) -> list[Steps]:
    return [steps for steps in searches([trial.row for trial in source.trials]) if steps.known]


def _held(row: TrialResult, steps: Steps) -> bool | None:
    return held(row, steps.slo)


def _what(source: SectionInput, steps: Steps) -> str:
    """Names a search where there are several."""
    cell = steps.rows[0].cell
    return joined(backend_name(cell), cell.strategy) if len(_searches(source)) > 1 else ""


def _found(source: SectionInput, rows: Sequence[TrialResult]) -> Finding | None:
    """The finding about one of these trials."""
    cells = {row.cell.name for row in rows}
    return next((f for f in source.summary.findings if f.check == names.CAPACITY and f.cell in cells), None)


def _interval(found: Finding | None) -> tuple[float, float, float] | None:
    """Low end, capacity and high end; None where there is no capacity."""
    if found is None or found.verdict != "pass":
        return None
    ends = [found.numbers.get(name) for name in ("low", "rate", "high")]
    low, rate, high = (float(end) if isinstance(end, int | float) else 0.0 for end in ends)
    return (low, rate, high) if 0 < low <= rate <= high else None


def _reason(row: TrialResult, steps: Steps) -> str:
    """Which limits a trial breaks, or why it does not count."""
    if not row.times_valid:
        return row.reason
    broken = [str(result) for result in steps.slo.results(row.figures) if result.held is not True]
    return "; ".join(broken) or ("its queue grew" if keeps_up(row) is False else "")


def capacity_headline(summary: ScenarioSummary) -> str:
    """Returns `2,940 [2,850, 3,040] requests/s hold p99:50ms,errors:0.1%`; empty where there is no capacity."""
    found = [f for f in summary.findings if f.check == names.CAPACITY and _interval(f)]
    return "; ".join(f.detail.split(" (95 %")[0] for f in found)
