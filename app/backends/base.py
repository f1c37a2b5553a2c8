"""The protocol of a backend and its results. Only backends know SQL; only handlers know HTTP.

Every method raises `app.errors.ServiceError`, and no other exception, for a failure of the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from app.errors import ServiceError
    from app.list_transaction import ListTransaction, Result

LEVELS = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
"""The isolation levels of the SQL standard; the only texts that reach a BEGIN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCost:
    """The cost of a request, successful or not: wait for a connection, retries, transactions begun.

    A coalesced request has its share of the batch's counts (1 / requests in it), so that sums over requests are right.
    """

    pool_wait_ms: float
    retries: float = 0
    transactions: float = 1
    backend: int = 0
    """Process id of the database session that ran it, as in pg_stat_activity; 0 without a session."""

    def __add__(self, earlier: RequestCost | None) -> RequestCost:
        """Returns the cost with that of an earlier session of the same request."""
        if earlier is None:
            return self
        return RequestCost(
            pool_wait_ms=self.pool_wait_ms + earlier.pool_wait_ms,
            retries=self.retries + earlier.retries,
            transactions=self.transactions + earlier.transactions,
            backend=self.backend,
        )


@dataclass(slots=True, kw_only=True)
class CostTotals:
    """The total cost of POST requests since the start, including requests without a response."""

    retries: int = 0
    transactions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """The result of a transaction at a level: the level that the database reported, and ten rows."""

    observed: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """Open and idle connections, waiting requests, and the maximum of connections open at once."""

    total: int
    idle: int
    waiting: int
    peak: int


class Backend(Protocol):
    """One database, as one service process uses it."""

    strategies: Sequence[str]
    """The strategies that `increment` accepts; the first is the default."""
    cost_totals: CostTotals

    async def open(self) -> None:
        """Prepares the backend. Raises RuntimeError for a set-up that cannot work, not for an unreachable database."""

    async def close(self) -> None:
        """Closes all connections."""

    async def increment(self, key: str, strategy: str, entry_id: str | None) -> tuple[int, RequestCost]:
        """Adds 1 and returns the new value; with a known `entry_id`, returns the value of its first request."""

    async def counter(self, key: str) -> int | None:
        """Returns the counter's value, None if there is no such counter."""

    async def bulk_insert(self, rows: Sequence[str]) -> tuple[list[int], RequestCost]:
        """Inserts all rows or none. Returns their ids in the order of `rows`."""

    async def transaction(self, keys: Sequence[str], hold_ms: float, *, retry: bool) -> tuple[list[int], RequestCost]:
        """Increments each key in order in one transaction, and holds all locks for `hold_ms` after each.

        Without keys no table is accessed: one statement holds one connection for `hold_ms`.
        """

    async def list_transaction(
        self, request: ListTransaction, entry_id: str | None
    ) -> tuple[list[Result], RequestCost]:
        """Runs the operations at the level, once; with a known `entry_id`, returns the results of its first request.

        A lost conflict is 409 and is not retried here: a retry would hide which transactions cannot run together.
        """

    async def isolation(self, level: str) -> Isolation:
        """Reads ten counters in one transaction at `level`, one of LEVELS."""

    async def database_time(self) -> str:
        """Returns the database's clock in ISO 8601; the health check."""

    async def totals(self) -> dict[str, int | None]:
        """Returns total_records, total_counters, max_counter_value and container_records, as the original system."""

    def lost(self) -> ServiceError | None:
        """Returns why the database cannot serve writes; None while it can. Never waits."""

    def pool_stats(self) -> PoolStats:
        """Returns the current state of the pool."""

    def facts(self) -> dict[str, Any]:
        """Returns facts that the database reported: version, effective pragmas. Empty before the first connection."""
