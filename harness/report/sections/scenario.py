"""A scenario's part of the page: the same for each, and what a few scenarios show besides. Pure.

A scenario that nobody here has heard of still gets its question, its answer, its findings and its figures.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.checks import names
from harness.checks.finding import worst
from harness.model import BACKEND_NAMES, VERDICTS, Finding
from harness.plan.scenario import Scenario
from harness.report.formatting import NOTHING, SYMBOLS, count, number
from harness.report.page_model import Block, Fold, Line, Picture, Prose, Section, Table, Value, measured, table
from harness.report.sections.bottleneck import HEAD, NOTE, held_back
from harness.report.sections.scaling import scaling_tables
from harness.report.sections.sqlite_vs_postgres import claims_tables, explained
from harness.report.summary import CellSummary, ScenarioSummary, scenario_answer
from harness.report.trial_data import TrialData

LATENCIES = (("mean_ms", "mean"), ("p50_ms", "p50"), ("p95_ms", "p95"), ("p99_ms", "p99"), ("max_ms", "max"))
SERVICE = (("service_p99_ms", "service time p99"),)
"""Shown beside the latency where requests were due by the clock (the open model): from the send, as a tool reports
that does not know when a request was due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionInput:
    """What was read of a run for one scenario."""

    summary: ScenarioSummary
    scenario: Scenario | None = None
    readings: Sequence[TrialData] = ()
    pictures: Sequence[Picture] = ()
    explains: bool = False
    """Whether this is where the page says why a shared SQLite file fails."""
    behind: Sequence[Fold] = ()
    """What hosts and database did meanwhile."""

    @property
    def errors(self) -> Mapping[str, Mapping[str, int]]:
        """Cell name -> error name -> requests, over all trials."""
        errors: dict[str, Counter[str]] = {}
        for reading in self.readings:
            if reading.errors:
                errors.setdefault(reading.row.cell.name, Counter()).update(reading.errors)
        return errors


def section(material: SectionInput) -> Section:
    """The section of a scenario."""
    summary, scenario = material.summary, material.scenario
    invalid = any(cell.valid < cell.trials for cell in summary.cells)
    verdict: str = worst(f.verdict for f in summary.findings)
    groups = _grouped(summary.findings)
    special = SPECIAL.get(summary.name, _nothing_special)
    blocks: list[Block] = [*material.pictures, *special(material), *_cells(material), *_strategies(material)]
    blocks += [*_errors(material), *explained(summary, material.readings, material.errors, whole=material.explains)]
    blocks += material.behind
    return Section(
        name=summary.name,
        anchor="scenario-" + re.sub(r"[^a-z0-9-]", "-", summary.name.lower()),
        question=scenario.question if scenario else "This version of pgcrucible has no scenario of this name.",
        answer=scenario_answer(summary),
        verdict="invalid" if invalid and verdict != "fail" else verdict,
        background=scenario.background if scenario else "",
        criteria=scenario.criteria if scenario else (),
        findings=tuple(_line(summary, group) for group in groups),
        more=tuple(_line(summary, [one]) for group in groups for one in group[1:]),
        blocks=tuple(blocks),
    )


def _grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """What fails, then what is not known, one by one; what passes, by its check."""
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


def _cells(material: SectionInput) -> list[Table]:
    """Every cell: what was sent and what became of it, how fast, held back by what, in how many trials."""
    summary = material.summary
    if not any(cell.sent is not None for cell in summary.cells):
        return []
    head = ["cell", "sent", "ok", "fail", "unknown", "lost updates", "requests/s"]
    shown = (*LATENCIES, *(SERVICE if any(cell.cell.mode == "open" for cell in summary.cells) else ()))
    head += [f"{name}, ms" for _, name in shown] + [HEAD, "valid trials"]
    rows = [
        [
            Value(cell.label or summary.common, cell.aside),
            *(Value(count(value)) for value in (cell.sent, cell.ok, cell.fail, cell.unknown)),
            Value(cell.lost_text, mark="fail" if cell.lost else ""),
            *(measured(cell, name) for name in ("rps", *(name for name, _ in shown))),
            held_back(material.readings, cell.cell.name),
            Value(f"{cell.valid} of {cell.trials}", mark="" if cell.valid == cell.trials else "invalid"),
        ]
        for cell in summary.cells
    ]
    shared = f"All cells: {summary.common}. " if summary.common and len(summary.cells) > 1 else ""
    return [
        table(
            "What was measured",
            head,
            rows,
            note=f"{shared}Counts are of the measured seconds, totals over all trials; lost updates, and what findings "
            "count, are of the warm-up too. Requests/s (acknowledged ones) and latency (from the instant a request was "
            "due; service time: from the send) are the median over the valid trials, with the smallest and the "
            f"largest trial below. {NOTE}",
        )
    ]


def _strategies(material: SectionInput) -> list[Table]:
    """Strategies side by side, where more than one was measured on PostgreSQL."""
    cells = [cell for cell in material.summary.cells if cell.cell.backend == "postgres" and cell.cell.strategy]
    if len({cell.cell.strategy for cell in cells}) < 2:
        return []
    order = [_without(cell.label, cell.cell.strategy) for cell in cells]
    rows = [
        [
            Value(cell.cell.strategy),
            Value(_without(cell.label, cell.cell.strategy)),
            Value(cell.lost_text, mark="fail" if cell.lost else ""),
            measured(cell, "rps"),
            measured(cell, "p50_ms"),
            measured(cell, "p99_ms"),
            Value(_per_commit(cell, "retries")),
            Value(_per_commit(cell, "transactions")),
            held_back(material.readings, cell.cell.name),
        ]
        for cell in sorted(cells, key=lambda cell: order.index(_without(cell.label, cell.cell.strategy)))
    ]
    head = ("strategy", "cell", "lost updates", "requests/s", "p50, ms", "p99, ms")
    return [
        table(
            "Strategies side by side",
            (*head, "retries per commit", "transactions per request", HEAD),
            rows,
            note="Retries per commit: transactions begun again after a conflict, those of refused requests too, for "
            "each acknowledged request. Below one transaction per request, requests have shared one (coalesce).",
        )
    ]


