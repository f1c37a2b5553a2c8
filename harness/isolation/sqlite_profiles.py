"""The two SQLite configurations that are measured. Pure.

The service has the same two (app/backends/sqlite.py) and reports the pragmas in force; a test keeps both equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Pragmas by the name that reads them back, and the statement that begins a writing transaction."""

    journal_mode: str
    synchronous: int = 2
    """2 is FULL: flushed at each commit, as PostgreSQL does by default."""
    busy_timeout: int
    """Milliseconds."""
    begin: str


PROFILES: Mapping[str, Profile] = {
    "naive": Profile(journal_mode="delete", busy_timeout=0, begin="BEGIN DEFERRED"),
    "tuned": Profile(journal_mode="wal", busy_timeout=10_000, begin="BEGIN IMMEDIATE"),
}
