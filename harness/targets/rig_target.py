"""A provisioned rig as the target of a bench."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType

import psycopg.conninfo

from harness.analysis.foreign_load import ForeignLoad
from harness.fault_record import LogLine, PlannedFault
from harness.faults import FAULTS, proxy_replay, unavailable
from harness.faults.heal import require_healed
from harness.faults.injector import injecting
from harness.faults.proxy_replay import ProxyReplay
from harness.load.job import Endpoint
from harness.load.spec import LoadSpec
from harness.model import Cell
from harness.plan.scenario import RemoteWorkload, Site
from harness.plan.variants import (
    CODE,
    POSTGRES,
    Variant,
    postgres_settings,
    require_comparable,
    varied_keys,
    varied_of,
)
from harness.provision import revision
from harness.provision.providers import provider_of
from harness.rig.rig import Rig
from harness.rig.ssh import SshConnection
from harness.store.manifest import RigRecord
from harness.store.run_writer import RunWriter
from harness.targets.app_configurator import AppConfigurator
from harness.targets.app_workers import AppWorkers
from harness.targets.base import During, Injecting, Target
from harness.targets.dead_rows import VacuumReading, vacuuming
from harness.targets.fault_logs import fault_logs
from harness.targets.haproxy import HAProxy
from harness.targets.layer_counts import VACUUMED_TABLE, LayerCounters, sqlite_path
from harness.targets.remote_workload import run_module
from harness.targets.rig_database import RigDatabase
from harness.targets.rig_facts import RigFacts
from harness.targets.server_settings import ServerSettings
from harness.targets.session_waits import WaitSampler
from harness.targets.snapshot import Snapshot
from harness.targets.sqlite_files import remove, run_script
from harness.targets.telemetry import Telemetry
from harness.targets.variant_settings import effective, in_force, require_effect, require_names, require_values


class RigTarget(Target):
    """Use as a context manager: holds a database connection, which is opened again where it was lost."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> RigTarget:
        limit_cpus = functools.partial(provider_of(self._rig.state).limit_cpus, self._rig.name)
        with self._stack as stack:  # closes the connection if a host does not answer
            host = self._rig.role("db")[0]
            database = RigDatabase(self._rig.database, host.name, self._rig.at(host).is_alive)
            self._database = stack.enter_context(database)
            self._workers, haproxy = AppWorkers(self._rig), HAProxy(self._rig)
            self._facts = RigFacts(self._rig, self._database, self._workers)
            self._proxy = ProxyReplay(self._rig)
            self._server = ServerSettings(self._rig, self._database)
            self._layers = LayerCounters(self._rig, self._database, self._workers, haproxy)
            self._apps = AppConfigurator(self._rig, self._workers, haproxy, limit_cpus)
            self._apps.read_provisioned()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    # -- once per bench, before the plan ---------------------------------------------------------------

    def site(self) -> Site:
        """See RigFacts.site."""
        return replace(self._facts.site(), faults=unavailable(self._rig))

    def resolve(self, variants: Sequence[Variant]) -> tuple[Variant, ...]:
        """Returns the variants with names of commits for those of revisions.

        Raises UsageError for a setting that service and server do not have, and for a revision that does not exist.
        """
        if variants:
            metrics = self._workers.metrics()
            require_names(variants, metrics[min(metrics)].get("settings", {}))
            self._server.require_names(variants)
        if CODE not in varied_keys(variants):
            return tuple(variants)
        resolved = tuple(
            replace(variant, settings={k: revision.resolve(v) if k == CODE else v for k, v in variant.settings.items()})
            for variant in variants
        )
        require_comparable(CODE, resolved)
        return resolved

    def preflight(self, variants: Sequence[Variant] = ()) -> Sequence[str]:
        """Deploys the code and tries the settings of every variant; returns notes for the run.

        Provisioning connected service and harness to the same database. Raises RigError where the service's role has
        changed its settings since.
        """
        self._facts.require_role_settings()
        if not variants:
            return ()
        host, python = self._workers.hosts[0], self.command("")[:-2]
        require_values(self._rig, host, variants, python)
        metrics = self._workers.metrics()
        provisioned = metrics[min(metrics)].get("settings", {})
        names = [key.removeprefix(POSTGRES) for key in varied_keys(variants) if key.startswith(POSTGRES)]
        effects = {}
        try:
            for variant in variants:
                self._server.configure(postgres_settings(variant))
                in_force = {f"{POSTGRES}{name}": value for name, value in self._server.values(names).items()}
                effects[variant.name] = effective(variant.settings, provisioned) | in_force
        finally:
            self._server.restore()
        require_effect(variants, effects)
        revisions = list(dict.fromkeys(variant.settings[CODE] for variant in variants if CODE in variant.settings))
        if not revisions:
            return ()
        try:
            return self._apps.deploy(revisions)
        finally:
            self._apps.restore()

    def record(self) -> RigRecord:
        """See RigFacts.record."""
        return self._facts.record()

    def settings(self) -> dict[str, object]:
        """See RigFacts.settings."""
        return self._facts.settings()

    def canaries(self) -> dict[str, dict[str, float]]:
        """See RigFacts.canaries."""
        return self._facts.canaries()

    # -- where load comes from and goes to -------------------------------------------------------------

    def load_hosts(self) -> list[SshConnection]:
        """Returns the hosts of the role `load`."""
        return [self._rig.at(host) for host in self._rig.role("load")]

    def processes(self) -> int:
        """Returns the role's variable `load_processes`."""
        return int(self._rig.variables["load_processes"])

    def command(self, module: str) -> list[str]:
        """Returns a command of the hosts' virtual environment."""
        folder = self._rig.variables["common_directory"]
        python = f"{folder}/venv/bin/python"
        return ["env", f"PYTHONPATH={folder}/code", "PYTHONDONTWRITEBYTECODE=1", python, "-m", module]

    def endpoint(self) -> Endpoint:
        """Returns the load balancer's address on the rig's network."""
        host, port = self._rig.role("lb")[0].address, int(self._rig.variables["haproxy_port"])
        authority = self._rig.authority_on_hosts
        return Endpoint(host=host, port=port, tls=bool(authority), ca=authority)

    def null_path(self) -> str | None:
        """Returns the path that HAProxy answers itself."""
        return "/null"

    # -- once per trial --------------------------------------------------------------------------------

    def configure(self, cell: Cell) -> None:
        """See ProxyReplay, ServerSettings and AppConfigurator; a restarted server is healthy before it ends.

        Raises RigError where a fault of an earlier trial is not healed: what is measured would not be what it seems.
        """
        require_healed(self._rig, FAULTS)
        self._proxy.configure(replays=cell.params.get("control") == proxy_replay.CONTROL)
        if cell.postgres_settings or any(key.startswith(POSTGRES) for key in varied_of(cell)):
            self._server.configure(cell.postgres_settings)
            self._apps.wait_until_healthy()
        self._apps.configure(cell)

    def reset_database(self, cell: Cell) -> Sequence[str]:
        """See RigDatabase.reset; a SQLite file is emptied, and replaced where it is damaged."""
        if cell.backend == "postgres":
            return self._database.reset()
        result = run_script(self._rig, sqlite_path(self._workers.metrics()), "empty")
        if "integrity" not in result:
            return [str(message) for message in result["not_done"]]
        # The damage is the earlier trial's finding. No host may have the file open while it is removed.
        self._apps.close_sqlite(cell.backend)
        self._apps.configure(cell)
        return [f"the SQLite file was damaged and was replaced before {cell.name}: {result['integrity'][0]}"]

    def with_unique_keys(self, lanes: Mapping[str, LoadSpec]) -> Mapping[str, LoadSpec]:
        """Returns the lanes unchanged: the tables are empty before each trial."""
        return lanes

    def snapshot(self, cell: Cell, reads: Collection[str], since: Snapshot | None = None) -> Snapshot:
        """See Target.snapshot."""
        snapshot = self._layers.snapshot(cell, reads, since)
        return replace(snapshot, settings=in_force(cell, self._workers, self._server)) if cell.variant else snapshot

    def vacuuming(self, reads: Collection[str]) -> contextlib.AbstractContextManager[Sequence[VacuumReading | None]]:
        """See Target.vacuuming."""
        wanted = "dead-rows" in reads
        return vacuuming(self._database.connection, VACUUMED_TABLE) if wanted else contextlib.nullcontext(())

    def injecting(self, faults: Sequence[PlannedFault], began_s: float) -> Injecting:
        """See faults/injector.py."""
        return injecting(self._rig, faults, began_s, FAULTS)

    def logs(self, began_s: float, since_s: float) -> Sequence[LogLine]:
        """See fault_logs.py."""
        return fault_logs(self._rig, began_s, since_s)

    def run_workload(self, driver: RemoteWorkload) -> Mapping[str, object]:
        """Runs a module on the first host of its role, and adds to its job where its database or SQLite file is."""
        host, job = self._rig.at(self._rig.role(driver.role)[0]), dict(driver.job)
        self._apps.cap()  # `configure` is not called for it, so the cap of the trial before may still be set
        if "sqlite" in job:
            path = f"{self._rig.variables['app_sqlite_directory']}/isolation.sqlite"
            job["sqlite"] = {**job["sqlite"], "path": path}
            remove(host, path)  # a workload that was killed leaves its file, and the next one must not find it
        else:
            self._apps.release_connections()
            job |= {"dsn": self._dsn(), "schema": "isolation"}
        result: Mapping[str, object] = run_module(host, self.command(driver.module), job, hint="see ./run status")
        return result

    def _dsn(self) -> str:
        """Returns the connection string of the harness's role for the rig's own hosts."""
        options = self._rig.connection_options(self._rig.authority_on_hosts)
        return psycopg.conninfo.make_conninfo(host=self._rig.role("db")[0].address, **options)

    # -- around all trials -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def telemetry(self, recorder: RunWriter) -> Iterator[During]:
        """Samples every host and the database each second while the context lasts, and what sessions wait for."""
        host, variables = self._rig.role("db")[0], self._rig.variables
        hosts = functools.partial(provider_of(self._rig.state).processes, self._rig.name)
        psql = ["runuser", "-u", "postgres", "--", "psql", "-p", str(variables["postgres_port"])]
        psql += ["-d", str(variables["postgres_database"])]
        with (
            Telemetry(self._rig, recorder, hosts) as telemetry,
            WaitSampler(
                self._rig.at(host), psql, began_s=recorder.began_s, store=recorder.waits, warn=recorder.warn
            ) as waits,
        ):

            @contextlib.contextmanager
            def during(order: int) -> Iterator[None]:
                with waits.during(order), telemetry.during(order):
                    yield

            self._telemetry = telemetry
            yield during

    def foreign_load(self) -> ForeignLoad:
        """See Telemetry.foreign_load."""
        return self._telemetry.foreign_load()

    def restore(self) -> None:
        """See Target.restore. Each step runs even if another fails; HAProxy is reloaded before servers are set."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._apps.restore)
            stack.callback(self._proxy.restore)
            self._server.restore()
