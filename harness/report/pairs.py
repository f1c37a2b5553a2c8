"""The strategies, backends and variants that a run compared within blocks, as text and as a table. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.compare import table as comparison_table
from harness.compare.rows import ABOUT_SHOWN, Row
from harness.compare.variants import Pair, VariantComparison
from harness.report.page_model import Table, Value, table
from harness.text import plural, printable

HEAD = ("A", "B", "B / A", "95 % interval", "p")
LEAST_SHOWN = 2
"""Blocks from which a comparison is mentioned: most runs measure every cell once, and compare nothing."""


def heading(comparison: VariantComparison) -> str:
    """Returns how the pairs were compared, and what a claim needs."""
    text = f"compared within {plural(comparison.blocks, 'block')} (one trial of each; A is the baseline)"
    if not comparison.tested:
        return text
    rows = plural(comparison.tested, "row")
    more = f"; --repeat {comparison.needed} shows more" if comparison.blocks < comparison.needed else ""
    return f"{text}: signed rank test, p corrected over {rows}{more}"


def about_shown(pairs: Sequence[Pair]) -> str:
    """Returns why latencies of pairs are only shown, and what compares them; empty where all are compared."""
    if not any(row.verdict == "shown" for pair in pairs for row in pair.rows):
        return ""
    has_open = any(pair.a.mode == "open" for pair in pairs)
    return f"{ABOUT_SHOWN}; {'those of the open load are' if has_open else '--rate R measures an open load'}"


def of_scenario(comparison: VariantComparison, scenario: str) -> list[Pair]:
    """Returns the pairs of a scenario that are worth a line; all variants are, which were measured to be compared."""
    enough = comparison.blocks >= LEAST_SHOWN
    return [p for p in comparison.pairs if p.a.scenario == scenario and (enough or p.by == "variant")]


def name(pair: Pair, labels: Mapping[str, str]) -> str:
    """Returns `B: upsert, 1 hot key; A: for-update, 1 hot key`."""
    a, b = (labels.get(cell.name, cell.name) for cell in (pair.a, pair.b))
    return f"B: {b}; A: {a}"


def lines(comparison: VariantComparison, scenario: str, labels: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """Returns the lines of a scenario's pairs, and whether a line is one of a table, which must not be broken."""
    shown = of_scenario(comparison, scenario)
    if not shown:
        return
    yield heading(comparison), False
    if reason := _none_tested(shown):
        yield f"no difference can be claimed: {reason}", False
        return
    if about := about_shown(shown):
        yield about, False
    table_of = {id(row): _texts(row) for pair in shown for row in pair.rows}
    columns = list(zip(("metric", *HEAD), *table_of.values(), strict=True))
    widths = [max(map(len, column)) for column in columns]
    yield _aligned(("metric", *HEAD), widths, "verdict"), True
    for pair in shown:
        yield name(pair, labels), False
        for row in pair.rows:
            yield _aligned(table_of[id(row)], widths, comparison_table.verdict(replace(row, note=""))), True
        for note in dict.fromkeys(row.note for row in pair.rows if row.note and row.verdict != "shown"):
            yield f"    {printable(note)}", False


def page_table(comparison: VariantComparison, scenario: str, labels: Mapping[str, str]) -> list[Table]:
    """Returns the table of a scenario's pairs; none where no cell has two blocks."""
    shown = of_scenario(comparison, scenario)
    if not shown:
        return []
    rows: list[list[Value | str]] = [
        [
            name(pair, labels),
            *_texts(row),
            str(row.n_b),
            Value(comparison_table.verdict(replace(row, note="")), printable(row.note)),
        ]
        for pair in shown
        for row in pair.rows
    ]
    note = (
        f"{heading(comparison)}. A block is one repetition: every cell once, in random order, so that drift does not "
        "look like a difference. ~ means that none was shown; the interval says how large one may be."
    )
    if about := about_shown(shown):
        note += f" {about[0].upper()}{about[1:]}."
    return [table("Compared within blocks", ("pair", "metric", *HEAD, "blocks", "verdict"), rows, note=note)]


def _none_tested(pairs: Sequence[Pair]) -> str:
    """Returns the reason of all rows where none has enough blocks."""
    rows = [row for pair in pairs for row in pair.rows if row.verdict != "shown"]
    few = [row.note for row in rows if row.verdict == "too few blocks"]
    return few[0] if few and len(few) == len(rows) else ""


def _texts(row: Row) -> tuple[str, ...]:
    metric, a, b, ratio, interval, p, *_ = comparison_table.texts(row)
    return metric, a, b, ratio, interval, p


def _aligned(line: Sequence[str], widths: Sequence[int], last: str) -> str:
    first, *middle = zip(line, widths, strict=True)
    numbers = "  ".join(text.rjust(width) for text, width in middle)
    return f"  {first[0].ljust(first[1])}  {numbers}  {last}".rstrip()
