"""What a run prints at its end: cells, findings, verdict and where the report is. At most 100 columns wide.

Lines are built pure and plain; rich only colours the symbols where there is a terminal that wants it. Nothing
out of a file can move the cursor or colour the screen (`printable`).
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.errors import FormatError
from harness.isolation import matrix
from harness.model import Finding
from harness.report.criteria import answers
from harness.report.formatting import NOTHING, SYMBOLS, count, number
from harness.report.summary import CellSummary, ScenarioSummary, headline, summarise
from harness.report.trial_data import anomalies
from harness.store.run_reader import Run
from harness.text import printable

WIDTH = 80
HEAD = ("sent", "ok", "fail", "unknown", "lost", "req/s", "p50", "p95", "p99", "valid")
LEGEND = (
    "sent to unknown: of the measured seconds, over all trials; lost: of the warm-up too. req/s (acknowledged), p50, "
    "p95, p99 (ms, from the instant a request was due): medians over the valid trials."
)
SERVICE = ("service_p50_ms", "service_p95_ms", "service_p99_ms")
_STYLES = {"OCCURRED!!": "bold red", "✓": "green", "✗": "bold red", "?": "yellow", "!": "bold yellow"}


def print_summary(run: Run, report: Path | None = None, *, console: Console | None = None) -> None:
    """Prints the summary of `run`; `report` is the path of its page, where one was written."""
    console = console or Console(highlight=False)
    for line in lines(run, report=report, width=min(console.width, 100)):
        text = Text(line)
        for symbol, style in _STYLES.items():
            text.highlight_words([symbol], style)
        console.print(text, soft_wrap=True)


def lines(run: Run, *, report: Path | None = None, width: int = WIDTH) -> Iterator[str]:
    """The summary, line by line, none wider than `width` (80 at least; a path or name is not broken)."""
    width = max(width, WIDTH)
    scenarios = summarise(run)
    for scenario in scenarios:
        yield ""
        common = scenario.common if any(cell.sent is not None for cell in scenario.cells) else ""
        yield from _wrap(scenario.name + (f": {common}" if common else ""), width, "", "  ")
        yield from _table(scenario, width)
        yield from _matrix(run, scenario, width)
        for symbol, said in _findings(scenario):
            yield from _wrap(said, width, f"{symbol} ", "  ")
    if not scenarios:
        yield "nothing was measured"
    yield from _rest(run, scenarios, width)
    if report is not None:
        yield f"report: {printable(_short(report))}"


def _matrix(run: Run, scenario: ScenarioSummary, width: int) -> Iterator[str]:
    """Anomaly by level, where the scenario's trials ran isolation cases: what may occur, and what was seen."""
    rows: list[matrix.MatrixRow] = []
    for row in run.rows:
        if row.cell.scenario == scenario.name == "isolation":
            try:
                rows += anomalies(run.evidence(row.trial.order))
            except FormatError as error:
                yield from _wrap(f"trial {row.trial.order}: {error.message}", width, "! ", "  ")
    if rows:
        yield from (printable(line)[:width] for line in matrix.render(rows, width))
        yield ""


def _findings(scenario: ScenarioSummary) -> Iterator[tuple[str, str]]:
    """What fails or is unknown one by one; a check that passes in several cells once, with the first of them."""
    passed: dict[str, list[Finding]] = {}
    for one in scenario.findings:
        if one.verdict == "pass":
            passed.setdefault(one.check, []).append(one)
        else:
            label = scenario.labels.get(one.cell, "")
            where = f" [{label}]" if label and len(scenario.cells) > 1 else ""
            yield SYMBOLS[one.verdict], f"{one.check}{where}: {one.detail}"
    for check, group in passed.items():
        times = f", first of {len(group)} passes" if len(group) > 1 else ""
        yield SYMBOLS["pass"], f"{check}{times}: {group[0].detail}"


def _rest(run: Run, scenarios: Sequence[ScenarioSummary], width: int) -> Iterator[str]:
    notes = [f"skipped: {name}: {why}" for name, why in run.manifest.skipped.items()]
    notes += [f"! {text}" for text in run.manifest.warnings]
    notes += [
        f"! invalid: {scenario.name}, {cell.label}: {why}"
        for scenario in scenarios
        for cell in scenario.cells
        for why in cell.reasons
    ]
    yield ""
    if any(cell.medians for scenario in scenarios for cell in scenario.cells):
        yield from _wrap(LEGEND, width, "", "")
    for note in notes:
        yield from _wrap(note, width, "", "  ")
    yield ""
    yield "success criteria"
    for answer in answers(run):
        yield from _wrap(f"{answer.title}: {answer.state}", width, f"{SYMBOLS[answer.state]} ", "  ")
    yield ""
    top = headline(run, scenarios)
    yield from _wrap(f"{top.word}: {top.sentence}", width, "", "  ")


def _table(scenario: ScenarioSummary, width: int) -> Iterator[str]:
    """Cells under `HEAD`, latencies in ms; a cell's name stands before its figures, or above where it is too long."""
    table = [_figures(cell) for cell in scenario.cells]
    if not any(cell.sent is not None for cell in scenario.cells):
        return
    names = [printable(cell.label) if len(table) > 1 else "" for cell in scenario.cells]
    widths = [max(map(len, column)) for column in zip(HEAD, *table, strict=True)]
    room = width - sum(widths) - 2 * len(widths)
    left = max(map(len, names)) if max(map(len, names)) <= room else 0
    yield _aligned("", HEAD, left, widths)
    for cell, name, line in zip(scenario.cells, names, table, strict=True):
        if len(name) > left:
            yield from _wrap(name, width, "  ", "    ")
        yield _aligned(name if left else "", line, left, widths)
        yield from _service(cell, width)


def _service(cell: CellSummary, width: int) -> list[str]:
    """Open model: beside the latency, what a tool would report that starts its clock at the send.

    In the closed model the two are one, but for the microseconds between reading an answer and writing.
    """
    p50, p95, p99 = (number(cell.medians.get(name)) for name in SERVICE)
    if cell.cell.mode != "open" or p50 == NOTHING:
        return []
    return _wrap(f"service time, from the send: p50 {p50}, p95 {p95}, p99 {p99}", width, "    ", "    ")


def _figures(cell: CellSummary) -> tuple[str, ...]:
    medians = cell.medians
    valid = "✓" if cell.valid == cell.trials else "!"
    return (
        *(count(value) for value in (cell.sent, cell.ok, cell.fail, cell.unknown)),
        cell.lost_text,
        *(number(medians.get(name)) for name in ("rps", "p50_ms", "p95_ms", "p99_ms")),
        f"{valid} {cell.valid}/{cell.trials}" if cell.trials else NOTHING,
    )


def _aligned(name: str, line: Sequence[str], left: int, widths: Sequence[int]) -> str:
    return name.ljust(left) + "".join("  " + text.rjust(width) for text, width in zip(line, widths, strict=True))


def _wrap(text: str, width: int, first: str, rest: str) -> list[str]:
    wrapped = textwrap.wrap(
        printable(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
    return wrapped or [first.rstrip()]


def _short(path: Path) -> str:
    """The path from here where it lies below, so that it can be pasted and is short."""
    here = os.path.relpath(path)
    return str(path) if here.startswith("..") else here
