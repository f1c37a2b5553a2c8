"""Reads the counters of every layer behind the client on a rig: HAProxy, the app workers, PostgreSQL or SQLite."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from harness.model import Cell
from harness.rig.rig import Rig
from harness.targets.app_workers import AppWorkers
from harness.targets.dead_rows import vacuum
from harness.targets.haproxy import HAProxy
from harness.targets.postgres_queries import bulk_rows
from harness.targets.rig_database import RigDatabase
from harness.targets.snapshot import Snapshot
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
NOT_API = ("health", "live", "metrics", "pool-stats")
"""Operations that the harness, HAProxy and the telemetry request besides the load."""


class LayerCounters:
    """Reads through SSH and one database connection; the service does nothing for it but answer GET /metrics."""

    def __init__(self, rig: Rig, database: RigDatabase, workers: AppWorkers, haproxy: HAProxy) -> None:
        self._rig, self._database, self._workers, self._haproxy = rig, database, workers, haproxy

    def snapshot(self, cell: Cell, reads: Collection[str], since: Snapshot | None = None) -> Snapshot:
        """See Target.snapshot."""
        fields = self._service(cell, reads) if "counters" in reads else {}
        with self._database.errors():
            return Snapshot(**fields, **self._server(reads, after=since is not None))

    def _service(self, cell: Cell, reads: Collection[str]) -> dict[str, Any]:
        """Reads what HTTP load changes. A remote workload sends no requests, and `run_workload` may restart workers."""
        metrics = self._workers.metrics()
        total, servers = self._haproxy.request_counts()
        postgres = cell.backend == "postgres"
        return {
            "haproxy_requests": total,
            "server_requests": servers,
            "app_requests": {worker: _api_requests(body) for worker, body in metrics.items()},
            "app_transactions": {worker: int(body["transactions"]) for worker, body in metrics.items()},
            **(self._postgres(reads) if postgres else self._sqlite(cell, reads, metrics)),
        }

    def _server(self, reads: Collection[str], *, after: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if "deadlocks" in reads:
            fields["deadlocks"] = self._deadlocks()
        if after and "data" in reads:
            fields["bulk_rows"] = bulk_rows(self._database.connection)
        if after and "dead-rows" in reads:
            fields["vacuum"] = vacuum(self._database.connection, VACUUMED_TABLE)
        return fields

    def _postgres(self, reads: Collection[str]) -> dict[str, Any]:
        execute, fields = self._database.connection.execute, dict[str, Any]()
        with self._database.errors():
            (fields["database_transactions"],) = self._database.one(
                "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
            )
            fields["counters"] = dict(execute("SELECT key, value FROM counters").fetchall())
            if "ledger" in reads:
                rows = execute("SELECT id, key, value FROM ledger").fetchall()
                fields["ledger"] = {i: (key, value) for i, key, value in rows}
        return fields

    def _sqlite(self, cell: Cell, reads: Collection[str], metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        content = run_script(self._rig, sqlite_path(metrics), "read")
        serving = {host.name for host in self._workers.hosts[: cell.hosts]}
        ledger = {i: (key, value) for i, (key, value) in content["ledger"].items()}
        return {
            "counters": content["counters"],
            "ledger": ledger if "ledger" in reads else None,
            "integrity": content["integrity"],
            "pragmas": {worker: body["facts"] for worker, body in metrics.items() if worker.split(".")[0] in serving},
        }

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


def sqlite_path(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the path of the SQLite file that the workers use, from their /metrics."""
    return str(next(iter(metrics.values()))["settings"]["sqlite_path"])


def _api_requests(metrics: Mapping[str, Any]) -> int:
    """Returns how many API requests a worker received since it started, from its /metrics."""
    return sum(sum(outcomes.values()) for op, outcomes in metrics["requests"].items() if op not in NOT_API)
