"""Printing for the tasks."""

from __future__ import annotations


def say(line: str) -> None:
    """One line of progress, at once, also into a pipe."""
    print(line, flush=True)
