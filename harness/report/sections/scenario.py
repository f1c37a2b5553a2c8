"""A scenario's section of the page: what all scenarios show, and the scenario's extras. Pure.

A scenario that this version does not know still gets its answer, its findings and its figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.checks.finding import worst
from harness.model import VERDICTS, Finding
from harness.plan.scenario import joined
from harness.report.cell_labels import without
from harness.report.charts.select import charts, drawn
from harness.report.formatting import count, number
from harness.report.page_model import Block, Line, Section, Table, Value, measured, table
from harness.report.pairs import page_table
from harness.report.scenario_extras import extras_of
from harness.report.section_input import SectionInput
from harness.report.sections.bottleneck import (
    HEAD,
    NOTE,
    is_about_slowest,
    saturated_parts,
    slowest_table,
    telemetry_fold,
)
from harness.report.sections.sqlite_vs_postgres import sqlite_prose
from harness.report.summary import CellSummary, ScenarioSummary, scenario_answer

LATENCIES = (("mean_ms", "mean"), ("p50_ms", "p50"), ("p95_ms", "p95"), ("p99_ms", "p99"), ("max_ms", "max"))
STALL = (("stall_ms", "longest stall"),)
BY_OUTCOME = (
    ("ok_p50_ms", "acknowledged p50"),
    ("ok_p99_ms", "acknowledged p99"),
    ("refused_p50_ms", "not acknowledged p50"),
    ("refused_p99_ms", "not acknowledged p99"),
)
"""Shown where a cell has requests that were not acknowledged: a refusal is often quick."""
CLOSED = (
    "Percentiles of closed-loop cells omit stalls (coordinated omission): clients that wait send nothing. The longest "
    "stall is the longest time in which requests were in flight and none was answered. Take latencies from open-loop "
    "cells, where the rate does not depend on the service: their requests/s, in parentheses, is the load that was "
    "offered, and no finding. "
)
SERVICE = (("service_p99_ms", "service time p99"),)
"""Shown beside the latency in the open model: it counts from the send, as tools do that do not know the due time."""


def section(source: SectionInput) -> Section:
    """Returns the section of a scenario."""
    summary, scenario, extras = source.summary, source.scenario, extras_of(source.summary.name)
    verdict: str = worst(f.verdict for f in summary.findings)
    if verdict != "fail" and any(cell.valid < cell.trials for cell in summary.cells):
        verdict = "invalid"
    groups = _grouped(one for one in summary.findings if not is_about_slowest(one))
    blocks: list[Block] = [
        *drawn(summary.name, [*extras.charts(source), *charts(source)]),
        *extras.blocks(source),
        *_cells(source),
        *_strategies(source),
        *page_table(source.within, summary.name, summary.labels),
        *_errors(source),
        *slowest_table(summary),
        *sqlite_prose(source),
        *telemetry_fold(summary, source.trials, source.series),
    ]
    return Section(
        name=summary.name,
        anchor="scenario-" + re.sub(r"[^a-z0-9-]", "-", summary.name.lower()),
        question=scenario.question if scenario else "This version of pgcrucible has no scenario of this name.",
        answer=scenario_answer(summary),
        verdict=verdict,
        background=scenario.background if scenario else "",
        criteria=scenario.criteria if scenario else (),
        findings=tuple(_line(summary, group) for group in groups),
        more=tuple(_line(summary, [one]) for group in groups for one in group[1:]),
        blocks=tuple(blocks),
    )


def _grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Groups the findings that pass by their check; others, failed ones first, are groups of one."""
    groups: dict[object, list[Finding]] = {}
    for one in sorted(findings, key=lambda f: VERDICTS.index(f.verdict)):
        groups.setdefault(one.check if one.verdict == "pass" else (one.check, one.cell), []).append(one)
    return list(groups.values())


def _line(summary: ScenarioSummary, group: Sequence[Finding]) -> Line:
    first = group[0]
    about = summary.labels.get(first.cell, first.cell.removeprefix(summary.name).lstrip(".").replace(".", " "))
    more = f"the first of {len(group)} that pass" if len(group) > 1 else ""
    return Line(
        verdict=first.verdict, check=first.check, about="; ".join(filter(None, (about, more))), detail=first.detail
    )


