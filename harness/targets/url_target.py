"""An external service, known by its URL, as the target of a bench.

Nothing is configured, drained, emptied or restarted. Every trial uses new keys, so other data in the service's
database does not change. The oracle reads the counters from the database if the user gave a DSN, else from the
service's own API, which is weaker evidence.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from harness.analysis.foreign_load import CONTROLLER, ForeignLoad, foreign_load
from harness.analysis.telemetry_totals import TelemetryReading, TelemetryTotals, aggregate
from harness.checks.names import COUNTS_AGREE, DEAD_ROWS, DEADLOCKS_IN_LOG, SPREAD, TRANSACTIONS
from harness.errors import RigError, UsageError
from harness.fault_record import PlannedFault
from harness.host_scripts import source
from harness.load.job import Endpoint
from harness.load.outcome import OK, classify_answer
from harness.load.request_builder import authority
from harness.load.spec import LoadSpec, Operation
from harness.model import Cell
from harness.plan.scenario import RemoteWorkload, Site
from harness.plan.variants import Variant, varied_keys
from harness.rig.connection import LocalConnection
from harness.rig.state import ROOT
from harness.store.manifest import HostRecord, RigRecord
from harness.store.run_writer import RunWriter
from harness.targets.base import During, Injecting, Target
from harness.targets.counter_source import ApiCounters, CounterSource, DatabaseCounters
from harness.targets.dead_rows import VacuumReading
from harness.targets.local_machine import LocalMachine, boot_id, is_this_machine
from harness.targets.remote_workload import run_module
from harness.targets.service_client import Response, ServiceClient, answering
from harness.targets.snapshot import Snapshot
from harness.targets.url import CONTRACT, Address, permit
from harness.text import printable

POSTS = ("/api/increment", "/api/bulk-insert", "/api/transaction", "/api/txn")
NOT_THERE = (404, 405, 501)
PROOFS = 3
"""Increments of a new key before the load."""
INCREMENT = Operation(name="increment", path="/api/increment", body={"key": "{key}"}, value="value")
BY_URL = "the service is known by its URL only"
AS_IT_IS = f"no table was emptied or vacuumed, and no CHECKPOINT made, before each trial: {BY_URL}"
ONLY_THE_LOAD_HOST = f"CPU use by other programs is known for the load host only: {BY_URL}"
WEAKER = (
    "the oracle is weaker: without --dsn it reads the counters from the service (GET /api/counter), "
    "and cannot detect an update that the service both loses and reports as stored"
)


class UrlTarget(Target):
    """Use as a context manager: holds the connection to the database, if there is one.

    `hosts`: the number of app hosts behind the URL (--hosts), if given. `known`: addresses of the rig's hosts;
    `owned`: the user declared the service as theirs. `tag`: part of every key.
    """

    def __init__(
        self,
        address: Address,
        dsn: str = "",
        *,
        hosts: int | None = None,
        known: Collection[str] = (),
        owned: bool = False,
        tag: str = "",
    ) -> None:
        self.address = address
        self._dsn, self._hosts, self._known, self._owned = dsn, hosts, known, owned
        self._tag = tag or secrets.token_hex(4)
        self._trial = 0
        self._keys: list[str] = []
        self._container = ""
        self._database: DatabaseCounters | None = None
        self._local = LocalConnection()
        self._machine = LocalMachine()
        self._use: Mapping[str, TelemetryTotals] = {}
        for ip in (address.ip, *address.others):
            permit("the service", ip, known, owned=owned)

    def __enter__(self) -> Self:
        self.address = answering(self.address)
        if self._dsn:
            name = "the database of --dsn"
            self._database = DatabaseCounters(self._dsn, lambda ip: permit(name, ip, self._known, owned=self._owned))
        return self

    def __exit__(self, *_: object) -> None:
        """Holds nothing open."""

    # -- once per bench, before the plan ---------------------------------------------------------------

    @property
    def _counters(self) -> CounterSource:
        return self._database or ApiCounters(self.address)

    def site(self) -> Site:
        """See Target.site. Sends requests that write nothing."""
        health = self._get("/health")
        if health.status != 200:
            raise RigError(f"{self.address}: GET /health answers {health}", hint=CONTRACT)
        self._container = printable(health.fields.get("container", ""), 64)
        absent = [path for path in POSTS if self._post(path, {}).status in NOT_THERE]
        if any(self._get(f"/app-{n}/health").status != 200 for n in range(1, (self._hosts or 0) + 1)):
            absent.append("/app-N/…")
        return Site(
            hosts=self._hosts or 1,
            database=self._database is not None,
            managed=False,
            absent=tuple(absent),
            connections=self._database.connections() if self._database else 100,
        )

    def preflight(self, variants: Sequence[Variant] = ()) -> Sequence[str]:  # noqa: ARG002
        """Increments a new key, and after each increment reads it as the oracle does. Raises UsageError.

        The load agent's code judges the responses. An oracle that reads another database, or one that follows the
        service's with a delay, would report updates as lost.
        """
        key = f"proof-{self._tag}"
        for expected in range(1, PROOFS + 1):
            response = self._post("/api/increment", {"key": key})
            answer = classify_answer(INCREMENT, response.status, response.body, response.is_json)
            if answer.outcome != OK or answer.value != expected:
                number = "a new key" if expected == 1 else f"a key that was incremented {expected - 1} times"
                raise UsageError(
                    f"{self.address}: POST /api/increment of {number} answers {response}, "
                    f"not 200 with the value {expected}",
                    hint=CONTRACT,
                )
            value = self._counters.counters([key]).get(key)
            if value != expected:
                source_name = "the database of --dsn" if self._database else f"GET /api/counter/{key}"
                raise UsageError(
                    f"the service acknowledged increment {expected} of '{key}', but its value in {source_name} is "
                    f"{value}",
                    hint="is --dsn the database that the service uses?" if self._database else CONTRACT,
                )
        return ()

    def _get(self, path: str) -> Response:
        with ServiceClient(self.address) as client:
            return client.get(path)

    def _post(self, path: str, body: Any) -> Response:
        with ServiceClient(self.address) as client:
            return client.post(path, body)

    def resolve(self, variants: Sequence[Variant]) -> tuple[Variant, ...]:
        """Returns the variants unchanged. Raises UsageError for a setting that a request does not carry."""
        if refused := [key for key in varied_keys(variants) if key != "strategy"]:
            raise UsageError(
                f"{refused[0]} cannot be varied: {BY_URL}, and nothing of it is configured",
                hint="vary strategy, or measure a rig",
            )
        return tuple(variants)

    def record(self) -> RigRecord:
        """Returns this machine, which is the load host."""
        facts = json.loads(self._local.run([sys.executable, "-"], stdin=source("facts")).stdout)
        host = HostRecord(name=self._local.name, role="load", **facts)
        name = authority(self.address.host, self.address.port)
        return RigRecord(name=name, provider="url", hosts=[host], tls=self.address.tls)

    def settings(self) -> dict[str, object]:
        """Returns the address, the oracle's source, and the server's settings that are not defaults."""
        service = {
            "url": self.address.url,
            "address": self.address.ip,
            "container": self._container,
            "oracle": "the database" if self._database else "the service's own answers",
        }
        return {"service": service, **({"postgres": self._database.settings()} if self._database else {})}

    def canaries(self) -> dict[str, dict[str, float]]:
        """Runs the canaries on this machine."""
        return {self._local.name: json.loads(self._local.run([sys.executable, "-"], stdin=source("canary")).stdout)}

    # -- where load comes from and goes to -------------------------------------------------------------

    def load_hosts(self) -> Sequence[LocalConnection]:
        """Returns this machine."""
        return [self._local]

    def processes(self) -> int:
        """Returns 1."""
        return 1

    def null_path(self) -> str | None:
        """Returns None: the contract (docs/openapi.yaml) has no such path."""
        return None

    def endpoint(self) -> Endpoint:
        """Returns the IP address that answered, with the host name that the user gave."""
        place = self.address
        return Endpoint(host=place.host, port=place.port, tls=place.tls, ca=place.ca, address=place.ip)

    def command(self, module: str) -> list[str]:
        """Returns a command with this process's interpreter."""
        return ["env", f"PYTHONPATH={ROOT}", "PYTHONDONTWRITEBYTECODE=1", sys.executable, "-m", module]

    # -- once per trial --------------------------------------------------------------------------------

    def configure(self, cell: Cell) -> None:
        """Changes nothing."""

    def reset_database(self, cell: Cell) -> Sequence[str]:  # noqa: ARG002  # the protocol's
        """Empties nothing: the next trial gets new keys."""
        self._trial += 1
        self._keys = []
        return (AS_IT_IS,)

    def with_unique_keys(self, lanes: Mapping[str, LoadSpec]) -> Mapping[str, LoadSpec]:
        """Returns the lanes with keys that no other run, trial or user has."""
        prepared, names = {}, dict[str, None]()
        for lane, spec in lanes.items():
            keys = replace(spec.keys, prefix=f"{spec.keys.prefix}-{self._tag}-{self._trial}")
            prepared[lane] = replace(spec, keys=keys)
            if spec.uses_keys:
                names |= dict.fromkeys(keys.name(index) for index in range(keys.count))
        self._keys = list(names)
        return prepared

    def snapshot(self, cell: Cell, reads: Collection[str], since: Snapshot | None = None) -> Snapshot:  # noqa: ARG002
        """Reads the counters of the trial's keys, and the ledger and bulk rows where there is a database."""
        database, after = self._database, since is not None
        return Snapshot(
            counters=self._counters.counters(self._keys) if "counters" in reads else {},
            newest_row=database.newest() if database and "data" in reads and not after else 0,
            ledger=database.ledger(self._keys) if database and "ledger" in reads and after else None,
            bulk_rows=database.bulk_rows(since.newest_row) if database and "data" in reads and since else None,
            notes=() if database else (WEAKER,),
            not_applicable=self._not_applicable(reads),
        )

    def vacuuming(self, reads: Collection[str]) -> contextlib.AbstractContextManager[Sequence[VacuumReading | None]]:  # noqa: ARG002
        """Runs nothing: the service's tables are not ours to vacuum."""
        return contextlib.nullcontext(())

    def _not_applicable(self, reads: Collection[str]) -> dict[str, str]:
        reasons = {
            COUNTS_AGREE: f"the counters of proxies and app hosts were not read: {BY_URL}",
            TRANSACTIONS: f"the service's counter of transactions was not read: {BY_URL}",
        }
        if self._hosts is None:
            reasons[SPREAD] = f"{BY_URL}; add --hosts N, the number of app hosts behind it"
        elif not self._container:
            reasons[SPREAD] = "the service does not report its `container`"
        if "deadlocks" in reads:
            reasons[DEADLOCKS_IN_LOG] = f"the server's log was not read: {BY_URL}"
        if "dead-rows" in reads:
            reasons[DEAD_ROWS] = f"VACUUM was not run: {BY_URL}"
        return reasons

    def injecting(self, faults: Sequence[PlannedFault], began_s: float) -> Injecting:  # noqa: ARG002
        """Injects none: `site` offers no fault, because the machines of the service are not known."""
        return contextlib.nullcontext(())

    def run_workload(self, driver: RemoteWorkload) -> Mapping[str, object]:
        """Runs a module on this machine, in a new schema of the database. Raises UsageError, RigError."""
        assert self._database is not None  # scenarios with a remote workload need a database (Site.need)
        with self._database.scratch() as place:
            result: Mapping[str, object] = run_module(self._local, self.command(driver.module), {**driver.job, **place})
        return result

    # -- around all trials -----------------------------------------------------------------------------

    def telemetry(self, recorder: RunWriter) -> contextlib.AbstractContextManager[During]:  # noqa: ARG002
        """Records nothing: the hosts of the service are not accessible."""
        return contextlib.nullcontext(self._observed)

    @contextlib.contextmanager
    def _observed(self, order: int) -> Iterator[None]:
        self._machine.begin()
        try:
            yield
        finally:
            reading = TelemetryReading(second=0.0, order=order, host=CONTROLLER, metrics=self._machine.end())
            self._use = aggregate([reading], {CONTROLLER}, {order})[order]

    def foreign_load(self) -> ForeignLoad:
        """Judges this machine, unless the service runs on it too: its processes are not known."""
        if is_this_machine(self.address.ip):
            return ForeignLoad(unread=(f"CPU use by other programs is not known: {self.address} is on this machine",))
        found = foreign_load(self._use, {CONTROLLER: boot_id()})
        return replace(found, unread=(*found.unread, ONLY_THE_LOAD_HOST))

    def restore(self) -> None:
        """Changes nothing: there is nothing to undo."""
