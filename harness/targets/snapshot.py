"""The counters of every layer behind the client at one moment, and the difference of two such snapshots. Pure.

A layer that a target cannot read is None in its snapshots, and absent from the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.record import BulkRows, DeadlockCounts, Evidence, SqliteEvidence, TransactionCounts
from harness.targets.dead_rows import VacuumReading, summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counters of one moment, before or after a trial's load.

    Counters of requests, transactions and deadlocks grow from the start of their process. The fields from `ledger`
    to `vacuum` count in the snapshot after the load only.
    """

    counters: Mapping[str, int] = field(default_factory=dict)
    """Rows of the table `counters` by key."""
    haproxy_requests: int | None = None
    """Requests that HAProxy's public frontend received."""
    server_requests: Mapping[str, int] = field(default_factory=dict)
    """App host -> requests that HAProxy sent to it."""
    app_requests: Mapping[str, int] | None = None
    """App worker -> API requests that it received."""
    app_transactions: Mapping[str, int] = field(default_factory=dict)
    """App worker -> database transactions that it began."""
    database_transactions: int | None = None
    """The next transaction id of the server; None for SQLite."""
    deadlocks: Mapping[str, int] | None = None
    """Deadlocks by source: `statistics` (pg_stat_database) and `log` (absent where there is no log)."""
    newest_row: int = 0
    """The largest id of the table `data` where it is not emptied before each trial."""
    ledger: Mapping[str, tuple[str, int]] | None = None
    """Idempotency-Key -> (key, value)."""
    bulk_rows: BulkRows | None = None
    """Rows of the table `data` above `newest_row`."""
    integrity: Sequence[str] | None = None
    """The result of SQLite's `PRAGMA integrity_check`."""
    pragmas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """App worker that serves -> its SQLite pragmas."""
    vacuum: VacuumReading | None = None
    """The result of a VACUUM after the load."""
    notes: tuple[str, ...] = ()
    """What weakens this snapshot as evidence."""
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    """Check -> why the target cannot answer it."""


def difference(before: Snapshot, after: Snapshot, vacuums: Sequence[VacuumReading | None] = ()) -> Evidence:
    """Returns the evidence of a trial: what each layer counted between two snapshots.

    `vacuums`: the results of VACUUM while the load ran (harness/targets/dead_rows.py). A counter that is lower after
    the trial than before it restarted; its difference is kept as it is, and a note names it.
    """
    return Evidence(
        initial=before.counters,
        final=after.counters,
        ledger=after.ledger,
        counts=_request_counts(before, after),
        servers={name: count - before.server_requests.get(name, 0) for name, count in after.server_requests.items()},
        sqlite=_sqlite(after),
        transactions=_transactions(before, after),
        deadlocks=_deadlocks(before, after),
        dead_rows=summary(vacuums, after.vacuum),
        bulk_rows=after.bulk_rows,
        notes=(*after.notes, *_restarts(before, after)),
        not_applicable=after.not_applicable,
    )


def _request_counts(before: Snapshot, after: Snapshot) -> dict[str, int]:
    counts = {}
    if before.haproxy_requests is not None and after.haproxy_requests is not None:
        counts["haproxy"] = after.haproxy_requests - before.haproxy_requests
    if before.app_requests is not None and after.app_requests is not None:
        counts["app"] = sum(after.app_requests.values()) - sum(before.app_requests.values())
    return counts


def _transactions(before: Snapshot, after: Snapshot) -> TransactionCounts | None:
    if before.database_transactions is None or after.database_transactions is None:
        return None
    begun = sum(after.app_transactions.values()) - sum(before.app_transactions.values())
    return TransactionCounts(app=begun, database=after.database_transactions - before.database_transactions)


def _deadlocks(before: Snapshot, after: Snapshot) -> DeadlockCounts | None:
    if before.deadlocks is None or after.deadlocks is None:
        return None
    counts = {source: count - before.deadlocks.get(source, count) for source, count in after.deadlocks.items()}
    log = counts.get("log") if "log" in before.deadlocks else None
    return DeadlockCounts(statistics=counts["statistics"], log=log)


def _sqlite(after: Snapshot) -> SqliteEvidence | None:
    if after.integrity is None:
        return None
    first = next(iter(after.pragmas.values()))
    differing = {worker: pragmas for worker, pragmas in after.pragmas.items() if pragmas != first}
    return SqliteEvidence(integrity_check=tuple(after.integrity), pragmas=first, differing=differing)


def _restarts(before: Snapshot, after: Snapshot) -> list[str]:
    """Returns a note for each counter that is lower after the trial than before it."""
    earlier, later = _growing(before), _growing(after)
    lower = [name for name, count in earlier.items() if later.get(name, count) < count]
    return [f"{name} started again from zero during a trial: its count is too low" for name in lower]


def _growing(snapshot: Snapshot) -> dict[str, int]:
    frontend = {} if snapshot.haproxy_requests is None else {"HAProxy's counter of requests": snapshot.haproxy_requests}
    requests = {f"{name}: the counter of requests": count for name, count in (snapshot.app_requests or {}).items()}
    transactions = {f"{name}: the counter of transactions": count for name, count in snapshot.app_transactions.items()}
    deadlocks = {f"the counter of deadlocks ({name})": count for name, count in (snapshot.deadlocks or {}).items()}
    return frontend | requests | transactions | deadlocks
