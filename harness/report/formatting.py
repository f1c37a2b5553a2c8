"""Formats numbers for readers: thousands separators, three significant digits. Pure.

A figure that was not measured, or that is not finite, is a dash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

NOTHING, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
"""`NOTHING`: not measured, or too few samples for the figure."""

SYMBOLS: Mapping[str, str] = {
    "pass": "✓",
    "shown": "•",
    "fail": "✗",
    "unknown": "?",
    "invalid": "!",
    "warning": "!",
    "not held": "≠",
    "not measured": NOTHING,
    "faster": "▲",
    "slower": "▼",
    "no difference": "~",
    "changed": "≠",
    "not judged": "?",
    "refused": "!",
}
"""Each verdict has a symbol and its word, never a colour alone."""


def number(value: float | None, digits: int = 3) -> str:
    """Formats a figure, rounded to `digits` significant digits: 1,230 or 12.3 or 0.00123."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    if rounded:
        places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(0, places)}f}"


DOUBTED = "?"
"""After a figure about time whose trials may have been limited by the load generator."""


def figure(value: float | None, *, doubted: bool = False, offered: bool = False) -> str:
    """Formats a figure: `12.3?` where it is doubted, `(250)` where it is the rate that an open load offered."""
    text = number(value)
    if text == NOTHING:
        return text
    return f"({text})" * offered + text * (not offered) + DOUBTED * doubted


def count(value: float | None) -> str:
    """Formats a count, exact: 1,000."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """Formats a share as `99.9 %`. A share below 1 is never shown as 100 %, one above 0 never as 0 %."""
    if share is None or not math.isfinite(share):
        return NOTHING
    text = number(share * 100)
    return "> 99.9 %" if share < 1 and text == "100" else f"{text} %"


def whole_percent(share: float) -> str:
    """Formats a share without decimals, such as `71 %`: for samples too few to carry tenths."""
    return f"{100 * share:.0f} %"


_TIGHT = re.compile(r"(?<![\w:=.,-])(\d[\d.,]*)%(?!\w)")


def spaced(text: str) -> str:
    """Returns the text with a space before each per cent sign: messages of stored runs have none.

    What follows a colon, an equals sign or a minus is kept: `slower:5%` is an option.
    """
    return _TIGHT.sub(r"\1 %", text)


def change(before: float | None, after: float | None) -> str:
    """Formats the change from `before` to `after` as `+233 %` or `-90.0 %`."""
    if before is None or after is None or not (math.isfinite(before) and math.isfinite(after)) or before <= 0:
        return NOTHING
    share = after / before - 1
    return f"{MINUS if share < 0 else '+'}{number(abs(share) * 100)} %"


def span(low: float | None, high: float | None) -> str:
    """Formats the smallest and the largest value as a range; empty if they are the same."""
    if low is None or high is None or low == high:
        return ""
    return f"{number(low)}{NOTHING}{number(high)}"


def size(octets: float | None) -> str:
    """Formats memory in GiB or MiB; a dash where no limit is known."""
    if not octets or not math.isfinite(octets):
        return NOTHING
    return f"{number(octets / 2**30)} GiB" if octets >= 2**30 else f"{number(octets / 2**20)} MiB"
