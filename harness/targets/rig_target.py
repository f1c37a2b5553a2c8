"""The tier under test on a rig: which hosts serve, with which backend and pool, and what each layer counted.

Everything a trial needs done around its load: configure, drain, reset, read. Nothing here judges.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import psycopg
import psycopg.conninfo

from harness.errors import RigError
from harness.host_scripts import source
from harness.load.job import Endpoint
from harness.load.spec import LoadSpec
from harness.model import BACKENDS, Cell, Host
from harness.plan.planner import service_settings
from harness.plan.scenario import RemoteWorkload, Site
from harness.provision.providers import provider_of
from harness.rig.rig import Rig
from harness.rig.ssh import SshConnection
from harness.store.manifest import HostRecord, RigRecord
from harness.store.run_writer import RunWriter
from harness.targets.base import During, Target
from harness.targets.dead_rows import VacuumReading
from harness.targets.layer_counts import LayerCounters, agent_command, host_of
from harness.targets.snapshot import Snapshot
from harness.targets.sqlite_files import remove, why_no_sqlite
from harness.targets.telemetry import Telemetry

OVERRIDE = "/etc/pgcrucible/override.env"
RESTART = "systemctl restart pgcrucible-app.target"
SETTLE_S = 30.0


class RigTarget(Target):
    """Use as a context manager: holds one database connection for the length of a bench."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._stack = contextlib.ExitStack()
        self._overrides: dict[str, dict[str, str]] = {}
        self._caps: dict[str, float] = {}
        """App host -> its cap in cores, where this bench has set it: another one, or a crash, may have left any."""
        self._active = 0
        self.apps = rig.role("app")
        self.lb = rig.role("lb")[0]
        self.port = int(rig.variables.get("haproxy_port", 8080))
        self._authority = f"{rig.variables['common_settings_directory']}/ca.pem" if rig.authority else ""
        self._shared = str(rig.variables.get("app_sqlite_directory", ""))

    def __enter__(self) -> RigTarget:
        with self._stack as stack:  # lets the database go if a host does not answer
            self.db: psycopg.Connection[Any] = stack.enter_context(self.rig.database())
            self.layers = LayerCounters(self.rig, self.db)
            self._as_found = self._provisioned()
            self._overrides = dict(self._as_found)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    # -- what there is ---------------------------------------------------------------------------------

    def site(self) -> Site:
        """What this rig offers to a plan."""
        with self.layers.answering():
            (connections,) = self.layers.one("SELECT setting::int FROM pg_settings WHERE name = 'max_connections'")
        no_sqlite = why_no_sqlite(self.rig, self._shared)
        return Site(
            hosts=len(self.apps),
            workers=self.layers.workers,
            load_hosts=len(self.rig.role("load")),
            backends=("postgres",) if no_sqlite else BACKENDS,
            no_sqlite=no_sqlite,
            connections=connections,
        )

    def preflight(self) -> None:
        """Checks nothing: provisioning connected the service and the harness to the same database."""

    def stations(self) -> list[SshConnection]:
        """Where load comes from."""
        return [self.rig.at(host) for host in self.rig.role("load")]

    def processes(self) -> int:
        """In how many processes each load host sends."""
        return int(self.rig.variables.get("load_processes", 1))

    def snapshot(self, cell: Cell, reads: Collection[str], since: Snapshot | None = None) -> Snapshot:
        """See LayerCounters.snapshot."""
        return self.layers.snapshot(cell, reads, since)

    def vacuuming(self, reads: Collection[str]) -> contextlib.AbstractContextManager[Sequence[VacuumReading | None]]:
        """See LayerCounters.vacuuming."""
        return self.layers.vacuuming(reads)

    @contextlib.contextmanager
    def telemetry(self, recorder: RunWriter) -> Iterator[During]:
        """Samples every host and the database each second while the context lasts."""
        with Telemetry(self.rig, recorder) as telemetry:
            yield telemetry.during

    def null_path(self) -> str | None:
        """Where HAProxy answers by itself."""
        return "/null"

    def endpoint(self) -> Endpoint:
        """Where load goes: the load balancer, as its peers reach it."""
        return Endpoint(host=self.lb.address, port=self.port, tls=bool(self._authority), ca=self._authority)

    def command(self, module: str) -> list[str]:
        """How one of our modules is run on a host."""
        return agent_command(module)

    def run_workload(self, driver: RemoteWorkload) -> dict[str, Any]:
        """Runs a driver on the first host of its role; its job gets what it must not carry in a plan."""
        host = self.rig.role(driver.role)[0]
        job = dict(driver.job)
        self._cap()  # nobody settled the tier for it: it may find the cap of the trial before
        if "sqlite" in job:
            path = f"{self._shared}/isolation.sqlite"
            job["sqlite"] = {**job["sqlite"], "path": path}
            remove(self.rig.at(host), path)  # one that was killed has left it, and the next touches nothing it finds
        else:
            self._let_go(self.apps)
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
            sslmode="verify-full" if self._authority else None,
            sslrootcert=self._authority or None,
        )

    def record(self) -> RigRecord:
        """The rig as the manifest keeps it."""
        known = self.rig.state
        return RigRecord(
            name=self.rig.name,
            provider=known.provider,
            hosts=self.host_records(),
            code_hash=known.code_hash,
            image=known.image,
            acceleration=known.acceleration,
            tls=bool(self._authority),
        )

    def host_records(self) -> list[HostRecord]:
        """Every host as it is now: caps, memory, kernel, versions."""
        facts = self.rig.each(
            self.rig.hosts, lambda h: json.loads(h.run(["python3", "-"], stdin=source("facts")).stdout)
        )
        return [HostRecord(name=h.name, role=h.role, **facts[h.name]) for h in self.rig.hosts]

    def canaries(self) -> dict[str, dict[str, float]]:
        """Host -> its canaries (host_scripts/canary.py), measured one host at a time so that none disturbs another."""
        text, found = source("canary"), {}
        for number, host in enumerate(self.rig.hosts):
            peer = self.rig.hosts[number - 1]
            port = peer.ssh_port if peer.ssh_address == peer.address else 22  # else that is the way in from here alone
            command = ["python3", "-", peer.address, str(port)]
            found[host.name] = json.loads(self.rig.at(host).run(command, stdin=text).stdout)
        return found

    def settings(self) -> dict[str, Any]:
        """Every PostgreSQL setting that is not the default, and what each app says of itself (no secrets)."""
        with self.layers.answering():
            rows = self.db.execute(
                "SELECT name, setting || coalesce(unit, '') FROM pg_settings "
                "WHERE source NOT IN ('default', 'override', 'client', 'session', 'environment variable') ORDER BY name"
            ).fetchall()
            (version,) = self.layers.one("SHOW server_version")
            tls = {"tls": self.layers.ciphers(self.port, self._authority)} if self._authority else {}
        return {
            **tls,
            "postgres": {"server_version": version, **dict(rows)},
            "haproxy": {k: v for k, v in self.rig.variables.items() if k.startswith("haproxy_")},
            "app": {host: body.get("settings", {}) for host, body in sorted(self.layers.metrics().items())[:1]},
        }

    # -- before a trial --------------------------------------------------------------------------------

    def configure(self, cell: Cell) -> None:
        """The first `cell.hosts` app hosts serve with the cell's backend, pool and CPU cap; the others are drained.

        `app_cpus` (cores an app host may use) is heeded on rigs whose hosts we made.
        """
        wanted = service_settings(cell, self.layers.workers)
        if cell.backend != "postgres":
            # A set-up's own, because the journal mode is kept in the file and none of the hosts can change it while
            # another one, drained perhaps, still has it open.
            path = wanted["SQLITE_PATH"] = f"{self._shared}/{cell.backend}.db"
            if all(known.get("SQLITE_PATH") != path for known in self._overrides.values()):
                remove(self.rig.at(self.apps[0]), path)  # left by an earlier bench, damaged perhaps
        serving = self.apps[: cell.hosts]
        self._let_go(self.apps[cell.hosts :])
        late = [host for host in serving if self._overrides.get(host.name) != wanted]
        if late:
            self._configure(late, wanted)
        self._cap(cell.cpus_per_host)
        if cell.hosts != self._active:
            self._drain(cell.hosts)

    def _let_go(self, hosts: Sequence[Host]) -> None:
        """Set those back as provisioned that keep connections open, however little they have to do: a trial in which
        they serve nobody may need them.
        """
        hoarding = [host for host in hosts if int(self._overrides.get(host.name, {}).get("POOL_MIN", 0)) > 1]
        if hoarding:
            self._configure(hoarding, {})

    def _provisioned(self) -> dict[str, dict[str, str]]:
        """App host -> what it runs with as provisioned; a host on which an earlier bench left overrides is absent, and
        is asked nothing: the service may be unable to start with them, which `restore` mends.
        """
        left = self.rig.each(self.apps, lambda h: h.run(["test", "-e", OVERRIDE], check=False).code == 0)
        bodies = self.layers.metrics([host for host in self.apps if not left[host.name]])
        known = {worker.split(".")[0]: body["settings"] for worker, body in bodies.items()}
        return {
            name: {"BACKEND": str(settings["backend"]), "POOL_SIZE": str(settings["pool_size"])}
            for name, settings in known.items()
        }

    def _configure(self, hosts: Sequence[Host], overrides: Mapping[str, str]) -> None:
        text = "".join(f"{name}={value}\n" for name, value in overrides.items())
        put = f"cat > {OVERRIDE}.part && mv {OVERRIDE}.part {OVERRIDE}" if overrides else f"rm -f {OVERRIDE}"
        for host in hosts:
            self._overrides.pop(host.name, None)
        # starting a service on a tenth of a core takes ten times as long, and measures nothing
        self._limit(dict.fromkeys((host.name for host in hosts), float(os.cpu_count() or 1)))
        self.rig.each(hosts, lambda h: h.run(["sh", "-c", f"umask 077; {put} && {RESTART}"], stdin=text))
        try:
            self._until("the app hosts answer", lambda: self.layers.healthy(hosts))
        except RigError as error:
            raise RigError(f"{error.message}{self.layers.last_words(hosts)}", hint=error.hint) from None
        self._overrides |= {host.name: dict(overrides) for host in hosts}

    def _cap(self, cpus: float | None = None) -> None:
        """Caps every app host to so many cores; None: as the inventory says, else all cores of the machine."""
        known = self.rig.state.cpus
        self._limit({h.name: cpus or known.get(h.name, float(os.cpu_count() or 1)) for h in self.apps})

    def _limit(self, caps: Mapping[str, float]) -> None:
        """Caps hosts by name, if the provider can; those that have the cap already are left alone, because
        Podman takes a tenth of a second for each.
        """
        late = {name: cpus for name, cpus in caps.items() if self._caps.get(name) != cpus}
        if late:
            for name in late:
                self._caps.pop(name, None)
            provider_of(self.rig.state).limit_cpus(self.rig.name, late)
            self._caps |= late

    def restore(self) -> None:
        """All app hosts serve again as provisioned: no override, no cap but the inventory's, nothing drained.

        At the start of a bench too: one that crashed, or was killed, has put nothing back. The caps come first,
        because the rest takes its time on a host that is held to a tenth of a core.
        """
        self._cap()
        changed = [host for host in self.apps if self._overrides.get(host.name) != self._as_found.get(host.name, {})]
        if changed:
            self._configure(changed, {})
            self._cap()
        if self._active != len(self.apps):
            self._drain(len(self.apps))

    def _drain(self, active: int) -> None:
        serving = {host.name for host in self.apps[:active]}
        commands = [
            f"set server {row['pxname']}/{row['svname']} state {'ready' if host_of(row) in serving else 'maint'}"
            for row in self.layers.haproxy()
            if row["pxname"] == "app" and row["type"] == "2"
        ]
        self.layers.socket("; ".join(commands))
        self._until("HAProxy serves from the wanted hosts", lambda: self._serving() == serving)
        self._active = active

    def _serving(self) -> set[str]:
        return {
            host_of(row)
            for row in self.layers.haproxy()
            if row["pxname"] == "app" and row["type"] == "2" and row["status"].startswith("UP")
        }

    def reset_database(self, cell: Cell) -> Sequence[str]:
        """Empty tables, vacuumed, and a finished CHECKPOINT: every trial starts from the same state.

        This comes before the warm-up and not between it and the measured window. The first change of a page after a
        checkpoint writes the whole page to the log (full_page_writes), so that a window which began with a checkpoint
        would pay for what a tier in its stride does not; the warm-up pays it. And the next timed checkpoint is a whole
        checkpoint_timeout (5 minutes) away, beyond the window of an ordinary trial.
        Gives what could not be done, in words.
        """
        if cell.backend != "postgres":
            seen = self.layers.sqlite("empty")
            if "integrity" not in seen:
                return [str(text) for text in seen["not_done"]]
            # Damaged: the finding is the trial's before, this one gets a file of its own. Nobody may hold the old one.
            holders = [h for h in self.apps if self._overrides.get(h.name, {}).get("BACKEND") == cell.backend]
            self._configure(holders, {})
            self.configure(cell)
            return [f"the SQLite file was found damaged and made anew before {cell.name}: {seen['integrity'][0]}"]
        with self.layers.answering(), self.layers.heard() as notices:
            self.db.execute("TRUNCATE counters, data, ledger RESTART IDENTITY")
            self.db.execute("VACUUM ANALYZE counters, data, ledger")
            left = [f"the tables were not vacuumed before each trial: {text}" for text in notices]
            try:
                self.db.execute("CHECKPOINT")
            except psycopg.errors.InsufficientPrivilege:  # PostgreSQL 14 has no pg_checkpoint
                left.append("no CHECKPOINT before each trial: the harness's role may not (pg_checkpoint)")
        return left

    def with_unique_keys(self, lanes: Mapping[str, LoadSpec]) -> Mapping[str, LoadSpec]:
        """The lanes as they are: the tables are empty, so no key of theirs was ever written."""
        return lanes

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SETTLE_S
        while not holds():
            if time.monotonic() > deadline:
                raise RigError(f"waited {SETTLE_S:g} s in vain until {what}", hint="see ./run status")
            time.sleep(0.2)
