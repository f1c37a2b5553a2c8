"""Text for people: suggestions for mistyped names, and foreign text made safe to print. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: ` did you mean 'upsert'?`, or the whole list where nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


def shown(text: object) -> str:
    """A text of a foreign file within a message: no control characters, no end of it."""
    return "".join(char if char.isprintable() else "?" for char in str(text)[:200])


def plain(words: str) -> str:
    """Printable text only: a name out of a file must not move the cursor or colour the terminal."""
    return "".join(char if char.isprintable() else "?" for char in words)


def plural(number: int, noun: str, plural_noun: str = "") -> str:
    """Returns a count with its noun: `1 trial`, `2 trials`."""
    return f"{number:,} {noun if number == 1 else plural_noun or noun + 's'}"
