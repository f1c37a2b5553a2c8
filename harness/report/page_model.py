"""The elements of a page: sections with prose, tables and pictures. Data only; the template does the layout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.report.formatting import DOUBTED, MINUS, NOTHING, figure, span
from harness.report.summary import CellSummary, is_time

_NUMBER = re.compile(
    rf"(?:[+{MINUS}≥>] ?)?[\d,.]+(?: %| of [\d,]+|{re.escape(DOUBTED)})?|\([\d,.]+\)(?:{re.escape(DOUBTED)})?|{NOTHING}"
)


@dataclass(frozen=True, slots=True)
class Value:
    """One field of a table: `note` is small text below it, `mark` a verdict whose symbol is shown before it."""

    text: str
    note: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A caption, one head, and rows of equal length; the first column names the row."""

    kind: ClassVar[str] = "table"
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether all its values are numbers; such a column is aligned right."""
        return tuple(all(_NUMBER.fullmatch(v.text) for v in column) for column in zip(*self.rows, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """Paragraphs, then points, with a title or without; a paragraph that begins with `$ ` is a command.

    Words between backticks are code.
    """

    kind: ClassVar[str] = "prose"
    title: str = ""
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    see: tuple[tuple[str, str], ...] = ()
    """Links to related parts of the page: their anchors and texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A chart as SVG text from the project's own renderer, with its text alternative; `title` is its finding.

    `name`: what it shows, the same for every run; several pictures of a page may share one.
    """

    kind: ClassVar[str] = "picture"
    name: str
    title: str = ""
    subtitle: str = ""
    caption: str
    svg: str
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Blocks that are hidden behind their title unless `open`; `anchor` is its id on the page."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: tuple[Block, ...]
    anchor: str = ""
    open: bool = False


Block = Table | Prose | Picture | Fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A finding as shown: verdict, check, its cell (and the number of similar findings), the sentence."""

    verdict: str
    check: str
    about: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A scenario as a card: its question, the answer, the picture that shows it, the checks, and the details.

    `findings`: all that do not pass, and the first of each check that passes; `more`: the other passes. `verdict`: a
    verdict of checks, `invalid`, or `not held` where all checks pass and some claim does not hold.
    """

    name: str
    anchor: str
    question: str
    answer: str
    verdict: str
    common: str = ""
    """The settings that all cells share."""
    picture: Picture | None = None
    checks: str = ""
    """How many checks there are, by verdict."""
    checks_open: bool = False
    """Whether some finding needs to be read: the checks are not folded."""
    findings: tuple[Line, ...] = ()
    more: tuple[Line, ...] = ()
    blocks: tuple[Block, ...] = ()
    wide: bool = False
    """Whether the card takes the whole width of the page, where that has two columns."""


def table(caption: str, head: Sequence[str], rows: Iterable[Iterable[Value | str]], *, note: str = "") -> Table:
    """Returns a Table; its values may be given as plain text."""
    filled = tuple(tuple(v if isinstance(v, Value) else Value(v) for v in row) for row in rows)
    return Table(caption=caption, head=tuple(head), rows=filled, note=note)


def measured(cell: CellSummary, name: str) -> Value:
    """Returns the median of a figure with the smallest and largest trial below it."""
    if name not in cell.medians:
        return Value(NOTHING)
    text = figure(
        cell.medians[name],
        doubted=cell.times_doubted and is_time(name),
        offered=name == "rps" and cell.cell.mode == "open",
    )
    return Value(text, span(*cell.spans[name]))
