"""Prints the summary of a run: cells, findings, verdict and the path of the report, in at most 100 columns.

Lines are built as plain text; rich only colours the symbols on a terminal. Text from a file cannot move the cursor or
colour the screen (`printable`).
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.errors import FormatError
from harness.isolation import matrix
from harness.model import Finding
from harness.report import pairs
from harness.report.formatting import NOTHING, SYMBOLS, count, figure, spaced
from harness.report.notices import brief_warnings
from harness.report.run_summary import RunSummary
from harness.report.summary import CellSummary, ScenarioSummary
from harness.report.trial_data import isolation_rows
from harness.store.run_reader import Run
from harness.text import plural, printable

WIDTH = 80
HEAD = ("sent", "ok", "fail", "unknown", "lost", "req/s", "p50", "p95", "p99", "stall", "valid")
TIMES = ("p50_ms", "p95_ms", "p99_ms", "stall_ms")
LEGEND = (
    "sent, ok, fail, unknown: requests of the measured phase, over all trials; lost: lost updates, including the "
    "warm-up. req/s (acknowledged; in parentheses where an open load set the rate), p50, p95, p99 (ms, all requests, "
    "from the time at which a request was due), stall (ms, the longest time without a response): medians over the "
    "valid trials. ?: the load generator may have been the limit. A percentile has ten requests beyond it."
)
CLOSED = (
    "closed loop: percentiles omit stalls (coordinated omission), because clients that wait send nothing; read the "
    "longest stall beside them"
)
SERVICE = ("service_p50_ms", "service_p95_ms", "service_p99_ms")
BY_OUTCOME = {
    "acknowledged": ("ok_p50_ms", "ok_p95_ms", "ok_p99_ms"),
    "not acknowledged": ("refused_p50_ms", "refused_p95_ms", "refused_p99_ms"),
}
_STYLES = {"OCCURRED!!": "bold red", "✓": "green", "✗": "bold red", "?": "yellow", "!": "bold yellow"}


def print_summary(summary: RunSummary, report: Path | None = None, *, console: Console | None = None) -> None:
    """Prints the summary; `report` is the path of the run's page, if one is written."""
    console = console or Console(highlight=False)
    console.width = max(console.width, WIDTH)  # with COLUMNS=0 rich would print nothing
    for line in lines(summary, report=report, width=min(console.width, 100)):
        text = Text(line)
        for symbol, style in _STYLES.items():
            text.highlight_words([symbol], style)
        console.print(text, soft_wrap=True)


def lines(summary: RunSummary, *, report: Path | None = None, width: int = WIDTH) -> Iterator[str]:
    """Returns the summary by line, none wider than `width` (at least 80; paths and names are not broken)."""
    width = max(width, WIDTH)
    for scenario in summary.scenarios:
        yield ""
        common = scenario.common if scenario.has_load else ""
        yield from _wrap(scenario.name + (f": {common}" if common else ""), width, "", "  ")
        yield from _table(scenario, width)
        for text, is_row in pairs.lines(summary.within, scenario.name, scenario.labels):
            yield from [text] if is_row else _wrap(text, width, "", "  ")
        yield from _matrix(summary.run, scenario, width)
        for symbol, text in _findings(scenario):
            yield from _wrap(text, width, f"{symbol} ", "  ")
    if not summary.scenarios:
        yield "nothing was measured"
    yield from _rest(summary, width)
    if report is not None:
        yield f"report: {printable(_relative(report))}"


def _matrix(run: Run, scenario: ScenarioSummary, width: int) -> Iterator[str]:
    """Returns the matrix of anomalies, if the scenario's trials ran isolation cases."""
    rows: list[matrix.MatrixRow] = []
    for row in run.rows:
        if row.cell.scenario == scenario.name and row.figure("sent") is None:  # a workload that is not HTTP
            try:
                rows += isolation_rows(run.evidence(row.trial.order))
            except FormatError as error:
                yield from _wrap(f"trial {row.trial.order}: {error.message}", width, "! ", "  ")
    if rows:
        yield from (printable(line)[:width] for line in matrix.render(rows, width))
        yield ""


def _findings(scenario: ScenarioSummary) -> Iterator[tuple[str, str]]:
    """Returns symbol and text of each finding that does not pass, and one per check that passes: the first."""
    passed: dict[str, list[Finding]] = {}
    for one in scenario.findings:
        if one.verdict == "pass":
            passed.setdefault(one.check, []).append(one)
        else:
            label = scenario.label_of(one)
            cell = f" [{label}]" if label and len(scenario.cells) > 1 else ""
            yield SYMBOLS[one.verdict], f"{one.check}{cell}: {one.detail}"
    for check, group in passed.items():
        times = f", first of {len(group)} passes" if len(group) > 1 else ""
        yield SYMBOLS["pass"], f"{check}{times}: {group[0].detail}"