def _without(label: str, word: str) -> str:
    return ", ".join(part for part in label.split(", ") if part != word)


def _per_commit(cell: CellSummary, name: str) -> str:
    return number(cell.medians.get(name))


def _errors(material: SectionInput) -> list[Table]:
    """What was refused or left unknown, by the error's name."""
    summary = material.summary
    rows = [
        [summary.labels.get(cell) or summary.common or cell, error or "(no name)", count(times)]
        for cell, kinds in material.errors.items()
        for error, times in sorted(kinds.items(), key=lambda item: -item[1])
    ]
    if not rows:
        return []
    return [
        table(
            "What was not acknowledged, and why",
            ("cell", "error", "requests"),
            rows,
            note="Over all trials. Whether such a request was surely not applied (fail) or may have been (unknown) "
            "is counted in the table above; the oracle allows for both.",
        )
    ]


def _nothing_special(_: SectionInput) -> list[Block]:
    return []


def _isolation(material: SectionInput) -> list[Block]:
    """The anomalies level by level: what the standard allows, what the database documents, what was observed."""
    tables: list[Table] = []
    for reading in material.readings:
        levels: dict[str, list[Mapping[str, object]]] = {}
        for row in reading.matrix:
            levels.setdefault(str(row["level"]), []).append(row)
        for level, rows in levels.items():
            name = BACKEND_NAMES.get(str(rows[0]["backend"]), str(rows[0]["backend"]))
            version = str(rows[0]["version"])
            caption = f"{level}: {version if name in version else f'{name} ({version})'}"
            head = ("anomaly", "standard", "documented", "observed", "verdict")
            tables.append(table(caption, head, map(_anomaly, rows)))
    witnesses = [witness for reading in material.readings for witness in _witnesses(reading.matrix)]
    return [*witnesses, Fold(title="Every cell of the matrix in words", blocks=tuple(tables))] if tables else []


def _anomaly(row: Mapping[str, object]) -> list[Value]:
    return [
        Value(f"{row['case']} ({row['title']})", str(row["meaning"])),
        Value(_rule(row["standard"], silent=row["standard_silent"])),
        Value(_rule(row["documented"])),
        Value(_observed(row), str(row["reason"])),
        Value(str(row["verdict"]), mark=str(row["verdict"])),
    ]


def _witnesses(rows: Sequence[Mapping[str, object]]) -> list[Block]:
    """The statements that show an anomaly which ought not to be there."""
    return [
        Prose(
            title=f"Witness: {row['case']} at {row['level']}",
            paragraphs=tuple(f"$ {line}" for line in row["witness"]),  # type: ignore[attr-defined]  # a list of lines
        )
        for row in rows
        if row["verdict"] == "fail"
    ]


def _rule(rule: object, *, silent: object = False) -> str:
    return {"possible": "may occur", "prevented": "prevented"}.get(str(rule), NOTHING) + ("*" if silent else "")


def _observed(row: Mapping[str, object]) -> str:
    if row["kind"] == "occurred":
        return f"{SYMBOLS['invalid']} occurred" if row["verdict"] == "fail" else "occurred"
    return f"not observed ({row['observed']})" if row["kind"] != "unknown" else "unknown"


def _claims(material: SectionInput) -> list[Block]:
    return list(claims_tables(material.summary))


def _numbers(caption: str, check: str, columns: Mapping[str, str]) -> Callable[[SectionInput], list[Block]]:
    """What a check measured in each cell, as a table: the name of a figure -> how its column is headed."""

    def tables(material: SectionInput) -> list[Block]:
        found = {f.cell: f.numbers for f in material.summary.findings if f.check == check}
        rows = [
            [cell.label or material.summary.common, *(_figure(found[cell.cell.name].get(name)) for name in columns)]
            for cell in material.summary.cells
            if cell.cell.name in found
        ]
        note = "Of one trial of each cell: the first, or the first that fails."
        return [table(caption, ("cell", *columns.values()), rows, note=note)] if rows else []

    return tables


def _figure(value: object) -> str:
    return number(value) if isinstance(value, int | float) else NOTHING


SPECIAL: Mapping[str, Callable[[SectionInput], list[Block]]] = {
    "bulk-insert": _numbers("Rows a second", names.ALL_OR_NOTHING, {"rows_per_s": "rows/s"}),
    "isolation": _isolation,
    "pool-sweep": _numbers(
        "What a pool of its size brings",
        names.EFFECTIVE_POOL_SIZE,
        {
            "seconds": "took, s",
            "ideal_s": "ideal, s",
            "busy": "connections busy, mean",
            "waiting_ms": "waiting for one, median ms",
            "executing_ms": "executing, median ms",
        },
    ),
    "scaling": lambda material: [*scaling_tables(material.summary, material.readings)],
    "sqlite-vs-postgres": _claims,
}
"""What a scenario shows besides what all show."""
