"""What a backend must do, and what it answers. Only backends know SQL; only handlers know HTTP.

Every method raises `app.errors.ServiceError`, nothing else, for what the database or its absence causes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

LEVELS = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
"""The isolation levels of the SQL standard; the only texts that ever reach a BEGIN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a request cost, refused or not: wait in line for a connection, lost attempts, transactions begun.

    Both counts are a coalesced request's share of its batch's (1 / requests in it), so that they can be added up.
    """

    pool_wait_ms: float
    retries: float = 0
    transactions: float = 1


@dataclass(slots=True, kw_only=True)
class Spent:
    """What POST requests have cost since the start, answered or not; counted where it is spent."""

    retries: int = 0
    transactions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What a transaction at a level saw: the level it really had, and ten rows."""

    observed: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """Connections open, connections unused, requests standing in line; most connections ever open at once."""

    total: int
    idle: int
    waiting: int
    peak: int


class Backend(Protocol):
    """One database, seen from one service process."""

    strategies: Sequence[str]
    """What `increment` accepts here."""
    spent: Spent

    async def open(self) -> None:
        """Get ready. A database that is away is no error; a set-up that can never work is (RuntimeError)."""

    async def close(self) -> None:
        """Give everything back."""

    async def increment(self, key: str, strategy: str, entry_id: str | None) -> tuple[int, Cost]:
        """Add 1 and return the new value; with an `entry_id` seen before, the value it got then."""

    async def counter(self, key: str) -> int | None:
        """The counter's value, None if it was never written."""

    async def bulk_insert(self, rows: Sequence[str]) -> tuple[list[int], Cost]:
        """Insert all or none; the ids in the order of `rows`."""

    async def transaction(self, keys: Sequence[str], hold_ms: float, *, retry: bool) -> tuple[list[int], Cost]:
        """Increment each key in order, holding what that locks for `hold_ms` after each; one transaction.

        Without keys nothing is touched: one connection is held for `hold_ms` by one statement.
        """

    async def isolation(self, level: str) -> Isolation:
        """Read ten counters in one transaction at `level`, one of LEVELS."""

    async def database_time(self) -> str:
        """The database's clock, ISO 8601; the proof that it answers."""

    async def totals(self) -> dict[str, int | None]:
        """The original's figures: total_records, total_counters, max_counter_value, container_records."""

    def pool_stats(self) -> PoolStats:
        """The pool now."""

    def facts(self) -> dict[str, Any]:
        """What the database said of itself: version, pragmas read back. Empty until it was reached."""