def _cells(source: SectionInput) -> list[Table]:
    """Returns the table of all cells: counts, figures, saturated parts, number of valid trials."""
    summary = source.summary
    if not summary.has_load:
        return []
    head = ["cell", "sent", "ok", "fail", "unknown", "lost updates", "requests/s"]
    times = (
        *LATENCIES,
        *(STALL if any("stall_ms" in cell.medians for cell in summary.cells) else ()),
        *(BY_OUTCOME if any(cell.fail or cell.unknown for cell in summary.cells) else ()),
        *(SERVICE if any(cell.cell.mode == "open" for cell in summary.cells) else ()),
    )
    head += [f"{name}, ms" for _, name in times] + [HEAD, "valid trials"]
    rows = [
        [
            Value(cell.label, joined(cell.aside, "closed loop" if cell.cell.omits_stalls else "")),
            *(Value(count(value)) for value in (cell.sent, cell.ok, cell.fail, cell.unknown)),
            _lost(cell),
            *(measured(cell, name) for name in ("rps", *(name for name, _ in times))),
            saturated_parts(source.trials, cell.cell.name),
            Value(f"{cell.valid} of {cell.trials}", mark="" if cell.valid == cell.trials else "invalid"),
        ]
        for cell in summary.cells
    ]
    shared = f"All cells: {summary.common}. " if summary.common else ""
    return [
        table(
            "Results by cell",
            head,
            rows,
            note=f"{shared}Counts are totals of the measured phase over all trials; lost updates include the warm-up, "
            "and so do the counts in findings. Requests/s counts acknowledged requests. Latency is measured from the "
            "time at which a request was due, service time from the send. Both and requests/s are medians over the "
            "valid trials, with the smallest and the largest trial below; ? marks times that the load generator may "
            f"have limited. A percentile has ten requests beyond it. {CLOSED}{NOTE}",
        )
    ]


def _lost(cell: CellSummary) -> Value:
    return Value(cell.lost_text, mark="fail" if cell.lost else "")


def _strategies(source: SectionInput) -> list[Table]:
    """Returns the comparison of strategies, where more than one was measured on PostgreSQL."""
    cells = [cell for cell in source.summary.cells if cell.cell.backend == "postgres" and cell.cell.strategy]
    if len({cell.cell.strategy for cell in cells}) < 2:
        return []
    loads = [without(cell.label, cell.cell.strategy) for cell in cells]
    rows = [
        [
            Value(cell.cell.strategy),
            Value(load, "closed loop" if cell.cell.omits_stalls else ""),
            _lost(cell),
            measured(cell, "rps"),
            measured(cell, "p50_ms"),
            measured(cell, "p99_ms"),
            Value(number(cell.medians.get("retries"))),
            Value(number(cell.medians.get("transactions"))),
            saturated_parts(source.trials, cell.cell.name),
        ]
        for cell, load in sorted(zip(cells, loads, strict=True), key=lambda pair: loads.index(pair[1]))
    ]
    head = ("strategy", "cell", "lost updates", "requests/s", "p50, ms", "p99, ms")
    return [
        table(
            "Strategies side by side",
            (*head, "retries per commit", "transactions per request", HEAD),
            rows,
            note="Retries per commit: transactions repeated after a conflict, including those of rejected requests, "
            "per acknowledged request. Below one transaction per request, several requests share one (coalesce).",
        )
    ]


def _errors(source: SectionInput) -> list[Table]:
    """Returns the number of requests by error name, where there were errors."""
    rows = [
        [source.summary.labels.get(cell, cell), error or "(no name)", count(requests)]
        for cell, kinds in source.errors.items()
        for error, requests in sorted(kinds.items(), key=lambda item: -item[1])
    ]
    if not rows:
        return []
    return [
        table(
            "Requests that were not acknowledged, by error",
            ("cell", "error", "requests"),
            rows,
            note="Over all trials. The table above counts the requests that were certainly not applied (fail) and "
            "those that may have been (unknown); the oracle allows for both.",
        )
    ]
