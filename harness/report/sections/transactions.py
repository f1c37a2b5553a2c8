"""The anomalies among transactions: a table by level, the smallest cycles as pictures and as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.checks import names
from harness.model import Finding
from harness.report.charts.cycle import MAX_TXNS, cycle
from harness.report.charts.drawing import Chart
from harness.report.formatting import NOTHING, number
from harness.report.page_model import Block, Fold, Prose, Value, table
from harness.report.section_input import SectionInput

EDGES = (
    "An arrow leads from a transaction to one that must come after it. ww: it appended first. wr: the other read what "
    "it appended. rw: it did not read what the other appended. rt: it had ended before the other was sent."
)
_COLUMNS = {
    "transactions": "sent",
    "committed": "committed",
    "failed": "aborted",
    "unknown": "unknown",
    "reads": "reads",
}


def cycle_charts(source: SectionInput) -> Iterator[Chart]:
    """Returns a picture of one cycle per cell: the first that the level excludes, else the shortest that was found."""
    caption = EDGES
    for label, found in _findings(source):
        excluded = _excluded(found)
        cycles = [each for each in _witnesses(found) if 2 <= len(each["txns"]) <= MAX_TXNS and each["steps"]]
        if not cycles:
            continue
        shown = min(cycles, key=lambda each: (each["kind"] not in excluded, len(each["txns"])))
        wrong = shown["kind"] in excluded
        level = str(found.numbers.get("level", ""))
        title = f"{shown['kind']}, which {level} {'excludes' if wrong else 'allows'}: no serial order exists"
        txns = [(str(txn["name"]), str(txn["ops"])) for txn in shown["txns"]]
        kinds = [str(step[1]) for step in shown["steps"]]
        chain = " ".join(f"{name} -{kind}->" for (name, _), kind in zip(txns, kinds, strict=False))
        alt = f"{title}: {chain} {txns[0][0]}"
        yield Chart(name="cycle", spec=cycle(txns, kinds, title=title, subtitle=f"{label}."), caption=caption, alt=alt)
        caption = ""


def transaction_blocks(source: SectionInput) -> Iterator[Block]:
    """Returns the counts by level, then all anomalies as text, those that a level excludes unfolded."""
    rows = [_row(label, found) for label, found in _findings(source)]
    if rows:
        head = ("cell", *_COLUMNS.values(), "anomalies", "verdict")
        note = "Of one trial per cell. Aborted transactions were refused by the database (409) and not sent again."
        yield table("Transactions and anomalies by isolation level", head, rows, note=note)
    folded = []
    for label, found in _findings(source):
        excluded = _excluded(found)
        for each in _witnesses(found):
            prose = Prose(title=f"{each['kind']}: {label}", paragraphs=tuple(f"$ {line}" for line in each["lines"]))
            if each["kind"] in excluded:
                yield prose
            else:
                folded.append(prose)
    if folded:
        yield Fold(title="The anomalies that the levels allow, as text", blocks=tuple(folded))


def _findings(source: SectionInput) -> Iterator[tuple[str, Finding]]:
    by_cell = {f.cell: f for f in source.summary.findings if f.check == names.NO_FORBIDDEN_ANOMALY}
    for cell in source.summary.cells:
        if cell.cell.name in by_cell:
            yield cell.label, by_cell[cell.cell.name]


def _row(label: str, found: Finding) -> list[Value]:
    counts = [found.numbers.get(name) for name in _COLUMNS]
    shown = [Value(number(count) if isinstance(count, int | float) else NOTHING) for count in counts]
    kinds = found.numbers.get("anomalies")
    kinds = ", ".join(map(str, kinds)) if isinstance(kinds, Mapping) and kinds else "none"
    return [Value(label), *shown, Value(kinds), Value(found.verdict, mark=found.verdict)]


def _excluded(found: Finding) -> list[str]:
    stored = found.numbers.get("forbidden")
    return stored if isinstance(stored, list) else []


def _witnesses(found: Finding) -> Iterator[Mapping[str, Any]]:
    """The stored anomalies that have the form of harness/checks/transactions.py; run.yml may be foreign."""
    stored = found.numbers.get("witness")
    for each in stored if isinstance(stored, list) else ():
        if isinstance(each, Mapping) and {"kind", "lines", "txns", "steps"} <= each.keys() and _well_formed(each):
            yield each


def _well_formed(anomaly: Mapping[str, Any]) -> bool:
    lines, txns, steps = (anomaly[name] for name in ("lines", "txns", "steps"))
    return (
        all(isinstance(part, list) for part in (lines, txns, steps))
        and all(isinstance(txn, Mapping) and {"name", "ops"} <= txn.keys() for txn in txns)
        and all(isinstance(step, list) and len(step) == len(("from", "kind", "to")) for step in steps)
    )
