"""A page of cards about several runs: the verdict, what limits it, one card a part. Data only; cards.html.j2 lays out.

The pages of comparisons (comparison_page) and trends (trend_page) are of this kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.html import as_html
from harness.report.page_model import Block, Picture
from harness.report.run_summary import Headline
from harness.report.tiles import Tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A part of the page. `verdict`: one of formatting.SYMBOLS, or empty; `pictures` are side by side."""

    name: str
    anchor: str
    verdict: str = ""
    answer: str = ""
    note: str = ""
    pictures: tuple[Picture, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CardsPage:
    """The content of a page in reading order. `limits`: sentences that a reader of the verdict must know."""

    title: str
    about: str
    headline: Headline
    command: str
    cards: tuple[Card, ...]
    words: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...] = ()
    limits: tuple[str, ...] = ()


def render(page: CardsPage) -> str:
    """Returns the page as HTML."""
    return as_html("cards.html.j2", page=page)
