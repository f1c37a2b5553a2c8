"""Text for messages: suggestions for mistyped names, plurals, and foreign text made safe to print. Pure."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: `did you mean 'upsert'?`, or all known names where none is similar."""
    names = sorted(known)
    return closest(word, names) or f"known: {', '.join(names)}"


def closest(word: str, known: Iterable[str]) -> str:
    """A hint: `did you mean 'upsert'?`; empty where no name is similar."""
    close = difflib.get_close_matches(word[:200], sorted(known), n=1, cutoff=0.5)
    return f"did you mean '{printable(close[0], 200)}'?" if close else ""


def printable(text: object, limit: int | None = None) -> str:
    """Foreign text (of a file, a host, a service) for a terminal or a message: one line, at most `limit` characters.

    Control characters could move the cursor, change colours or hide text; each becomes a question mark.
    """
    return "".join(char if char.isprintable() else "?" for char in str(text)[:limit])


def strict_json(value: object, *, indent: int | None = None) -> str:
    """Strict JSON (RFC 8259), which has no NaN and no Infinity: such a number becomes null."""
    return json.dumps(_finite(value), allow_nan=False, indent=indent)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def plural(number: int, noun: str, plural_noun: str = "") -> str:
    """A count with its noun: `1 trial`, `2 trials`."""
    return f"{number:,} {noun if number == 1 else plural_noun or noun + 's'}"
