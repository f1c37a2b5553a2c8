"""What the report shows of single scenarios besides what it shows of all: one entry per scenario. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from harness.checks import names
from harness.report import scenario_answers as answers
from harness.report.charts import lead, select
from harness.report.charts.drawing import Chart
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioExtras:
    """A scenario's own charts, which come before those of all, and its own tables and texts."""

    charts: Callable[[SectionInput], Iterator[Chart]] = lambda _: iter(())
    blocks: Callable[[SectionInput], Iterator[Block]] = lambda _: iter(())
    headline: Callable[[ScenarioSummary], str] = lambda _: ""
    """What the scenario showed, for the headline of a run that passes; empty where it showed less."""
    answer: Callable[[SectionInput], str] = lambda _: ""
    """The answer of a scenario that passes; empty: the findings that decide are the answer."""
    counts_by_key: bool = False
    """Whether a chart shows the acknowledged increments of each key; the samples are read for it."""
    shows_requests: bool = False
    """Whether a chart shows single requests; the samples are kept for it."""
    explains_sqlite: bool = False
    """Whether the explanation of SQLite's errors belongs here, if the run has the scenario."""


def _kept(source: SectionInput) -> Iterator[Chart]:
    yield from lead.kept(source)
    yield from select.convergence(source)


def _scaling(source: SectionInput) -> Iterator[Chart]:
    yield from lead.scaling(source)
    yield from scaling_charts(source)


SCENARIO_EXTRAS: Mapping[str, ScenarioExtras] = {
    "bulk-insert": ScenarioExtras(
        charts=lead.bulk_insert,
        blocks=numbers_table("Rows per second", names.ALL_OR_NOTHING, {"rows_per_s": "rows/s"}),
        answer=answers.bulk_insert,
    ),
    "capacity": ScenarioExtras(charts=capacity_charts, blocks=capacity_blocks, headline=capacity_headline),
    "concurrent-writes": ScenarioExtras(
        charts=_kept,
        headline=answers.kept_writes,
        answer=answers.concurrent_writes,
        counts_by_key=True,
    ),
    "connections": ScenarioExtras(charts=lead.answered, answer=answers.connections),
    "deadlocks": ScenarioExtras(charts=lead.deadlocks, answer=answers.deadlocks, shows_requests=True),
    "isolation": ScenarioExtras(charts=select.isolation, blocks=isolation_blocks, answer=answers.isolation),
    "long-transactions": ScenarioExtras(
        charts=lead.long_transactions, answer=answers.long_transactions, shows_requests=True
    ),
    "faults": ScenarioExtras(charts=fault_charts, blocks=fault_blocks, headline=fault_headline, answer=answers.faults),
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
        answer=answers.pool_sweep,
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
    "scaling": ScenarioExtras(charts=_scaling, blocks=scaling_tables, answer=answers.scaling),
    "sqlite-vs-postgres": ScenarioExtras(
        charts=lead.backends, blocks=claims_tables, answer=answers.sqlite_vs_postgres, explains_sqlite=True
    ),
    "throughput": ScenarioExtras(charts=lead.throughput, answer=answers.throughput),
}
"""Scenario -> its extras. A scenario without an entry has only what all scenarios have."""


def extras_of(name: str) -> ScenarioExtras:
    """Returns the extras of a scenario."""
    return SCENARIO_EXTRAS.get(name, ScenarioExtras())
