"""What a run prints at its end: cells, findings, verdict and where the report is. At most 80 columns wide.

Lines are built pure and plain; rich only colours the symbols where there is a terminal that wants it. Nothing
out of a file can move the cursor or colour the screen (`plain`).
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.report.compare_table import plain
from harness.report.criteria import answers
from harness.report.phrase import NOTHING, SYMBOLS, count, number
from harness.report.summary import CellSummary, ScenarioSummary, headline, summarise
from harness.store import Run

WIDTH = 80
HEAD = ("sent", "ok", "fail", "unknown", "lost", "req/s", "p50", "p95", "p99", "valid")
_STYLES = {"✓": "green", "✗": "bold red", "?": "yellow", "!": "bold yellow"}


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
        yield from _wrap(scenario.name + (f": {scenario.common}" if scenario.common else ""), width, "", "  ")
        yield from _table(scenario, width)
        for finding in scenario.findings:
            label = scenario.labels.get(finding.cell, "")
            where = f" [{label}]" if label and len(scenario.cells) > 1 else ""
            yield from _wrap(f"{finding.check}{where}: {finding.detail}", width, f"{SYMBOLS[finding.verdict]} ", "  ")
    if not scenarios:
        yield "nothing was measured"
    yield from _rest(run, scenarios, width)
    if report is not None:
        yield f"report: {plain(_short(report))}"


def _rest(run: Run, scenarios: Sequence[ScenarioSummary], width: int) -> Iterator[str]:
    notes = [f"skipped: {name}: {why}" for name, why in run.manifest.skipped.items()]
    notes += [f"! {text}" for text in run.manifest.warnings]
    notes += [
        f"! invalid: {scenario.name}, {cell.label}: {why}"
        for scenario in scenarios
        for cell in scenario.cells
        for why in cell.reasons
    ]
    if notes:
        yield ""
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
    """Cells under `HEAD` (latencies in ms); a cell's name stands on the line above its figures."""
    table = [_figures(cell) for cell in scenario.cells]
    if not table:
        return
    head = tuple(f"{name} ms" if name in ("p50", "p95", "p99") else name for name in HEAD)
    widths = [max(map(len, column)) for column in zip(head, *table, strict=True)]
    if sum(widths) + 2 * len(widths) > width:  # the unit is dropped before a digit is
        head = HEAD
        widths = [max(map(len, column)) for column in zip(head, *table, strict=True)]
    yield _aligned(head, widths)
    for cell, line in zip(scenario.cells, table, strict=True):
        if len(table) > 1:
            yield from _wrap(cell.label, width, "  ", "    ")
        yield _aligned(line, widths)


def _figures(cell: CellSummary) -> tuple[str, ...]:
    medians = cell.medians
    valid = "✓" if cell.valid == cell.trials else "!"
    return (
        *(count(value) for value in (cell.sent, cell.ok, cell.fail, cell.unknown)),
        cell.lost_text,
        *(number(medians.get(name)) for name in ("rps", "p50_ms", "p95_ms", "p99_ms")),
        f"{valid} {cell.valid}/{cell.trials}" if cell.trials else NOTHING,
    )


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    return "  " + "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))


def _wrap(text: str, width: int, first: str, rest: str) -> list[str]:
    wrapped = textwrap.wrap(plain(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return wrapped or [first.rstrip()]


def _short(path: Path) -> str:
    """The path from here where it lies below, so that it can be pasted and is short."""
    here = os.path.relpath(path)
    return str(path) if here.startswith("..") else here
