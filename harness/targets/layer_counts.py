"""What each layer behind the client counted around a trial: HAProxy, the app hosts, the database, the SQLite file.

Only asks; configuring and draining is the tier's (harness/targets/rig_target.py), judging is the checks'.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from harness.errors import RigError
from harness.host_scripts import source
from harness.model import Cell, Host
from harness.rig.rig import Rig
from harness.targets.bulk_rows import bulk_rows
from harness.targets.dead_rows import VacuumReading, vacuum, vacuuming
from harness.targets.snapshot import Snapshot
from harness.targets.sqlite_files import as_service

PYTHON = "/opt/pgcrucible/venv/bin/python"
CODE = "/opt/pgcrucible/code"
STATS_S = 4.0
"""A backend reports its statistics up to a second late; longest wait until the count of deadlocks rests."""
COUNT_LOGGED = """
set -- "$1"/*.log
[ ! -r "$1" ] || cat "$@" | grep -c 'ERROR:  deadlock detected' || true
"""
"""Deadlocks in the logs of a folder; nothing at all where there is no log to read."""
_SHAKE_HANDS = """
import socket, ssl, sys
address, port, authority = sys.argv[1:]
try:
    with socket.create_connection((address, int(port)), timeout=10) as plain:
        with ssl.create_default_context(cafile=authority).wrap_socket(plain, server_hostname=address) as line:
            print(line.version(), line.cipher()[0])
except OSError as error:
    sys.exit(f"{address}:{port}: {error}")
"""
_CANNOT_START = [
    "sh",
    "-c",
    "journalctl -u 'pgcrucible-app@*' -o cat --since -1min | grep '\"cannot start\"' | tail -n 1",
]
WATCHED_TABLE = "counters"
"""The table whose dead rows are counted."""
NOT_API = ("health", "live", "metrics", "pool-stats")
"""Operations that the harness, HAProxy and the telemetry ask for beside the load."""


class LayerCounters:
    """Asks a rig's layers, through SSH and one database connection."""

    def __init__(self, rig: Rig, db: psycopg.Connection[Any]) -> None:
        self._rig, self._db = rig, db
        self._lb = rig.role("lb")[0]
        self._apps = rig.role("app")
        self.workers = int(rig.variables.get("app_workers", 1))
        """Processes of the service on each app host."""
        self._app_port = int(rig.variables.get("app_port", 3001))

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Turns what the database refuses, or its end, into a RigError that names its host."""
        try:
            yield
        except psycopg.Error as error:
            host = self._rig.role("db")[0].name
            raise RigError(
                f"{host}: PostgreSQL: {' '.join(str(error).split())[:300]}",
                hint="what was measured is kept; see ./run status, then go on with: bench --resume RUN",
            ) from error

    @contextlib.contextmanager
    def heard(self) -> Iterator[list[str]]:
        """The warnings that the server sends while the context lasts."""
        warnings: list[str] = []

        def hear(notice: psycopg.errors.Diagnostic) -> None:
            if notice.severity_nonlocalized == "WARNING":
                warnings.append(notice.message_primary or "")

        self._db.add_notice_handler(hear)
        try:
            yield warnings
        finally:
            self._db.remove_notice_handler(hear)

    def snapshot(self, cell: Cell, reads: Collection[str], since: Snapshot | None = None) -> Snapshot:
        """See Target.snapshot."""
        after, postgres = since is not None, cell.backend == "postgres"
        with self.answering():
            bodies = self.metrics()
            total, servers = self._haproxy_counts()
            fields: dict[str, Any] = {}
            if postgres:
                fields["database_transactions"] = self._next_transaction_id()
            if "deadlocks" in reads:
                fields["deadlocks"] = self._deadlocks()
            if after and "data" in reads:
                fields["bulk_rows"] = bulk_rows(self._db)
            if after and "dead-rows" in reads:
                fields["vacuum"] = vacuum(self._db, WATCHED_TABLE)
            if "counters" in reads:
                fields |= self._postgres(reads) if postgres else self._sqlite_file(cell, reads, bodies)
        return Snapshot(
            haproxy_requests=total,
            server_requests=servers,
            app_requests={worker: _api_requests(body) for worker, body in bodies.items()},
            app_transactions={worker: int(body["transactions"]) for worker, body in bodies.items()},
            **fields,
        )

    def vacuuming(self, reads: Collection[str]) -> contextlib.AbstractContextManager[Sequence[VacuumReading | None]]:
        """See Target.vacuuming."""
        return vacuuming(self._db, WATCHED_TABLE) if "dead-rows" in reads else contextlib.nullcontext(())

    def _postgres(self, reads: Collection[str]) -> dict[str, Any]:
        counters = dict(self._db.execute("SELECT key, value FROM counters").fetchall())
        if "ledger" not in reads:
            return {"counters": counters}
        rows = self._db.execute("SELECT id, key, value FROM ledger").fetchall()
        return {"counters": counters, "ledger": {i: (k, v) for i, k, v in rows}}

    def _sqlite_file(
        self, cell: Cell, reads: Collection[str], bodies: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        content = self.sqlite("read")
        serving = {host.name for host in self._apps[: cell.hosts]}
        return {
            "counters": content["counters"],
            "ledger": {i: (k, v) for i, (k, v) in content["ledger"].items()} if "ledger" in reads else None,
            "integrity": content["integrity"],
            "sqlite_settings": {
                worker: body["facts"] for worker, body in bodies.items() if worker.split(".")[0] in serving
            },
        }

    def sqlite(self, wish: str) -> dict[str, Any]:
        """The shared file, read or emptied on the first app host as the service's own user."""
        path = str(next(iter(self.metrics().values()))["settings"]["sqlite_path"])
        command = [*as_service(self._rig), "python3", "-", path, wish]
        done = self._rig.at(self._apps[0]).run(command, stdin=source("sqlite_file"))
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _deadlocks(self) -> dict[str, int]:
        """Deadlocks since ever, as pg_stat_database and as the server's log, if it is there, count them."""
        deadline = time.monotonic() + STATS_S
        (count,) = self.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        while time.monotonic() < deadline:  # a backend reports its statistics up to a second late
            time.sleep(0.5)
            self._db.execute("SELECT pg_stat_clear_snapshot()")
            before, (count,) = (
                count,
                self.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"),
            )
            if count == before and deadline - time.monotonic() < STATS_S - 1.5:
                break
        log = self._rig.at(self._rig.role("db")[0]).run(["sh", "-c", COUNT_LOGGED, "sh", "/var/log/postgresql"])
        return {"statistics": count, **({"log": int(log.stdout)} if log.stdout.strip() else {})}

    def _next_transaction_id(self) -> int:
        (count,) = self.one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        return int(count)

    def _haproxy_counts(self) -> tuple[int, dict[str, int]]:
        """(requests seen by the public frontend, app host -> requests sent to it)."""
        total, servers = 0, Counter[str]()
        for row in self.haproxy():
            if row["type"] == "0" and row["pxname"] == "public":
                total = int(row["req_tot"] or 0)
            elif row["type"] == "2":
                servers[host_of(row)] += int(row["stot"] or 0)
        return total, dict(servers)

    def one(self, sql: str) -> tuple[Any, ...]:
        row = self._db.execute(sql.encode()).fetchone()
        assert row is not None
        return tuple(row)

    def ciphers(self, port: int, authority: str) -> dict[str, str]:
        """Protocol version and cipher that HAProxy and PostgreSQL agree on with a client that verifies them."""
        load = self._rig.at(self._rig.role("load")[0])
        frontend = load.run(["python3", "-", self._lb.address, str(port), authority], stdin=_SHAKE_HANDS).stdout
        database = self.one("SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return {"haproxy": frontend.strip(), "postgres": " ".join(database)}

    def socket(self, commands: str) -> str:
        return (
            self._rig.at(self._lb)
            .run(["socat", "-t5", "stdio", "/run/haproxy/admin.sock"], stdin=commands + "\n")
            .stdout
        )

    def haproxy(self) -> list[dict[str, str]]:
        text = self.socket("show stat").lstrip("# ")
        return list(csv.DictReader(io.StringIO(text)))

    def ask(self, hosts: Sequence[Host], path: str) -> dict[str, tuple[int, str]]:
        """App worker -> (status, body) of a GET past HAProxy, through the first load host's SSH connection."""
        workers = [(host, number) for host in hosts for number in range(self.workers)]
        load = self._rig.at(self._rig.role("load")[0])
        with ThreadPoolExecutor(min(16, len(workers)) or 1) as pool:
            answers = pool.map(lambda w: load.get(w[0].address, self._app_port + w[1], path), workers)
            return {f"{host.name}.{n + 1}": answer for (host, n), answer in zip(workers, answers, strict=True)}

    def metrics(self, hosts: Sequence[Host] | None = None) -> dict[str, dict[str, Any]]:
        """App worker, of all hosts or of these, -> what it says of itself, without touching the database."""
        bodies = {}
        for worker, (status, body) in self.ask(self._apps if hosts is None else hosts, "/metrics?database=0").items():
            if status != 200:
                raise RigError(f"{worker}: /metrics answered {status or 'nothing'}: {body[:200]}", hint="./run status")
            bodies[worker] = json.loads(body)
        return bodies

    def healthy(self, hosts: Sequence[Host]) -> bool:
        """Whether every worker of these hosts reaches its database."""
        return all(status == 200 for status, _ in self.ask(hosts, "/health").values())

    def last_words(self, hosts: Sequence[Host]) -> str:
        """Why the service could not start where it does not answer, as its log says: `; app-1: …`, or nothing."""
        silent = {worker.split(".")[0] for worker, (status, _) in self.ask(hosts, "/live").items() if status != 200}
        said = self._rig.each(
            [host for host in hosts if host.name in silent], lambda h: h.run(_CANNOT_START, check=False).stdout
        )
        return "".join(f"; {host}: {json.loads(line)['reason']}" for host, line in said.items() if line.strip())


def host_of(row: Mapping[str, str]) -> str:
    """The app host a HAProxy server stands for: `app-2` for `app-2`, and for its worker `app-2.1`."""
    return row["svname"].split(".")[0]


def agent_command(module: str) -> list[str]:
    """The command that runs one of our modules on a host."""
    return ["env", f"PYTHONPATH={CODE}", "PYTHONDONTWRITEBYTECODE=1", PYTHON, "-m", module]


def _api_requests(metrics: Mapping[str, Any]) -> int:
    """Returns how many API requests a worker received since it started, from its /metrics."""
    return sum(sum(outcomes.values()) for op, outcomes in metrics["requests"].items() if op not in NOT_API)
