"""Reads the counters of every layer behind the client on a rig: HAProxy, the app workers, PostgreSQL or SQLite."""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from harness.checks.required_evidence import (
    APP,
    BULK_ROWS,
    COUNTERS,
    DEAD_ROWS,
    DEADLOCKS,
    DURABILITY,
    HAPROXY,
    LEDGER,
    SQLITE,
    TRANSACTIONS,
)
from harness.model import Cell
from harness.rig.rig import Rig
from harness.targets.app_workers import AppWorkers, WorkerMetrics
from harness.targets.dead_rows import vacuum
from harness.targets.haproxy import HAProxy
from harness.targets.idle import IDLE_TIMEOUT_S, PartReader, wait_until_idle
from harness.targets.postgres_queries import bulk_rows, durability
from harness.targets.rig_database import RigDatabase
from harness.targets.snapshot import DATABASE, Snapshot
from harness.targets.sqlite_files import run_script

LOG_FOLDER = "/var/log/postgresql"
COUNT_LOGGED = """
set -- "$1"/*.log
[ ! -r "$1" ] || cat "$@" | grep -c 'ERROR:  deadlock detected' || true
"""
"""Prints the deadlocks in the logs of a folder; nothing where no log can be read."""
STATISTICS_DELAY_S = 1.5
"""A backend reports its statistics up to a second late."""
STATISTICS_TIMEOUT_S = 4.0
POLL_S = 0.5
VACUUMED_TABLE = "counters"
"""The table whose dead rows are counted."""
NOT_API = ("health", "live", "metrics", "pool-stats", "ready")
"""Operations that the harness, HAProxy and the telemetry request besides the load."""


