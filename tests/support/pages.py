"""The page of a stored run, for the tests of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.report.page import Page, build
from harness.report.page_model import Block, Fold, Section, Table, Value
from harness.report.run_summary import summarise
from harness.store.run_reader import Run


def page_of(run: Run) -> Page:
    """Returns the page of a run."""
    return build(summarise(run))


def only_section(run: Run) -> Section:
    """Returns the section of a run with one scenario."""
    (section,) = page_of(run).sections
    return section


def blocks_of(section: Section) -> list[Block]:
    """Returns the picture and all blocks of a card, folded or not."""
    return [*([section.picture] if section.picture else []), *_flat(section.blocks)]


def _flat(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from _flat(block.blocks)


def rows_of(section: Section, caption: str) -> list[Mapping[str, Value]]:
    """Returns the rows of the card's table whose caption begins so, folded or not; column -> value."""
    (table,) = [b for b in blocks_of(section) if isinstance(b, Table) and b.caption.startswith(caption)]
    return [dict(zip(table.head, row, strict=True)) for row in table.rows]
