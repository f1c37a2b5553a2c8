"""The two ways to set SQLite up that are measured, as facts that can be read back. Pure.

The service has the same two (app/backends/sqlite.py) and says what it was granted; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Pragmas under the names that read them back, and how a transaction begins that will write."""

    journal_mode: str
    synchronous: int = 2
    """2 is FULL: flushed at each commit, as PostgreSQL's default is."""
    busy_timeout: int
    """Milliseconds."""
    begin: str


PROFILES: Mapping[str, Profile] = {
    "naive": Profile(journal_mode="delete", busy_timeout=0, begin="BEGIN DEFERRED"),
    "tuned": Profile(journal_mode="wal", busy_timeout=10_000, begin="BEGIN IMMEDIATE"),
}
