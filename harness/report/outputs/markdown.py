"""The content of the page as Markdown for a pull request: `report --format md`. Pure.

GitHub refuses a comment of more than 65,536 characters, so what is long is left out, and a sentence says how much:
checks that are not green go first, then answers, warnings and tables of figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from harness.report.formatting import NOTHING, SYMBOLS, count, figure
from harness.report.outputs.escaping import code_block, in_html, inline, line, prose
from harness.report.page import Page
from harness.report.page_model import Line, Section
from harness.report.run_summary import RunSummary
from harness.report.summary import CellSummary, ScenarioSummary
from harness.text import plural

MOST_BYTES = 60_000
"""Size of the whole text."""
MOST_ROWS = 40
"""Cells of a scenario in its table of figures."""
GREEN = ("pass", "shown")
_TABLE = ("cell", "sent", "ok", "lost", "requests/s", "p50, ms", "p99, ms", "valid trials")
_CUT_BYTES = 160
"""Room for the sentence that says what a scenario leaves out."""


@dataclass(slots=True, kw_only=True)
class _Card:
    """A scenario as far as it fits: the line that is always shown, and what is behind it."""

    head: str
    is_open: bool
    answer: str = ""
    lines: list[str] = field(default_factory=list)
    left_out: int = 0
    figures: str = ""


class _Room:
    """The bytes that are left."""

    def __init__(self, size: int) -> None:
        self._left = size

    def takes(self, text: str) -> bool:
        """Whether the text fits; if so, its room is taken."""
        size = len(text.encode()) + 2
        if size > self._left:
            return False
        self._left -= size
        return True


def markdown(page: Page, summary: RunSummary) -> str:
    """Returns the text, of at most `MOST_BYTES`; `summary` is the one that the page was made of."""
    top, end = "\n".join(_top(page)), "\n".join(_end(page))
    room = _Room(MOST_BYTES - len((top + end).encode()) - 2 * _CUT_BYTES)
    pairs = list(zip(page.sections, summary.scenarios, strict=True))
    cards: list[tuple[_Card, Section, ScenarioSummary]] = []
    for section, one in pairs:
        card = _Card(head=_head(section), is_open=section.verdict != "pass")
        if room.takes(f"{card.head}\n<details open>\n\n</details>\n{'-' * _CUT_BYTES}"):
            cards.append((card, section, one))
    _fill(cards, room)
    warnings = _warnings(page, room)
    for card, _, one in cards:
        card.figures = _fitting(_figures(one), room)
    left_out = len(pairs) - len(cards)
    more = f"{plural(left_out, 'more scenario')} left out, because the text would be too long." if left_out else ""
    parts = [top, *(_shown(card) for card, *_ in cards), more, warnings, end]
    return "\n\n".join(part for part in parts if part) + "\n"


def _top(page: Page) -> Iterator[str]:
    """Yields verdict, figures, criteria and what limits them."""
    head = page.headline
    yield f"## {SYMBOLS[head.verdict]} {head.word}: {prose(head.sentence, most=700)}"
    yield ""
    yield f"pgcrucible run {inline(page.run_id, most=100)}, {inline(page.started, most=40)}: {inline(page.about)}"
    yield from _table(
        ("figure", "value", "of"),
        (
            (
                inline(tile.label, most=60),
                f"**{_marked(tile.state if tile.value != NOTHING else '')}{inline(tile.value, most=60)}**",
                prose(tile.note, most=400),
            )
            for tile in page.tiles
        ),
    )
    yield from _table(
        ("", "success criterion", "because"),
        ((_word(one.state), inline(one.title, most=100), prose(one.because, most=600)) for one in page.answers),
    )
    for one in page.notices.limiting:
        yield f"\n{SYMBOLS['warning']} **limits these figures**: {prose(one.text, most=500)}"


def _end(page: Page) -> Iterator[str]:
    yield "<details><summary>Repeat it</summary>\n"
    yield from (code_block(command, most=500) for command in page.reproduction[:5])
    yield "\nThe command of this run, as it was typed:\n"
    yield code_block(page.command)
    yield "\n</details>"


def _head(section: Section) -> str:
    counts = f": {in_html(section.checks, most=200)}" if section.checks else ""
    return f"{SYMBOLS[section.verdict]} <b>{in_html(section.name, most=60)}</b>{counts}"


def _fill(cards: Sequence[tuple[_Card, Section, ScenarioSummary]], room: _Room) -> None:
    """Adds the checks that are not green, the worst of all scenarios first, then the answers."""
    for verdict in ("fail", "unknown", "not held", "invalid"):
        for card, section, one in cards:
            for text in _invalid(one) if verdict == "invalid" else _against(section.findings, verdict):
                if room.takes(text):
                    card.lines.append(text)
                else:
                    card.left_out += 1
    for card, section, _ in cards:
        answer = "\n\n".join(filter(None, (line(section.answer), line(section.common, most=400))))
        card.answer = _fitting(answer, room)


def _against(lines: Iterable[Line], verdict: str) -> Iterator[str]:
    for one in lines:
        if one.verdict == verdict:
            about = f" ({inline(one.about, most=200)})" if one.about else ""
            yield f"- {_word(verdict)} **{inline(one.check, most=100)}**{about}: {prose(one.detail, most=2000)}"


def _invalid(one: ScenarioSummary) -> Iterator[str]:
    for cell in one.cells:
        for reason in cell.reasons:
            yield f"- {_word('invalid')} trial of {inline(cell.label, most=200)}: {prose(reason)}"


def _fitting(text: str, room: _Room) -> str:
    return text if text and room.takes(text) else ""


def _shown(card: _Card) -> str:
    cut = f"{plural(card.left_out, 'more line')} of checks left out, because the text would be too long."
    body = [card.answer, "\n".join(card.lines), cut if card.left_out else "", card.figures]
    inner = "".join(f"{part}\n\n" for part in body if part)
    return f"<details{' open' if card.is_open else ''}><summary>{card.head}</summary>\n\n{inner}</details>"


def _warnings(page: Page, room: _Room) -> str:
    """Returns the warnings that limit nothing, and what was skipped; empty without any."""
    lines = [f"- {SYMBOLS['warning']} {prose(one.text, most=500)}" for one in page.notices.others]
    for name, why in page.notices.skipped:
        lines.append(f"- {NOTHING} {inline(name, most=100)} was skipped: {prose(why, most=500)}")
    shown = [one for one in lines if room.takes(one)]
    if not lines:
        return ""
    title = "; ".join(
        [
            *([plural(len(page.notices.others), "warning")] if page.notices.others else []),
            *([f"{len(page.notices.skipped)} skipped"] if page.notices.skipped else []),
            *([f"{len(lines) - len(shown)} of them left out"] if len(shown) < len(lines) else []),
        ]
    )
    body = "\n".join(shown)
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _figures(one: ScenarioSummary) -> str:
    """Returns the table of the scenario's cells; empty where no requests were counted."""
    if not one.has_load:
        return ""
    rows = [_row(cell) for cell in one.cells[:MOST_ROWS]]
    more = f"\n\n{plural(len(one.cells) - MOST_ROWS, 'more cell')} left out." if len(one.cells) > MOST_ROWS else ""
    return "\n".join(_table(_TABLE, rows)).strip() + more


def _row(cell: CellSummary) -> tuple[str, ...]:
    medians, doubted = cell.medians, cell.times_doubted
    return (
        inline(cell.label, most=120),
        count(cell.sent),
        count(cell.ok),
        f"**{cell.lost_text}**" if cell.lost else cell.lost_text,
        figure(medians.get("rps"), doubted=doubted, offered=cell.cell.mode == "open"),
        *(figure(medians.get(name), doubted=doubted) for name in ("p50_ms", "p99_ms")),
        f"{'' if cell.valid == cell.trials else _marked('invalid')}{cell.valid} of {cell.trials}",
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _marked(state: str) -> str:
    return f"{SYMBOLS[state]} " if state else ""


def _word(state: str) -> str:
    return f"{SYMBOLS[state]} {state}"
