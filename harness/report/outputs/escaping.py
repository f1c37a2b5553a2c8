"""Foreign text inside GitHub's Markdown: it stays text, notifies no one and links to nothing. Pure."""

from __future__ import annotations

import re
from html import escape

from harness.text import printable

_MARKS = re.compile(r"([\\`*_\[\]|~$])")
"""What begins Markdown inside a line; `<`, `>` and `&` become entities. Text that begins a line: `line`."""
_APART = "\u200b"
"""Zero width. GitHub makes mentions, references and links of finished text, where a backslash is gone."""
_BEGINNING = re.compile(r"[-+#=\s]|\d+[.)]")
"""What makes a heading, a list, a rule or code of the line that it begins; the marks inside a line are escaped."""
_JOINED = re.compile(r"@(?=\w)|#(?=\d)|:(?=//)|\bGH-(?=\d)|\bwww(?=\.)", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:mailto|xmpp):", re.IGNORECASE)


def _shown(text: object, most: int) -> str:
    shown = printable(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _unlinked(text: str) -> str:
    text = _JOINED.sub(lambda found: found[0] + _APART, text)
    return _ADDRESS.sub(lambda found: found[0] + _APART, text)


def inline(text: object, *, most: int = 1000) -> str:
    """Returns text of at most `most` characters, as plain text within a line or a field of a table."""
    return _MARKS.sub(r"\\\1", _unlinked(escape(_shown(text, most), quote=False)))


def prose(text: object, *, most: int = 1000) -> str:
    """Returns text like `inline`, with words between paired backticks as code."""
    parts = _shown(text, most).split("`")
    if len(parts) % 2 == 0:
        return inline(text, most=most)
    texts = [inline(part, most=most) for part in parts]
    return "".join(f"<code>{one}</code>" if place % 2 else one for place, one in enumerate(texts))


def line(text: object, *, most: int = 1000) -> str:
    """Returns text like `prose` that may begin a line: it is a paragraph, whatever it begins with."""
    shown = prose(text, most=most)
    return _APART + shown if _BEGINNING.match(shown) else shown


def in_html(text: object, *, most: int = 1000) -> str:
    """Returns text for a line that is HTML, where Markdown has no meaning."""
    return _unlinked(escape(_shown(text, most)))


def code_block(text: object, *, most: int = 2000) -> str:
    """Returns one line as a block of code, fenced by more backticks than it has."""
    shown = _shown(text, most)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence}sh\n{shown}\n{fence}"
