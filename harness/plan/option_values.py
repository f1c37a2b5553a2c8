"""Parsers of option values: text in, a checked value out. Pure.

A value that is not allowed is a UsageError that names the option, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from harness.errors import UsageError
from harness.model import BACKENDS
from harness.text import nearest, printable


def whole(option: str, text: str | None, low: int, high: int) -> int | None:
    """`text` as an integer within low..high; None stays None. Raises UsageError."""
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        raise UsageError(f"--{option} {text!r} is not a whole number", hint=f"give {low} to {high:,}") from None
    if not low <= value <= high:
        raise UsageError(f"--{option} {value:,} is out of range", hint=f"give {low} to {high:,}")
    return value


def positive(option: str, text: str | None, high: float) -> float | None:
    """`text` as a number above 0 and at most `high`; None stays None. Raises UsageError."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        raise UsageError(
            f"--{option} {text!r} is not a number", hint=f"give a number above 0, at most {high:,.0f}"
        ) from None
    if not 0 < value <= high:  # also refuses nan
        raise UsageError(f"--{option} {text} is out of range", hint=f"give a number above 0, at most {high:,.0f}")
    return value


def require_texts(values: Mapping[str, object]) -> None:
    """Raises UsageError for an empty value, by keyword: an unset shell variable would select another run or rig."""
    texts = [
        (keyword, text)
        for keyword, value in values.items()
        for text in (value if isinstance(value, list) else [value])
        if isinstance(text, str)
    ]
    for keyword, text in texts:
        if not text.strip():
            option = ("--" if len(keyword) > 1 else "-") + printable(keyword.replace("_", "-"), 200)
            raise UsageError(f"{option} is empty", hint="is a variable unset? leave the option out, or give a value")


def names(option: str, text: str, known: Collection[str]) -> tuple[str, ...]:
    """A comma-separated list of known names, each once. Raises UsageError."""
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not chosen:
        raise UsageError(f"--{option} is empty", hint=f"known: {', '.join(known)}")
    for name in chosen:
        if name not in known:
            raise UsageError(f"--{option}: there is no '{name}'", hint=nearest(name, known))
    return chosen


def one_of(option: str, text: str, known: Collection[str]) -> str:
    """One known word. Raises UsageError."""
    if text not in known:
        raise UsageError(f"--{option}: there is no '{printable(text, 200)}'", hint=nearest(text, known))
    return text


def backends(option: str, text: str) -> tuple[str, ...]:
    """Known backends, in the order of BACKENDS."""
    chosen = names(option, text, BACKENDS)
    return tuple(name for name in BACKENDS if name in chosen)


def text_or_none(option: str, text: str) -> str | None:  # noqa: ARG001 - every parser gets the option's name
    """The text itself; None where it is empty."""
    return text or None
