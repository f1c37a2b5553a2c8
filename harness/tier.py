"""The tier under test on a rig: which hosts serve, with which backend and pool, and what each layer counted.

Everything a trial needs done around its load: configure, drain, reset, read. Nothing here judges.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo

from harness.errors import RigError
from harness.model import Cell, Evidence
from harness.plan import Driver, Site
from harness.rig import RemoteHost, Rig
from harness.store import HostRecord, RigRecord

PYTHON = "/opt/pgcrucible/venv/bin/python"
CODE = "/opt/pgcrucible/code"
OVERRIDE = "/etc/pgcrucible/override.env"
RESTART = "systemctl restart pgcrucible-app.target"
SETTLE_S = 30.0
FACTS = Path(__file__).with_name("facts.py")


class Tier:
    """Use as a context manager: holds one database connection for the length of a bench."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._stack = contextlib.ExitStack()
        self._settled: tuple[Any, ...] | None = None
        self._active = 0
        self.apps = rig.role("app")
        self.lb = rig.role("lb")[0]
        self.port = int(rig.variables.get("haproxy_port", 8080))
        self._workers = int(rig.variables.get("app_workers", 1))
        self._app_port = int(rig.variables.get("app_port", 3001))

    def __enter__(self) -> Tier:
        self.db: psycopg.Connection[Any] = self._stack.enter_context(self.rig.database())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- what there is ---------------------------------------------------------------------------------

    def site(self) -> Site:
        """What this rig offers to a plan."""
        (connections,) = self._one("SELECT setting::int FROM pg_settings WHERE name = 'max_connections'")
        backends = ["postgres"]
        if self.rig.variables.get("shared_directory"):
            backends += ["sqlite-naive", "sqlite-tuned"]
        return Site(
            hosts=len(self.apps),
            load_hosts=len(self.rig.role("load")),
            backends=tuple(backends),
            connections=connections,
        )

    def stations(self) -> list[RemoteHost]:
        """Where load comes from."""
        return [self.rig.at(host) for host in self.rig.role("load")]

    def place(self) -> dict[str, Any]:
        """Where load goes: the load balancer, as its peers reach it."""
        return {"host": self.lb.address, "port": self.port}

    def command(self, module: str) -> list[str]:
        """How one of our modules is run on a host."""
        return agent_command(module)

    def drive(self, driver: Driver) -> dict[str, Any]:
        """Runs a driver on the first host of its role; its job gets what it must not carry in a plan."""
        host = self.rig.role(driver.role)[0]
        job = dict(driver.job) | {"dsn": self.dsn()}
        done = self.rig.at(host).run(self.command(driver.module), stdin=json.dumps(job) + "\n", timeout_s=600)
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return result

    def dsn(self) -> str:
        """The harness's connection string as the rig's own hosts use it."""
        values = self.rig.variables
        return psycopg.conninfo.make_conninfo(
            host=self.rig.role("db")[0].address,
            port=int(values.get("postgres_port", 5432)),
            dbname=str(values.get("postgres_database", "crucible")),
            user=str(values.get("postgres_harness_user", "crucible_harness")),
            password=self.rig.secrets["harness_password"],
        )

    def record(self) -> RigRecord:
        """The rig as the manifest keeps it."""
        known = self.rig.state
        return RigRecord(
            name=self.rig.name,
            provider=self.rig.provider,
            hosts=self.host_records(),
            code_hash=known.code_hash if known else "",
            image=known.image if known else "",
        )

    def host_records(self) -> list[HostRecord]:
        """Every host as it is now: caps, memory, kernel, versions."""
        facts = self.rig.each(
            self.rig.hosts, lambda h: json.loads(h.run(["python3", "-"], stdin=FACTS.read_text()).stdout)
        )
        return [HostRecord(name=h.name, role=h.role, **facts[h.name]) for h in self.rig.hosts]

    def settings(self) -> dict[str, Any]:
        """Every PostgreSQL setting that is not the default, and what each app says of itself (no secrets)."""
        rows = self.db.execute(
            "SELECT name, setting || coalesce(unit, '') FROM pg_settings "
            "WHERE source NOT IN ('default', 'override', 'client', 'session', 'environment variable') ORDER BY name"
        ).fetchall()
        return {
            "postgres": {"server_version": self._one("SHOW server_version")[0], **dict(rows)},
            "app": {host: body.get("settings", {}) for host, body in sorted(self._metrics().items())[:1]},
        }

    def code_hashes(self) -> dict[str, str]:
        """App worker -> the hash of the code it runs."""
        return {worker: str(body.get("code", "")) for worker, body in self._metrics().items()}

    # -- before a trial --------------------------------------------------------------------------------

    def settle(self, cell: Cell) -> None:
        """The first `cell.hosts` app hosts serve with the cell's backend and pool; the others are drained."""
        wanted = (cell.backend, cell.pool, tuple(sorted(dict(cell.params.get("app", {})).items())))
        if wanted != self._settled:
            self._configure(cell)
            self._settled = wanted
            self._active = 0
        if cell.hosts != self._active:
            self._drain(cell.hosts)
            self._active = cell.hosts

    def _configure(self, cell: Cell) -> None:
        backend = {"BACKEND": cell.backend, "POOL_SIZE": str(cell.pool)}
        extra = {str(k): str(v) for k, v in dict(cell.params.get("app", {})).items()}
        text = "".join(f"{name}={value}\n" for name, value in (backend | extra).items())
        script = f"umask 077; cat > {OVERRIDE}.part && mv {OVERRIDE}.part {OVERRIDE} && {RESTART}"
        self.rig.each(self.apps, lambda h: h.run(["sh", "-c", script], stdin=text))
        self._until("the app hosts answer", self._all_healthy)

    def restore(self) -> None:
        """All app hosts serve again as provisioned: no override, nothing drained."""
        if self._settled is None:
            return
        self.rig.each(self.apps, lambda h: h.run(["sh", "-c", f"rm -f {OVERRIDE}; {RESTART}"]))
        self._drain(len(self.apps))
        self._settled = None

    def _drain(self, active: int) -> None:
        serving = {host.name for host in self.apps[:active]}
        commands = [
            f"set server {row['pxname']}/{row['svname']} state {'ready' if self._host_of(row) in serving else 'maint'}"
            for row in self._haproxy()
            if row["pxname"] == "app" and row["type"] == "2"
        ]
        self._socket("; ".join(commands))
        self._until("HAProxy serves from the wanted hosts", lambda: self._serving() == serving)

    def _serving(self) -> set[str]:
        return {
            self._host_of(row)
            for row in self._haproxy()
            if row["pxname"] == "app" and row["type"] == "2" and row["status"].startswith("UP")
        }

    @staticmethod
    def _host_of(row: Mapping[str, str]) -> str:
        """The app host a HAProxy server stands for: `app-2` for `app-2`, and for its worker `app-2.1`."""
        return row["svname"].split(".")[0]

    def reset(self, cell: Cell) -> None:  # noqa: ARG002
        """Empty tables, vacuumed, and a finished CHECKPOINT: every trial starts from the same state."""
        self.db.execute("TRUNCATE counters, data, ledger RESTART IDENTITY")
        self.db.execute("VACUUM ANALYZE counters, data, ledger")
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):  # PostgreSQL 14 has no pg_checkpoint
            self.db.execute("CHECKPOINT")

    # -- around a trial --------------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """Every counter as the database holds it."""
        return dict(self.db.execute("SELECT key, value FROM counters").fetchall())

    def ledger(self) -> dict[str, tuple[str, int]]:
        """Every ledger row: id -> (key, value)."""
        return {i: (k, v) for i, k, v in self.db.execute("SELECT id, key, value FROM ledger").fetchall()}

    @contextlib.contextmanager
    def watched(self, *, ledger: bool) -> Iterator[Callable[[], Evidence]]:
        """Reads every layer's counts now; the function handed out reads them again and gives the evidence."""
        initial, before, frontend, servers = self.counters(), self._received(), *self._haproxy_counts()

        def evidence() -> Evidence:
            after = self._received()
            frontend_after, servers_after = self._haproxy_counts()
            return Evidence(
                initial=initial,
                final=self.counters(),
                ledger=self.ledger() if ledger else None,
                counts={
                    "haproxy": frontend_after - frontend,
                    "app": sum(after.values()) - sum(before.values()),
                },
                servers={name: count - servers.get(name, 0) for name, count in servers_after.items()},
            )

        yield evidence

    def _received(self) -> Counter[str]:
        """App worker -> API requests it received since it started."""
        seen: Counter[str] = Counter()
        for worker, body in self._metrics().items():
            seen[worker] = sum(
                count
                for op, outcomes in body["requests"].items()
                if op not in ("health", "live", "metrics", "pool-stats")
                for count in outcomes.values()
            )
        return seen

    def _haproxy_counts(self) -> tuple[int, dict[str, int]]:
        """(requests seen by the public frontend, app host -> requests sent to it)."""
        total, servers = 0, Counter[str]()
        for row in self._haproxy():
            if row["type"] == "0" and row["pxname"] == "public":
                total = int(row["req_tot"] or 0)
            elif row["type"] == "2":
                servers[self._host_of(row)] += int(row["stot"] or 0)
        return total, dict(servers)

    # -- asking ----------------------------------------------------------------------------------------

    def _one(self, sql: str) -> tuple[Any, ...]:
        row = self.db.execute(sql.encode()).fetchone()
        assert row is not None
        return tuple(row)

    def _socket(self, commands: str) -> str:
        return (
            self.rig.at(self.lb).run(["socat", "-t5", "stdio", "/run/haproxy/admin.sock"], stdin=commands + "\n").stdout
        )

    def _haproxy(self) -> list[dict[str, str]]:
        text = self._socket("show stat").lstrip("# ")
        return list(csv.DictReader(io.StringIO(text)))

    def _urls(self, path: str) -> dict[str, str]:
        """URL -> worker name, for every app worker, past HAProxy."""
        return {
            f"http://{host.address}:{self._app_port + n}{path}": f"{host.name}.{n + 1}"
            for host in self.apps
            for n in range(self._workers)
        }

    def ask(self, urls: Mapping[str, str]) -> dict[str, tuple[int, str]]:
        """Worker name -> (status, body), asked from the first load host."""
        load = self.rig.at(self.rig.role("load")[0])
        answer = load.run(agent_command("harness.load.probe"), stdin=json.dumps(list(urls)) + "\n").stdout
        return {urls[url]: (int(status), str(body)) for url, (status, body) in json.loads(answer).items()}

    def _metrics(self) -> dict[str, dict[str, Any]]:
        bodies = {}
        for worker, (status, body) in self.ask(self._urls("/metrics?database=0")).items():
            if status != 200:
                raise RigError(f"{worker}: /metrics answered {status or 'nothing'}: {body[:200]}", hint="./run status")
            bodies[worker] = json.loads(body)
        return bodies

    def _all_healthy(self) -> bool:
        return all(status == 200 for status, _ in self.ask(self._urls("/health")).values())

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SETTLE_S
        while not holds():
            if time.monotonic() > deadline:
                raise RigError(f"waited {SETTLE_S:g} s in vain until {what}", hint="see ./run status")
            time.sleep(0.2)


def agent_command(module: str) -> list[str]:
    """The command that runs one of our modules on a host."""
    return ["env", f"PYTHONPATH={CODE}", "PYTHONDONTWRITEBYTECODE=1", PYTHON, "-m", module]