class LayerCounters:
    """Reads through SSH and one database connection; the service does nothing for it but answer GET /metrics."""

    def __init__(
        self,
        rig: Rig,
        database: RigDatabase,
        workers: AppWorkers,
        haproxy: HAProxy,
        *,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._rig, self._database, self._workers, self._haproxy = rig, database, workers, haproxy
        self._idle_timeout_s = idle_timeout_s

    def snapshot(self, cell: Cell, reads: Collection[str], since: Snapshot | None = None) -> Snapshot:
        """See Target.snapshot. What cannot be read after the load is in the snapshot's `unread`, with the reason."""
        reader = PartReader(keep_errors=since is not None)
        if since is not None and reads:
            busy = wait_until_idle(self._workers if "counters" in reads else None, self._database, self._idle_timeout_s)
            reader.unread |= dict.fromkeys((APP, TRANSACTIONS), busy) if busy else {}
        snapshot = Snapshot()
        if "counters" in reads:
            snapshot = self._service(reader, cell, reads, since)
        snapshot = self._server(reader, snapshot, reads, after=since is not None, postgres=cell.backend == "postgres")
        return replace(snapshot, unread=reader.unread)

    def _service(self, reader: PartReader, cell: Cell, reads: Collection[str], since: Snapshot | None) -> Snapshot:
        """Reads what HTTP load changes. A remote workload sends no requests, and `run_workload` may restart workers."""
        snapshot = Snapshot(hosts=tuple(host.name for host in self._workers.hosts[: cell.hosts]))
        snapshot = reader.read((HAPROXY,), lambda: self._with_haproxy(snapshot), snapshot)
        metrics: Mapping[str, WorkerMetrics] = reader.read((APP, TRANSACTIONS), self._workers.metrics, {})
        if metrics:
            snapshot = _with_workers(snapshot, metrics)
        ledger = (LEDGER,) if "ledger" in reads else ()
        if cell.backend == "postgres":
            snapshot = reader.read((TRANSACTIONS,), lambda: self._with_transactions(snapshot), snapshot)
            return reader.read((COUNTERS, *ledger), lambda: self._with_tables(snapshot, reads), snapshot)
        known = since.sqlite_path if since else ""
        path = sqlite_path(metrics) if metrics else known
        parts = (COUNTERS, SQLITE, *ledger)
        return reader.read(parts, lambda: self._with_sqlite(snapshot, path, reads, metrics), snapshot)

    def _with_haproxy(self, snapshot: Snapshot) -> Snapshot:
        total, servers = self._haproxy.request_counts()
        return replace(
            snapshot,
            haproxy_requests=total,
            server_requests=servers,
            serving=tuple(sorted(self._haproxy.serving())),
            processes={**snapshot.processes, HAPROXY: self._haproxy.process()},
        )

    def _server(
        self, reader: PartReader, snapshot: Snapshot, reads: Collection[str], *, after: bool, postgres: bool
    ) -> Snapshot:
        """Adds what only the database server reports."""
        reading = self._database.reading
        if "deadlocks" in reads:
            snapshot = replace(snapshot, deadlocks=reader.read((DEADLOCKS,), self._deadlocks, None))
        if after and "data" in reads:
            snapshot = replace(snapshot, bulk_rows=reader.read((BULK_ROWS,), lambda: reading(bulk_rows), None))
        if after and postgres and "durability" in reads:
            snapshot = replace(snapshot, durability=reader.read((DURABILITY,), lambda: reading(durability), None))
        if after and "dead-rows" in reads:
            query = functools.partial(vacuum, table=VACUUMED_TABLE)
            snapshot = replace(snapshot, vacuum=reader.read((DEAD_ROWS,), lambda: reading(query), None))
        return snapshot

    def _with_transactions(self, snapshot: Snapshot) -> Snapshot:
        next_id, process = self._database.one(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, concat_ws(', ', pg_postmaster_start_time(), "
            "(SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'))"
        )
        return replace(snapshot, database_transactions=next_id, processes={**snapshot.processes, DATABASE: process})

    def _with_tables(self, snapshot: Snapshot, reads: Collection[str]) -> Snapshot:
        rows = self._database.reading(lambda db: db.execute("SELECT key, value FROM counters").fetchall())
        snapshot = replace(snapshot, counters=dict(rows))
        if "ledger" in reads:
            rows = self._database.reading(lambda db: db.execute("SELECT id, key, value FROM ledger").fetchall())
            snapshot = replace(snapshot, ledger={i: (key, value) for i, key, value in rows})
        return snapshot

    def _with_sqlite(
        self, snapshot: Snapshot, path: str, reads: Collection[str], metrics: Mapping[str, WorkerMetrics]
    ) -> Snapshot:
        content = run_script(self._rig, path, "read")
        ledger = {i: (key, value) for i, (key, value) in content["ledger"].items()}
        return replace(
            snapshot,
            sqlite_path=path,
            counters=content["counters"],
            ledger=ledger if "ledger" in reads else None,
            integrity=content["integrity"],
            pragmas={
                worker: body["facts"] for worker, body in metrics.items() if worker.split(".")[0] in snapshot.hosts
            },
        )

    def _deadlocks(self) -> dict[str, int]:
        """Reads the deadlocks of pg_stat_database, once their number is stable, and those of the server's log."""
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        started = time.monotonic()
        (count,) = self._database.one(query)
        while time.monotonic() < started + STATISTICS_TIMEOUT_S:
            time.sleep(POLL_S)
            self._database.one("SELECT pg_stat_clear_snapshot()")
            previous, (count,) = count, self._database.one(query)
            if count == previous and time.monotonic() > started + STATISTICS_DELAY_S:
                break
        database = self._rig.at(self._rig.role("db")[0])
        log = database.run(["sh", "-c", COUNT_LOGGED, "sh", LOG_FOLDER]).stdout.strip()
        return {"statistics": count, **({"log": int(log)} if log else {})}


def _with_workers(snapshot: Snapshot, metrics: Mapping[str, WorkerMetrics]) -> Snapshot:
    processes = {worker: f"pid {body.get('pid')}, started {body.get('started')}" for worker, body in metrics.items()}
    return replace(
        snapshot,
        app_requests={worker: _api_requests(body) for worker, body in metrics.items()},
        app_transactions={worker: int(body["transactions"]) for worker, body in metrics.items()},
        processes={**snapshot.processes, **processes},
    )


def sqlite_path(metrics: Mapping[str, WorkerMetrics]) -> str:
    """Returns the path of the SQLite file that the workers use, from their /metrics."""
    return str(next(iter(metrics.values()))["settings"]["sqlite_path"])


def _api_requests(metrics: WorkerMetrics) -> int:
    """Returns how many API requests a worker received since it started, from its /metrics."""
    return sum(sum(outcomes.values()) for op, outcomes in metrics["requests"].items() if op not in NOT_API)
