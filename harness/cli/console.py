"""Printing for the tasks."""

from __future__ import annotations


def say(line: str) -> None:
    """Prints one line of progress and flushes it, so that it also appears at once in a pipe."""
    print(line, flush=True)