def _rest(summary: RunSummary, width: int) -> Iterator[str]:
    """Returns what is about the whole run: notes, success criteria, verdict."""
    manifest = summary.run.manifest
    notes = [f"skipped: {name}: {why}" for name, why in manifest.skipped.items()]
    notes += [f"! {text}" for text in brief_warnings(summary)]
    yield ""
    if any(cell.medians for scenario in summary.scenarios for cell in scenario.cells):
        yield from _wrap(LEGEND, width, "", "")
    for note in notes:
        yield from _wrap(note, width, "", "  ")
    yield ""
    yield "success criteria"
    for answer in summary.answers:
        why = f": {answer.because}" if answer.state == "not measured" else ""
        yield from _wrap(f"{answer.title}: {answer.state}{why}", width, f"{SYMBOLS[answer.state]} ", "  ")
    yield ""
    yield from _wrap(f"{summary.headline.word}: {summary.headline.sentence}", width, "", "  ")


def _table(scenario: ScenarioSummary, width: int) -> Iterator[str]:
    """Returns the cells under `HEAD`. A label is before the figures of its cell, or above them if it is too long."""
    if not scenario.has_load:
        return
    table = [_figures(cell) for cell in scenario.cells]
    names = [printable(cell.label) for cell in scenario.cells]
    widths = [max(map(len, column)) for column in zip(HEAD, *table, strict=True)]
    room = width - sum(widths) - 2 * len(widths)
    name_width = max((len(name) for name in names if len(name) <= room), default=0)
    yield _aligned("", HEAD, name_width, widths)
    for cell, name, line in zip(scenario.cells, names, table, strict=True):
        if len(name) > name_width:
            yield from _wrap(name, width, "", "  ")
        yield _aligned(name if len(name) <= name_width else "", line, name_width, widths)
        yield from _service(cell, width)
        yield from _by_outcome(cell, width)
    closed = [cell for cell in scenario.cells if cell.cell.omits_stalls and "p50_ms" in cell.medians]
    if closed:
        some = (
            "" if len(closed) == len(scenario.cells) else f" ({len(closed)} of {plural(len(scenario.cells), 'cell')})"
        )
        yield from _wrap(CLOSED.replace(":", f"{some}:", 1), width, "  ", "  ")


def _by_outcome(cell: CellSummary, width: int) -> list[str]:
    """Returns the latencies of acknowledged and of other requests, where a cell has both: refusals are often quick."""
    if not (cell.fail or cell.unknown):
        return []
    parts = []
    for name, columns in BY_OUTCOME.items():
        p50, p95, p99 = (figure(cell.medians.get(column), doubted=cell.times_doubted) for column in columns)
        if p50 != NOTHING:
            parts.append(f"{name}: p50 {p50}, p95 {p95}, p99 {p99}")
    return _wrap("; ".join(parts), width, "    ", "    ") if parts else []


def _service(cell: CellSummary, width: int) -> list[str]:
    """Returns the service time of a cell of the open model: what a tool reports that starts its clock at the send.

    In the closed model service time and latency are the same, except for microseconds.
    """
    p50, p95, p99 = (figure(cell.medians.get(name), doubted=cell.times_doubted) for name in SERVICE)
    if cell.cell.mode != "open" or p50 == NOTHING:
        return []
    return _wrap(f"service time, from the send: p50 {p50}, p95 {p95}, p99 {p99}", width, "    ", "    ")


def _figures(cell: CellSummary) -> tuple[str, ...]:
    medians = cell.medians
    valid = "✓" if cell.valid == cell.trials else "!"
    return (
        *(count(value) for value in (cell.sent, cell.ok, cell.fail, cell.unknown)),
        cell.lost_text,
        figure(medians.get("rps"), doubted=cell.times_doubted, offered=cell.cell.mode == "open"),
        *(figure(medians.get(name), doubted=cell.times_doubted) for name in TIMES),
        f"{valid} {cell.valid}/{cell.trials}" if cell.trials else NOTHING,
    )


def _aligned(name: str, line: Sequence[str], name_width: int, widths: Sequence[int]) -> str:
    figures = ("  " + text.rjust(width) for text, width in zip(line, widths, strict=True))
    return name.ljust(name_width) + "".join(figures)


def _wrap(text: str, width: int, first: str, rest: str) -> list[str]:
    """Returns the text by line; a number and its per cent sign are on one line."""
    unbroken = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", spaced(printable(text)))
    wrapped = textwrap.wrap(unbroken, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}%", " %") for line in wrapped] or [first.rstrip()]


def _relative(path: Path) -> str:
    """Returns the path relative to the working directory, if it is below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
