"""The page of a stored run, for the tests of the report."""

from __future__ import annotations

from collections.abc import Mapping

from harness.report.page import Page, build
from harness.report.page_model import Fold, Section, Table, Value
from harness.report.run_summary import summarise
from harness.store.run_reader import Run


def page_of(run: Run) -> Page:
    """Returns the page of a run."""
    return build(summarise(run))


def only_section(run: Run) -> Section:
    """Returns the section of a run with one scenario."""
    (section,) = page_of(run).sections
    return section


def rows_of(section: Section, caption: str) -> list[Mapping[str, Value]]:
    """Returns the rows of the section's table whose caption begins so, folded or not; column -> value."""
    folded = [inner for block in section.blocks if isinstance(block, Fold) for inner in block.blocks]
    (table,) = [b for b in [*section.blocks, *folded] if isinstance(b, Table) and b.caption.startswith(caption)]
    return [dict(zip(table.head, row, strict=True)) for row in table.rows]
