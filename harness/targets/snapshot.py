"""The counters of every layer behind the client at one moment, and the difference of two such snapshots. Pure.

A layer that a target cannot read is None in its snapshots, and absent from the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.checks.required_evidence import APP, DEAD_ROWS, DEADLOCKS, HAPROXY, TRANSACTIONS
from harness.record import BulkRows, DeadlockCounts, Evidence, Pragmas, SqliteEvidence, TransactionCounts
from harness.targets.dead_rows import VacuumReading, summary

DATABASE = "database"
"""PostgreSQL among the processes that count."""


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
    sqlite_path: str = ""
    """The SQLite file that the workers used."""
    integrity: Sequence[str] | None = None
    """The result of SQLite's `PRAGMA integrity_check`."""
    pragmas: Mapping[str, Pragmas] = field(default_factory=dict)
    """App worker that serves -> its SQLite pragmas."""
    durability: Mapping[str, str] | None = None
    """PostgreSQL's settings that decide whether an acknowledged write survives a crash."""
    vacuum: VacuumReading | None = None
    """The result of a VACUUM after the load."""
    processes: Mapping[str, str] = field(default_factory=dict)
    """Who counts (`haproxy`, `database` or an app worker) -> pid and start; another one counts from zero."""
    hosts: tuple[str, ...] = ()
    """App hosts that should serve."""
    serving: tuple[str, ...] | None = None
    """App hosts that HAProxy sends requests to."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Part of the evidence (harness/checks/required_evidence.py) -> why it could not be read."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """The settings that variants change, as read back, by key."""
    notes: tuple[str, ...] = ()
    """What weakens this snapshot as evidence."""
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    """Check -> why the target cannot answer it."""


def difference(before: Snapshot, after: Snapshot, vacuums: Sequence[VacuumReading | None] = ()) -> Evidence:
    """Returns the evidence of a trial: what each layer counted between two snapshots.

    `vacuums`: the results of VACUUM while the load ran (harness/targets/dead_rows.py). Where a process that counts
    restarted in between, the part is not measured.
    """
    unread = {**_restarts(before, after), **after.unread}
    servers = _servers(before, after)
    return Evidence(
        initial=before.counters,
        final=after.counters,
        ledger=after.ledger,
        counts=_request_counts(before, after, unread),
        servers=servers,
        sqlite=_sqlite(after),
        transactions=None if TRANSACTIONS in unread else _transactions(before, after),
        deadlocks=None if DEADLOCKS in unread else _deadlocks(before, after),
        dead_rows=None if DEAD_ROWS in unread else summary(vacuums, after.vacuum),
        bulk_rows=after.bulk_rows,
        durability=after.durability,
        notes=after.notes,
        not_applicable=after.not_applicable,
        unread=unread,
        misrouted=(*_misrouted(after, servers), *_changed(before, after)),
        settings=after.settings or before.settings,
    )


def _request_counts(before: Snapshot, after: Snapshot, unread: Mapping[str, str]) -> dict[str, int]:
    counts = {}
    if before.haproxy_requests is not None and after.haproxy_requests is not None and HAPROXY not in unread:
        counts[HAPROXY] = after.haproxy_requests - before.haproxy_requests
    if before.app_requests is not None and after.app_requests is not None and APP not in unread:
        counts[APP] = sum(after.app_requests.values()) - sum(before.app_requests.values())
    return counts


def _servers(before: Snapshot, after: Snapshot) -> dict[str, int]:
    """Returns the requests that HAProxy sent to each app host; all that a HAProxy counted which started in between."""
    earlier = before.server_requests
    if _has_restarted(before, after, HAPROXY):
        earlier = {}
    return {name: count - earlier.get(name, 0) for name, count in after.server_requests.items()}


def _misrouted(after: Snapshot, servers: Mapping[str, int]) -> tuple[str, ...]:
    """Returns a sentence for each way in which other hosts served than should."""
    if after.serving is None:
        return ()
    sentences = []
    others = [f"{name} ({count:,})" for name, count in servers.items() if name not in after.hosts and count > 0]
    if others:
        sentences.append(f"HAProxy sent requests to hosts that do not serve in this trial: {', '.join(others)}")
    if set(after.serving) != set(after.hosts):
        names, wanted = ", ".join(sorted(after.serving)) or "no host", ", ".join(after.hosts)
        sentences.append(f"HAProxy served from {names} after the load, not from {wanted}")
    return tuple(sentences)


def _changed(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """Returns a sentence for each setting of the variant that changed while the load ran."""
    return tuple(
        f"{key} changed during the trial: {value}, then {after.settings[key]}"
        for key, value in before.settings.items()
        if after.settings.get(key, value) != value
    )


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
    if log is not None and log < 0:  # the log was removed or replaced
        log = None
    return DeadlockCounts(statistics=counts["statistics"], log=log)


def _sqlite(after: Snapshot) -> SqliteEvidence | None:
    if after.integrity is None:
        return None
    first = next(iter(after.pragmas.values()), {})
    differing = {worker: pragmas for worker, pragmas in after.pragmas.items() if pragmas != first}
    return SqliteEvidence(integrity_check=tuple(after.integrity), pragmas=first, differing=differing)


def _has_restarted(before: Snapshot, after: Snapshot, name: str) -> bool:
    """Returns whether another process counts after the load, or the same one fewer than before it."""
    if before.processes.get(name) != after.processes.get(name, before.processes.get(name)):
        return True
    if name == HAPROXY:
        return (after.haproxy_requests or 0) < (before.haproxy_requests or 0) and after.haproxy_requests is not None
    if name == DATABASE:
        earlier = {"deadlocks": (before.deadlocks or {}).get("statistics", 0)}
        later = {"deadlocks": (after.deadlocks or earlier).get("statistics", earlier["deadlocks"])}
    else:
        earlier = {"requests": (before.app_requests or {}).get(name, 0), "begun": before.app_transactions.get(name, 0)}
        later = {"requests": (after.app_requests or {}).get(name, 0), "begun": after.app_transactions.get(name, 0)}
        if name not in (after.app_requests or {}):
            return False
    return any(later.get(counter, count) < count for counter, count in earlier.items())


def _restarts(before: Snapshot, after: Snapshot) -> dict[str, str]:
    """Returns why a part was not measured, for the parts that a process counted which restarted."""
    unread: dict[str, str] = {}
    if _has_restarted(before, after, DATABASE):
        unread |= dict.fromkeys((TRANSACTIONS, DEADLOCKS, DEAD_ROWS), "PostgreSQL restarted")
    restarted = {name.split(".")[0] for name in before.app_requests or () if _has_restarted(before, after, name)}
    if restarted:
        unread |= dict.fromkeys((APP, TRANSACTIONS), f"{' and '.join(sorted(restarted))} restarted")
    if _has_restarted(before, after, HAPROXY):
        unread[HAPROXY] = "HAProxy restarted"
    return unread
