"""What the report shows of single scenarios besides what it shows of all: one entry per scenario. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from harness.checks import names
from harness.report.charts import select
from harness.report.charts.select import Chart
from harness.report.page_model import Block
from harness.report.section_input import SectionInput
from harness.report.sections.capacity import capacity_blocks, capacity_charts, capacity_headline
from harness.report.sections.faults import fault_blocks, fault_charts, fault_headline
from harness.report.sections.findings_table import numbers_table
from harness.report.sections.isolation import isolation_blocks
from harness.report.sections.scaling import scaling_charts, scaling_tables
from harness.report.sections.sqlite_vs_postgres import claims_tables
from harness.report.sections.transactions import cycle_charts, transaction_blocks
from harness.report.summary import ScenarioSummary
from harness.text import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioExtras:
    """A scenario's own charts, which come before those of all, and its own tables and texts."""

    charts: Callable[[SectionInput], Iterator[Chart]] = lambda _: iter(())
    blocks: Callable[[SectionInput], Iterator[Block]] = lambda _: iter(())
    headline: Callable[[ScenarioSummary], str] = lambda _: ""
    """What the scenario showed, for the headline of a run that passes; empty where it showed less."""
    counts_by_key: bool = False
    """Whether a chart shows the acknowledged increments of each key; the samples are read for it."""
    explains_sqlite: bool = False
    """Whether the explanation of SQLite's errors belongs here, if the run has the scenario."""


def kept_writes(summary: ScenarioSummary) -> str:
    """Returns `1,000 of 1,000 concurrent writes acknowledged over 4 app hosts, none lost`; empty if one was lost."""
    cells = [cell for cell in summary.cells if cell.cell.backend == "postgres"]
    if not cells or any(cell.lost != 0 for cell in cells):
        return ""
    sent, ok = sum(cell.sent or 0 for cell in cells), sum(cell.ok or 0 for cell in cells)
    hosts = sorted({cell.cell.hosts for cell in cells})
    clients = {cell.cell.clients for cell in cells}
    trials = sum(cell.trials for cell in cells)
    over = plural(hosts[0], "app host") if len(hosts) == 1 else f"{hosts[0]} to {hosts[-1]} app hosts"
    each = f" in {trials} trials of {min(clients):,} at once" if trials > 1 and len(clients) == 1 else ""
    return f"{ok:,.0f} of {sent:,.0f} concurrent writes acknowledged over {over}{each}, none lost"


SCENARIO_EXTRAS: Mapping[str, ScenarioExtras] = {
    "bulk-insert": ScenarioExtras(
        blocks=numbers_table("Rows per second", names.ALL_OR_NOTHING, {"rows_per_s": "rows/s"})
    ),
    "capacity": ScenarioExtras(charts=capacity_charts, blocks=capacity_blocks, headline=capacity_headline),
    "concurrent-writes": ScenarioExtras(charts=select.convergence, headline=kept_writes, counts_by_key=True),
    "faults": ScenarioExtras(charts=fault_charts, blocks=fault_blocks, headline=fault_headline),
    "isolation": ScenarioExtras(charts=select.isolation, blocks=isolation_blocks),
    "list-append": ScenarioExtras(charts=cycle_charts, blocks=transaction_blocks),
    "bank": ScenarioExtras(
        blocks=numbers_table(
            "Totals read of all accounts",
            names.TOTAL,
            {
                "reads": "reads",
                "wrong": "wrong",
                "total": "right total",
                "transfers": "transfers",
                "refused": "refused",
            },
        )
    ),
    "pool-sweep": ScenarioExtras(
        charts=select.pool_sweep,
        blocks=numbers_table(
            "Time and connections by pool size",
            names.EFFECTIVE_POOL_SIZE,
            {
                "seconds": "took, s",
                "ideal_s": "ideal, s",
                "busy": "connections busy, mean",
                "waiting_ms": "waiting for one, median ms",
                "executing_ms": "executing, median ms",
            },
        ),
    ),
    "scaling": ScenarioExtras(charts=scaling_charts, blocks=scaling_tables),
    "sqlite-vs-postgres": ScenarioExtras(charts=select.backends, blocks=claims_tables, explains_sqlite=True),
}
"""Scenario -> its extras. A scenario without an entry has only what all scenarios have."""


def extras_of(name: str) -> ScenarioExtras:
    """Returns the extras of a scenario."""
    return SCENARIO_EXTRAS.get(name, ScenarioExtras())
