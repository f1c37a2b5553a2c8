"""A scenario's section of the page: what all scenarios show, and the scenario's extras. Pure.

A scenario that this version does not know still gets its answer, its findings and its figures.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from harness.checks import names
from harness.checks.finding import judged, worst
from harness.model import VERDICTS, Finding
from harness.plan.scenario import joined
from harness.report.cell_labels import spoken, without
from harness.report.charts.drawing import drawn
from harness.report.charts.select import charts
from harness.report.formatting import count, number
from harness.report.page_model import Fold, Line, Prose, Section, Table, Value, measured, table
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
from harness.report.sections.sqlite_vs_postgres import sqlite_fold
from harness.report.summary import CellSummary, ScenarioSummary, deciding
from harness.report.within_card import within_answer, within_pictures
from harness.text import plural

LATENCIES = (("mean_ms", "mean"), ("p50_ms", "p50"), ("p95_ms", "p95"), ("p99_ms", "p99"), ("max_ms", "max"))
STALL = (("stall_ms", "longest stall"),)
BY_OUTCOME = (
    ("ok_p50_ms", "acknowledged p50"),
    ("ok_p99_ms", "acknowledged p99"),
    ("refused_p50_ms", "not acknowledged p50"),
    ("refused_p99_ms", "not acknowledged p99"),
)
"""Apart where a cell has requests that were not acknowledged: a refusal is often quick."""
CLOSED = (
    "Percentiles of closed-loop cells omit stalls (coordinated omission): clients that wait send nothing. The longest "
    "stall is the longest time in which requests were in flight and none was answered. Take latencies from open-loop "
    "cells, where the rate does not depend on the service: their requests/s, in parentheses, is the load that was "
    "offered, and no finding. "
)
SERVICE = (("service_p99_ms", "service time p99"),)
"""Shown beside the latency in the open model: it counts from the send, as tools do that do not know the due time."""


def section(source: SectionInput) -> Section:
    """Returns the card of a scenario."""
    summary, scenario, extras = source.summary, source.scenario, extras_of(source.summary.name)
    groups = _grouped(one for one in summary.findings if not is_about_slowest(one))
    variants = [pair for pair in source.within.pairs if pair.by == "variant" and pair.a.scenario == summary.name]
    pictures = [
        *within_pictures(variants, summary.labels, f"within-{anchor_of(summary.name)}"),
        *drawn(summary.name, [*extras.charts(source), *charts(source)]),
    ]
    figures = [
        *extras.blocks(source),
        *_cells(source),
        *_strategies(source),
        *page_table(source.within, summary.name, summary.labels),
        *_errors(source),
        *slowest_table(summary),
    ]
    words = Prose(
        paragraphs=(scenario.background,) if scenario and scenario.background else (),
        points=scenario.criteria if scenario else (),
    )
    lead, others = pictures[:1], tuple(pictures[1:])
    verdict = _verdict(summary)
    return Section(
        name=summary.name,
        anchor=anchor_of(summary.name),
        question=scenario.question if scenario else "This version of pgcrucible has no scenario of this name.",
        answer=" ".join(
            [
                *([within_answer(variants, summary.labels)] if variants else []),
                (extras.answer(source) if verdict in ("pass", "not held") else "") or deciding(summary),
            ]
        ),
        verdict=verdict,
        common=summary.common if summary.has_load else "",
        picture=lead[0] if lead else None,
        checks=_counts(summary),
        checks_open=verdict != "pass",
        findings=tuple(_line(summary, group) for group in groups),
        more=tuple(_line(summary, [one]) for group in groups for one in group[1:]),
        blocks=tuple(
            fold
            for fold in (
                Fold(title="All figures", blocks=tuple(figures), open=verdict == "fail"),
                Fold(title=f"More pictures ({len(others)})", blocks=others),
                *sqlite_fold(source),
                Fold(title="What is measured and what must hold", blocks=(words,) if words != Prose() else ()),
                *telemetry_fold(summary, source.trials, source.series),
            )
            if fold.blocks
        ),
    )


def anchor_of(name: str) -> str:
    """Returns the id of a scenario's card on the page."""
    return "scenario-" + re.sub(r"[^a-z0-9-]", "-", name.lower())


def _verdict(summary: ScenarioSummary) -> str:
    """Returns the worst verdict; what has invalid trials or a claim that does not hold is never `pass`."""
    verdict: str = worst(f.verdict for f in summary.findings)
    if verdict != "fail" and any(cell.valid < cell.trials for cell in summary.cells):
        return "invalid"
    return "not held" if verdict == "pass" and any(map(not_held, summary.findings)) else verdict


def not_held(one: Finding) -> bool:
    """Whether a finding is a published claim that the figures do not support; it decides nothing."""
    return one.check.startswith(names.CLAIM) and one.verdict == "shown" and not one.numbers.get("held", True)


def _shown_verdict(one: Finding) -> str:
    return "not held" if not_held(one) else one.verdict


def _counts(summary: ScenarioSummary) -> str:
    """Returns `13 checks pass`, or `2 of 13 checks fail, 1 could not be answered`, and the number of other figures."""
    checks = judged(summary.findings)
    times = Counter(one.verdict for one in checks)
    total, others = len(checks), len(summary.findings) - len(checks)
    parts = [
        f"{times['fail']} of {plural(total, 'check')} {'fails' if times['fail'] == 1 else 'fail'}"
        if times["fail"]
        else "",
        f"{times['unknown']} of {plural(total, 'check')} could not be answered" if times["unknown"] else "",
    ]
    if total and not any(parts):
        parts = [f"{plural(total, 'check')} {'passes' if total == 1 else 'pass'}"]
    invalid = sum(cell.trials - cell.valid for cell in summary.cells)
    claims = sum(map(not_held, summary.findings))
    return ", ".join(
        [
            *filter(None, parts),
            *([f"{plural(claims, 'claim')} {'does' if claims == 1 else 'do'} not hold"] if claims else []),
            *([f"{plural(invalid, 'invalid trial')}, on which no claim is based"] if invalid else []),
            *([plural(others, "figure") + " reported"] if others else []),
        ]
    )


def _grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Groups the findings that pass by their check; others, failed ones first, are groups of one."""
    order = [*VERDICTS[:2], "not held", *VERDICTS[2:]]
    groups: dict[object, list[Finding]] = {}
    for one in sorted(findings, key=lambda f: order.index(_shown_verdict(f))):
        groups.setdefault(one.check if one.verdict == "pass" else (one.check, one.cell), []).append(one)
    return list(groups.values())


def _line(summary: ScenarioSummary, group: Sequence[Finding]) -> Line:
    first = group[0]
    about = summary.label_of(first) if first.cell in summary.labels else spoken(first.cell, summary.name)
    more = f"the first of {len(group)} that pass" if len(group) > 1 else ""
    return Line(
        verdict=_shown_verdict(first),
        check=first.check,
        about="; ".join(filter(None, (about, more))),
        detail=first.detail,
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
        ),
        *_by_outcome(summary),
    ]


def _by_outcome(summary: ScenarioSummary) -> list[Table]:
    """Returns the latencies of acknowledged and of other requests, for the cells that have both kinds."""
    rows = [
        [Value(cell.label), *(measured(cell, name) for name, _ in BY_OUTCOME)]
        for cell in summary.cells
        if cell.fail or cell.unknown
    ]
    head = ["cell", *(f"{name}, ms" for _, name in BY_OUTCOME)]
    note = "Cells with requests that were not acknowledged. A refusal is often quick."
    return [table("Latency by outcome", head, rows, note=note)] if rows else []


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
