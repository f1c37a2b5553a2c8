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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from harness.errors import RigError
from harness.host_scripts import source
from harness.model import Cell, Host
from harness.record import Evidence
from harness.rig.rig import Rig
from harness.targets.dead_rows import vacuumed
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

    @contextlib.contextmanager
    def watched(self, cell: Cell, reads: Collection[str]) -> Iterator[Callable[[], Evidence]]:
        """Reads every layer's counts now; the function handed out reads them again and gives the evidence.

        `reads`: `counters` (and the SQLite file's integrity), `ledger`, `data` (rows of bulk inserts), `deadlocks` (as
        the server and its log count them), `dead-rows` (row versions that VACUUM could
        not remove while the load ran, and after it).
        """
        with self.answering():
            initial = self._counters(cell) if "counters" in reads else {}
            (received, begun), (frontend, servers) = self._app_counts(), self._haproxy_counts()
            given = self._given()
            deadlocks = self._deadlocks() if "deadlocks" in reads else {}
        dead_rows: Callable[[], dict[str, int]] = dict

        @self.answering()
        def evidence() -> Evidence:
            given_after = self._given()
            (received_after, begun_after), (frontend_after, servers_after) = self._app_counts(), self._haproxy_counts()
            final: Mapping[str, int] = {}
            ledger: Mapping[str, tuple[str, int]] | None = None
            extra: dict[str, Any] = {}
            if cell.backend == "postgres":
                extra["transactions"] = {"app": begun_after - begun, "database": given_after - given}
            if "deadlocks" in reads:
                now = self._deadlocks()
                extra["deadlocks"] = {name: now[name] - count for name, count in deadlocks.items() if name in now}
            if "data" in reads:
                extra["data"] = bulk_rows(self._db)
            if "dead-rows" in reads:
                extra["dead_rows"] = dead_rows()
            if "counters" in reads and cell.backend == "postgres":
                final, ledger = self._counters(cell), self._ledger() if "ledger" in reads else None
            elif "counters" in reads:
                seen = self.sqlite("read")
                final = seen["counters"]
                ledger = {i: (k, v) for i, (k, v) in seen["ledger"].items()} if "ledger" in reads else None
                extra |= {"integrity_check": seen["integrity"], **read_back(self.metrics(), self._apps[: cell.hosts])}
            return Evidence(
                initial=initial,
                final=final,
                ledger=ledger,
                counts={
                    "haproxy": frontend_after - frontend,
                    "app": received_after - received,
                },
                servers={name: count - servers.get(name, 0) for name, count in servers_after.items()},
                extra=extra,
            )

        with contextlib.ExitStack() as stack:
            if "dead-rows" in reads:
                dead_rows = stack.enter_context(vacuumed(self._db, "counters"))
            yield evidence

    def _counters(self, cell: Cell) -> dict[str, int]:
        if cell.backend != "postgres":
            return dict(self.sqlite("read")["counters"])
        return dict(self._db.execute("SELECT key, value FROM counters").fetchall())

    def _ledger(self) -> dict[str, tuple[str, int]]:
        return {i: (k, v) for i, k, v in self._db.execute("SELECT id, key, value FROM ledger").fetchall()}

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

    def _app_counts(self) -> tuple[int, int]:
        """API requests that the app workers received, and transactions that they began, since they started."""
        bodies = self.metrics().values()
        asked = [outcomes for body in bodies for op, outcomes in body["requests"].items() if op not in NOT_API]
        return sum(sum(outcomes.values()) for outcomes in asked), sum(body["transactions"] for body in bodies)

    def _given(self) -> int:
        """Transaction ids that the server has given out since ever."""
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


def read_back(bodies: Mapping[str, Mapping[str, Any]], serving: Sequence[Host]) -> dict[str, Any]:
    """What SQLite granted, of the workers' /metrics: the first serving worker's under `sqlite`, and under
    `sqlite_unlike` that of each one that was granted anything else."""
    names = {host.name for host in serving}
    facts = {worker: dict(body["facts"]) for worker, body in bodies.items() if worker.split(".")[0] in names}
    first = next(iter(facts.values()))
    unlike = {worker: granted for worker, granted in facts.items() if granted != first}
    return {"sqlite": first} | ({"sqlite_unlike": unlike} if unlike else {})


_RANGES = """
SELECT min(id), max(id)
FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS run FROM data WHERE id > %(after)s AND content ~ %(form)s) AS r
GROUP BY run ORDER BY 1
"""
_REQUESTS = """
SELECT split_part(content, '-', 1)::bigint, count(*)
FROM (SELECT content FROM data WHERE id > %(after)s AND content ~ %(form)s OFFSET 0) AS r
GROUP BY 1
"""


def bulk_rows(db: psycopg.Connection[Any], *, after: int = 0, form: str = "") -> dict[str, Any]:
    """Rows of `data` beyond the id `after`: ids as ranges, and how many each request (its sequence number) left.

    `form`: a regular expression of the contents that count.
    """
    wanted = {"after": after, "form": form}
    left = db.execute(_REQUESTS, wanted).fetchall()
    return {
        "rows": sum(count for _, count in left),
        "ranges": [list(r) for r in db.execute(_RANGES, wanted).fetchall()],
        "requests": {str(n): c for n, c in left},
    }
