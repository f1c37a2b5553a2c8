"""A table of the numbers that a check has in its findings, one row per cell. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from harness.report.formatting import NOTHING, number
from harness.report.page_model import Table, table
from harness.report.section_input import SectionInput


def numbers_table(caption: str, check: str, columns: Mapping[str, str]) -> Callable[[SectionInput], Iterator[Table]]:
    """Returns a function that makes the table; `columns`: name of a number -> head of its column."""

    def tables(source: SectionInput) -> Iterator[Table]:
        numbers = {f.cell: f.numbers for f in source.summary.findings if f.check == check}
        rows = [
            [cell.label, *(_figure(numbers[cell.cell.name].get(name)) for name in columns)]
            for cell in source.summary.cells
            if cell.cell.name in numbers
        ]
        note = "Of one trial per cell: the first one that fails, or else the first one."
        if rows:
            yield table(caption, ("cell", *columns.values()), rows, note=note)

    return tables


def _figure(value: object) -> str:
    return number(value) if isinstance(value, int | float) else NOTHING
