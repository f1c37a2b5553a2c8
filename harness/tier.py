"""The tier under test on a rig: which hosts serve, with which backend and pool, and what each layer counted.

Everything a trial needs done around its load: configure, drain, reset, read. Nothing here judges.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo

from harness import containers, podman
from harness.errors import RigError
from harness.model import Backend, Cell, Evidence
from harness.plan import Driver, Site
from harness.rig import RemoteHost, Rig
from harness.store import HostRecord, RigRecord

PYTHON = "/opt/pgcrucible/venv/bin/python"
CODE = "/opt/pgcrucible/code"
OVERRIDE = "/etc/pgcrucible/override.env"
RESTART = "systemctl restart pgcrucible-app.target"
SETTLE_S = 30.0
STATS_S = 4.0
CANARY = Path(__file__).with_name("canary.py")
FACTS = Path(__file__).with_name("facts.py")
SQLITE_FILE = Path(__file__).with_name("sqlite_file.py")


class Tier:
    """Use as a context manager: holds one database connection for the length of a bench."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._stack = contextlib.ExitStack()
        self._overrides: dict[str, str] | None = None
        self._cpus: float | None = None
        self._active = 0
        self.apps = rig.role("app")
        self.lb = rig.role("lb")[0]
        self.port = int(rig.variables.get("haproxy_port", 8080))
        self._workers = int(rig.variables.get("app_workers", 1))
        self._shared = str(rig.variables.get("app_sqlite_directory", ""))
        self._app_port = int(rig.variables.get("app_port", 3001))

    def __enter__(self) -> Tier:
        self.db: psycopg.Connection[Any] = self._stack.enter_context(self.rig.database())
        self._overrides = self._as_found = self._provisioned()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- what there is ---------------------------------------------------------------------------------

    def site(self) -> Site:
        """What this rig offers to a plan."""
        (connections,) = self._one("SELECT setting::int FROM pg_settings WHERE name = 'max_connections'")
        backends: list[Backend] = ["postgres"]
        if self._shared:
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

    def null_path(self) -> str | None:
        """Where HAProxy answers by itself."""
        return "/null"

    def place(self) -> dict[str, Any]:
        """Where load goes: the load balancer, as its peers reach it."""
        return {"host": self.lb.address, "port": self.port}

    def command(self, module: str) -> list[str]:
        """How one of our modules is run on a host."""
        return agent_command(module)

    def drive(self, driver: Driver) -> dict[str, Any]:
        """Runs a driver on the first host of its role; its job gets what it must not carry in a plan."""
        host = self.rig.role(driver.role)[0]
        job = dict(driver.job)
        if "sqlite" in job:
            job["sqlite"] = {**job["sqlite"], "path": f"{self._shared}/isolation.sqlite"}
        else:
            job |= {"dsn": self.dsn(), "schema": "isolation"}
        done = self.rig.at(host).run(
            self.command(driver.module), stdin=json.dumps(job) + "\n", timeout_s=600, check=False
        )
        last = (done.stdout.strip().splitlines() or ["{}"])[-1]
        answer = json.loads(last) if last.startswith("{") else {}
        if "result" not in answer:
            why = answer.get("message") or done.stderr.strip().splitlines()[-1:] or "it said nothing"
            raise RigError(f"{host.name}: {driver.module}: {why}", hint=str(answer.get("hint", "see ./run status")))
        result: dict[str, Any] = answer["result"]
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

    def canaries(self) -> dict[str, dict[str, float]]:
        """Host -> its canaries (harness/canary.py), one host after the other so that none disturbs another."""
        text, found = CANARY.read_text(), {}
        for number, host in enumerate(self.rig.hosts):
            peer = self.rig.hosts[number - 1].address
            found[host.name] = json.loads(self.rig.at(host).run(["python3", "-", peer], stdin=text).stdout)
        return found

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
        """The first `cell.hosts` app hosts serve with the cell's backend, pool and CPU cap; the others are drained.

        Cell parameters that are settings of the tier: `app_cpus` (cores an app host may use; on rigs whose hosts
        we made) and `app_<setting>` (any other setting of the service, app/settings.py).
        """
        wanted = {"BACKEND": cell.backend, "POOL_SIZE": str(cell.pool)} | {
            name.removeprefix("app_").upper(): str(value)
            for name, value in cell.params.items()
            if name.startswith("app_") and name != "app_cpus"
        }
        if wanted != self._overrides:
            self._configure(wanted)
        cpus = cell.params.get("app_cpus")
        if cpus != self._cpus:
            self._cap(cpus)
        if cell.hosts != self._active:
            self._drain(cell.hosts)

    def _provisioned(self) -> dict[str, str] | None:
        """What the app hosts run with now, as overrides; None where an earlier bench left overrides behind."""
        left = self.rig.each(self.apps, lambda h: h.run(["test", "-e", OVERRIDE], check=False).code == 0)
        if any(left.values()):
            return None
        settings = [body["settings"] for body in self._metrics().values()]
        found = {(str(s["backend"]), str(s["pool_size"])) for s in settings}
        return dict(zip(("BACKEND", "POOL_SIZE"), found.pop(), strict=True)) if len(found) == 1 else None

    def _configure(self, overrides: Mapping[str, str]) -> None:
        text = "".join(f"{name}={value}\n" for name, value in overrides.items())
        put = f"cat > {OVERRIDE}.part && mv {OVERRIDE}.part {OVERRIDE}" if overrides else f"rm -f {OVERRIDE}"
        with self._uncapped():
            self.rig.each(self.apps, lambda h: h.run(["sh", "-c", f"umask 077; {put} && {RESTART}"], stdin=text))
            self._until("the app hosts answer", self._all_healthy)
        self._overrides = dict(overrides)

    def _uncapped(self) -> contextlib.AbstractContextManager[None]:
        """Starting a service on a tenth of a core takes ten times as long, and measures nothing."""
        self._cpus = None
        known = self.rig.state
        return containers.uncapped(known) if known and self.rig.provider == "podman" else contextlib.nullcontext()

    def _cap(self, cpus: float | None) -> None:
        known = self.rig.state
        if known and self.rig.provider == "podman":
            podman.set_cpus(
                self.rig.name, {h.name: cpus or known.cpus[h.name] for h in self.apps if cpus or known.cpus}
            )
        self._cpus = cpus

    def restore(self) -> None:
        """All app hosts serve again as provisioned: no override, no cap but the inventory's, nothing drained."""
        if self._overrides != self._as_found or self._as_found is None:
            self._configure({})
        if self._cpus is not None:
            self._cap(None)
        if self._active != len(self.apps):
            self._drain(len(self.apps))

    def _drain(self, active: int) -> None:
        serving = {host.name for host in self.apps[:active]}
        commands = [
            f"set server {row['pxname']}/{row['svname']} state {'ready' if self._host_of(row) in serving else 'maint'}"
            for row in self._haproxy()
            if row["pxname"] == "app" and row["type"] == "2"
        ]
        self._socket("; ".join(commands))
        self._until("HAProxy serves from the wanted hosts", lambda: self._serving() == serving)
        self._active = active

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

    def reset(self, cell: Cell) -> None:
        """Empty tables, vacuumed, and a finished CHECKPOINT: every trial starts from the same state."""
        if cell.backend != "postgres":
            self._sqlite("empty")
            return
        self.db.execute("TRUNCATE counters, data, ledger RESTART IDENTITY")
        self.db.execute("VACUUM ANALYZE counters, data, ledger")
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):  # PostgreSQL 14 has no pg_checkpoint
            self.db.execute("CHECKPOINT")

    # -- around a trial --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watched(self, cell: Cell, reads: Collection[str]) -> Iterator[Callable[[], Evidence]]:
        """Reads every layer's counts now; the function handed out reads them again and gives the evidence.

        `reads`: `ledger`, `data` (rows of bulk inserts), `deadlocks` (as the server and its log count them),
        `dead-rows` (row versions that the trial left behind, and after VACUUM).
        """
        initial = self._counters(cell)
        received, (frontend, servers) = self._received(), self._haproxy_counts()
        deadlocks = self._deadlocks() if "deadlocks" in reads else {}

        def evidence() -> Evidence:
            after = self._received()
            frontend_after, servers_after = self._haproxy_counts()
            extra: dict[str, Any] = {}
            if "deadlocks" in reads:
                extra["deadlocks"] = {name: count - deadlocks[name] for name, count in self._deadlocks().items()}
            if "data" in reads:
                extra["data"] = self._data()
            if "dead-rows" in reads:
                extra["dead_rows"] = self._dead_rows()
            if cell.backend == "postgres":
                final, ledger = self._counters(cell), self._ledger() if "ledger" in reads else None
            else:
                seen = self._sqlite("read")
                final = seen["counters"]
                ledger = {i: (k, v) for i, (k, v) in seen["ledger"].items()} if "ledger" in reads else None
                extra |= {"integrity_check": seen["integrity"], "sqlite": self._facts()}
            return Evidence(
                initial=initial,
                final=final,
                ledger=ledger,
                counts={
                    "haproxy": frontend_after - frontend,
                    "app": sum(after.values()) - sum(received.values()),
                },
                servers={name: count - servers.get(name, 0) for name, count in servers_after.items()},
                extra=extra,
            )

        yield evidence

    def _counters(self, cell: Cell) -> dict[str, int]:
        if cell.backend != "postgres":
            return dict(self._sqlite("read")["counters"])
        return dict(self.db.execute("SELECT key, value FROM counters").fetchall())

    def _ledger(self) -> dict[str, tuple[str, int]]:
        return {i: (k, v) for i, k, v in self.db.execute("SELECT id, key, value FROM ledger").fetchall()}

    def _sqlite(self, wish: str) -> dict[str, Any]:
        """The shared file, read or emptied on the first app host as the service's own user."""
        command = ["runuser", "-u", str(self.rig.variables.get("common_user", "pgcrucible")), "--"]
        path = str(next(iter(self._metrics().values()))["settings"]["sqlite_path"])
        command += ["python3", "-", path, wish]
        done = self.rig.at(self.apps[0]).run(command, stdin=SQLITE_FILE.read_text())
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _facts(self) -> dict[str, Any]:
        """What the backend read back of its own settings (SQLite's pragmas), of the first app worker."""
        return dict(next(iter(self._metrics().values())).get("facts", {}))

    def _data(self) -> dict[str, Any]:
        """Rows of `data`: their ids as ranges, and how many each request (its sequence number) left."""
        (rows,) = self._one("SELECT count(*) FROM data")
        ranges = self.db.execute(
            "SELECT min(id), max(id) FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS run FROM data) AS r "
            "GROUP BY run ORDER BY 1"
        ).fetchall()
        left = self.db.execute("SELECT split_part(content, '-', 1)::bigint, count(*) FROM data GROUP BY 1").fetchall()
        return {"rows": rows, "ranges": [list(r) for r in ranges], "requests": {str(n): c for n, c in left}}

    def _deadlocks(self) -> dict[str, int]:
        """Deadlocks since ever, as pg_stat_database and as the server's log count them."""
        deadline = time.monotonic() + STATS_S
        (count,) = self._one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        while time.monotonic() < deadline:  # a backend reports its statistics up to a second late
            time.sleep(0.5)
            self.db.execute("SELECT pg_stat_clear_snapshot()")
            before, (count,) = (
                count,
                self._one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"),
            )
            if count == before and deadline - time.monotonic() < STATS_S - 1.5:
                break
        log = self.rig.at(self.rig.role("db")[0]).run(
            ["sh", "-c", "cat /var/log/postgresql/*.log | grep -c 'ERROR:  deadlock detected' || true"]
        )
        return {"statistics": count, "log": int(log.stdout.strip() or 0)}

    def _dead_rows(self) -> dict[str, int]:
        """Dead row versions of `counters` that VACUUM removed now, and those it could not."""
        text: list[str] = []
        self.db.add_notice_handler(lambda notice: text.append(notice.message_primary or ""))
        self.db.execute("VACUUM (VERBOSE) counters")
        found = re.search(r"tuples: (\d+) removed, (\d+) remain, (\d+) are dead but not yet removable", "\n".join(text))
        if found is None:
            return {}
        return {"removed": int(found[1]), "remaining": int(found[2]), "not_removable": int(found[3])}

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
