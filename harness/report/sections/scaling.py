"""Throughput by the number of app hosts, as chart and table: speed-up, efficiency, the scaling law. Pure.

There is one of each for every bound, strategy and variant: their cells differ in the number of hosts only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.analysis.block_ratio import INTERVAL_BLOCKS, Blocks, by_block
from harness.analysis.scaling_law import SpeedUp, UslFit, fit_usl, speed_ups
from harness.plan.scenario import joined
from harness.report.charts import speed
from harness.report.charts.drawing import Chart
from harness.report.formatting import NOTHING, number, whole_percent
from harness.report.page_model import Table, Value, measured, table
from harness.report.section_input import SectionInput
from harness.report.summary import CellSummary
from harness.report.trial_data import TrialData

USL_NOTE = (
    "In the scaling law (Gunther's USL) sigma is the share of the work that cannot run in parallel, kappa the cost of "
    "coordination between hosts; brackets hold their confidence intervals."
)


POOL_BOUND = "pool-bound (waits that the pools allow, not the hosts' own work)"


def _bounds(source: SectionInput) -> Mapping[str, Sequence[CellSummary]]:
    """Returns the scenario's cells by bound, strategy and variant, such as `pool-bound, upsert`."""
    bounds: dict[str, list[CellSummary]] = {}
    for cell in source.summary.cells:
        if cell.cell.rate_share is not None:
            continue  # the rate of an open load is no result
        bound = str(cell.cell.params.get("bound", ""))
        kind = {"pool": POOL_BOUND, "cpu": "CPU-bound"}.get(bound, bound)
        name = joined(kind, cell.cell.strategy, cell.cell.variant)
        bounds.setdefault(name, []).append(cell)
    return bounds


def _rates(cells: Sequence[CellSummary], trials: Sequence[TrialData]) -> dict[int, Blocks]:
    """Returns the throughput by the number of hosts and by block."""
    return {
        one.cell.hosts: by_block((t.row, t.row.figure("rps")) for t in trials if t.row.cell.name == one.cell.name)
        for one in cells
    }


def scaling_charts(source: SectionInput) -> Iterator[Chart]:
    """Returns the chart of each bound, with the scaling law through its points."""
    for bound, cells in _bounds(source).items():
        rates = _rates(cells, source.trials)
        points = [(hosts, rps) for hosts, of in rates.items() for rps in of.values() if rps]
        if len({hosts for hosts, _ in points}) < 2:
            continue
        fit = fit_usl(points, shared_cores=source.shared_cores)
        law = _law(fit, 2 * max(hosts for hosts, _ in points)) if isinstance(fit, UslFit) else fit.reason
        title = f"Throughput by app hosts: {bound}"
        yield Chart(
            name="throughput-by-hosts",
            spec=speed.scaling(
                [{"hosts": hosts, "rps": rps} for hosts, rps in points],
                fit if isinstance(fit, UslFit) else None,
                title=title,
            ),
            caption=f"One point per trial, valid trials only. {law}. {USL_NOTE}",
            alt=f"{title}. {law}",
        )


def _law(fit: UslFit, hosts: int) -> str:
    """Returns the law in words, with its prediction for more hosts where it allows one."""
    expected = fit.predict(hosts)
    if not expected:
        return fit.sentence()
    within = f"{number(expected.value)} [{number(expected.low)}, {number(expected.high)}]"
    return f"{fit.sentence()}; prediction for {hosts} hosts: {within} requests/s, unless another limit is reached first"


def scaling_tables(source: SectionInput) -> Iterator[Table]:
    """Returns speed-up and efficiency by the number of hosts, where one host was measured too."""
    for bound, cells in _bounds(source).items():
        ups = speed_ups(_rates(cells, source.trials))
        if len(ups) < 2:
            continue
        yield table(
            f"Speed-up by app hosts: {bound}",
            ("app hosts", "requests/s", "speed-up", "95 % interval", "efficiency"),
            [
                [Value(str(cell.cell.hosts)), measured(cell, "rps"), *_figures(ups.get(cell.cell.hosts))]
                for cell in sorted(cells, key=lambda cell: cell.cell.hosts)
            ],
            note="Speed-up: throughput divided by that of one host in the same repetition, so that drift does not look "
            f"like a difference. An interval needs {INTERVAL_BLOCKS} repetitions in which both trials are valid. "
            "Efficiency: speed-up divided by the number of hosts.",
        )


def _figures(up: SpeedUp | None) -> list[Value]:
    if up is None:
        return [Value(NOTHING)] * 3
    interval = up.ratio.interval if up.hosts > 1 else None
    within = f"{interval.low:.2f} to {interval.high:.2f}" if interval else NOTHING
    return [Value(f"{up.value:.2f}"), Value(within), Value(whole_percent(up.efficiency))]
