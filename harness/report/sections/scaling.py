"""How throughput grows with app hosts, as a picture and as a table: speed-up, efficiency, the scaling law.

One of each for every bound: the cells that differ in the number of hosts alone. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.scaling_law import SpeedUp, UslFit, fit_usl, speed_ups
from harness.report.charts import speed
from harness.report.charts.theme import Spec
from harness.report.formatting import NOTHING, number, whole_percent
from harness.report.page_model import Table, Value, measured, table
from harness.report.summary import CellSummary, ScenarioSummary
from harness.report.trial_data import TrialData
from harness.text import plural

USL_NOTE = (
    "In the scaling law (Gunther's USL) sigma is the share of the work that cannot run side by side, kappa what hosts "
    "cost each other by having to agree; in brackets their confidence intervals."
)


def _bounds(summary: ScenarioSummary) -> dict[str, list[CellSummary]]:
    """The scenario's cells by what they have in common besides the number of hosts, in words."""
    bounds: dict[str, list[CellSummary]] = {}
    for cell in summary.cells:
        words = cell.label.split(", ")
        bound = ", ".join(word for word in words if word != plural(cell.cell.hosts, "app host")) or cell.cell.strategy
        bounds.setdefault(bound, []).append(cell)
    return bounds


def _rates(cells: Sequence[CellSummary], readings: Sequence[TrialData]) -> dict[int, list[float]]:
    """Number of hosts -> throughput of each valid trial."""
    names = {cell.cell.name for cell in cells}
    rates: dict[int, list[float]] = {}
    for reading in readings:
        rps = reading.row.figure("rps")
        if reading.row.cell.name in names and reading.row.valid and rps:
            rates.setdefault(reading.row.cell.hosts, []).append(rps)
    return rates


def scaling_charts(
    summary: ScenarioSummary, readings: Sequence[TrialData], *, shared_cores: bool
) -> Iterator[tuple[Spec, str, str]]:
    """Specification, caption and alternative text of each bound's picture, with the law through its points."""
    for bound, cells in _bounds(summary).items():
        rates = _rates(cells, readings)
        if len(rates) < 2:
            continue
        points = [(hosts, rps) for hosts, of in rates.items() for rps in of]
        fit = fit_usl(points, shared_cores=shared_cores)
        said = fit.sentence() if isinstance(fit, UslFit) else fit.reason
        twice = 2 * max(rates)
        if isinstance(fit, UslFit) and (ahead := fit.predict(twice)):
            expected = f"{number(ahead.value)} [{number(ahead.low)}, {number(ahead.high)}]"
            said += f"; {twice} hosts: {expected} requests/s to be expected, if nothing else gets full before"
        title = f"Throughput by app hosts: {bound}"
        rows = [{"hosts": hosts, "rps": rps} for hosts, rps in points]
        yield (
            speed.scaling(rows, fit if isinstance(fit, UslFit) else None, title=title),
            f"One point a trial, valid trials only. {said}. {USL_NOTE}",
            f"{title}. {said}",
        )


def scaling_tables(summary: ScenarioSummary, readings: Sequence[TrialData]) -> Iterator[Table]:
    """Speed-up and efficiency by the number of hosts, where one host was measured too."""
    for bound, cells in _bounds(summary).items():
        ups = speed_ups(_rates(cells, readings))
        if len(ups) < 2:
            continue
        yield table(
            f"Speed-up by app hosts: {bound}",
            ("app hosts", "requests/s", "speed-up", "95 % interval", "efficiency"),
            [
                [
                    Value(str(cell.cell.hosts)),
                    measured(cell, "rps"),
                    *_figures(ups.get(cell.cell.hosts)),
                ]
                for cell in sorted(cells, key=lambda cell: cell.cell.hosts)
            ],
            note="Speed-up: median throughput over that of one host; its interval resamples the trials of both, and "
            "needs five of each. Efficiency: speed-up over the number of hosts.",
        )


def _figures(up: SpeedUp | None) -> list[Value]:
    if up is None:
        return [Value(NOTHING)] * 3
    within = f"{up.interval.low:.2f} to {up.interval.high:.2f}" if up.interval else NOTHING
    return [Value(f"{up.value:.2f}"), Value(within), Value(whole_percent(up.efficiency))]
