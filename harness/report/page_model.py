"""What a page is made of: sections with prose, tables and pictures. Data only; the template lays it out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.report.formatting import MINUS, NOTHING, number, span
from harness.report.summary import CellSummary

_NUMBER = re.compile(rf"(?:[+{MINUS}≥>] ?)?[\d,.]+(?: %| of [\d,]+)?|{NOTHING}")


@dataclass(frozen=True, slots=True)
class Value:
    """What stands in one place of a table: `note` in small below it, `mark` a verdict whose symbol goes before it."""

    text: str
    note: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A caption, one head, rows of equal length; the first column names the row."""

    kind: ClassVar[str] = "table"
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers alone, and so are set flush right."""
        return tuple(all(_NUMBER.fullmatch(v.text) for v in column) for column in zip(*self.rows, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """Paragraphs; one that begins with `$ ` is a command."""

    kind: ClassVar[str] = "prose"
    title: str
    paragraphs: tuple[str, ...]
    anchor: str = ""
    see: tuple[tuple[str, str], ...] = ()
    """Places of the page that belong to it: their anchors, and what is said of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A chart as SVG text from our own renderer, and the sentence that stands for it where it cannot be seen."""

    kind: ClassVar[str] = "picture"
    caption: str
    svg: str
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Blocks that stand behind their title until they are asked for."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: tuple[Table | Prose | Picture, ...]


Block = Table | Prose | Picture | Fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A finding as shown: verdict, check, the cell it is about (and how many are like it), the sentence."""

    verdict: str
    check: str
    about: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A scenario: its question, the answer, what it was asked to show, what was found, and the figures.

    `findings`: whatever does not pass, and of each check that does the first; `more`: the other passes.
    """

    name: str
    anchor: str
    question: str
    answer: str
    verdict: str
    background: str = ""
    criteria: tuple[str, ...] = ()
    findings: tuple[Line, ...] = ()
    more: tuple[Line, ...] = ()
    blocks: tuple[Block, ...] = ()


def table(caption: str, head: Sequence[str], rows: Iterable[Iterable[Value | str]], *, note: str = "") -> Table:
    """A Table, whose places may be given as plain text."""
    filled = tuple(tuple(v if isinstance(v, Value) else Value(v) for v in row) for row in rows)
    return Table(caption=caption, head=tuple(head), rows=filled, note=note)


def measured(cell: CellSummary, name: str, scale: float = 1.0) -> Value:
    """The median of a figure with the smallest and largest trial below it."""
    if name not in cell.medians:
        return Value(NOTHING)
    low, high = cell.spans[name]
    return Value(number(cell.medians[name] * scale), span(low * scale, high * scale))
