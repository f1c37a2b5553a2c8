"""What a bench runs against: the protocol that rig_target and url_target implement."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from harness.analysis.foreign_load import ForeignLoad
from harness.fault_record import FaultRecord, LogLine, PlannedFault
from harness.load.job import Endpoint
from harness.load.spec import LoadSpec
from harness.model import Cell
from harness.plan.scenario import RemoteWorkload, Site
from harness.plan.variants import Variant
from harness.rig.connection import HostConnection
from harness.store.manifest import RigRecord
from harness.store.run_writer import RunWriter
from harness.targets.dead_rows import VacuumReading
from harness.targets.snapshot import Snapshot

During = Callable[[int], contextlib.AbstractContextManager[None]]
"""Takes a trial's order; telemetry that is read while the context lasts belongs to that trial."""

Injecting = contextlib.AbstractContextManager[Sequence[FaultRecord]]
"""Injects faults while it lasts; the records are complete when it has ended."""


class Target(Protocol):
    """The system under test: a provisioned rig, or a service known by its URL."""

    # -- once per bench, before the plan ---------------------------------------------------------------

    def site(self) -> Site:
        """Returns what the target offers to a plan. Raises RigError where it is not healthy."""
        ...

    def resolve(self, variants: Sequence[Variant]) -> tuple[Variant, ...]:
        """Returns the variants with the values that the plan and the run store; changes nothing.

        Raises UsageError for a setting that the target does not have or cannot change, for a value that it does not
        allow, and for two variants that are the same.
        """
        ...

    def preflight(self, variants: Sequence[Variant] = ()) -> Sequence[str]:
        """Checks that the oracle reads the data that the service writes, and tries code and settings of the variants.

        The target is as provisioned before and after it. Returns notes for the run. Raises UsageError; RigError for a
        revision whose service cannot be deployed or does not start.
        """
        ...

    def record(self) -> RigRecord:
        """Returns the hosts and their facts, for the manifest."""
        ...

    def settings(self) -> dict[str, object]:
        """Returns the settings of the target's parts without secrets, for the manifest."""
        ...

    def canaries(self) -> dict[str, dict[str, float]]:
        """Runs the canaries (host_scripts/canary.py); host name -> results."""
        ...

    # -- where load comes from and goes to -------------------------------------------------------------

    def load_hosts(self) -> Sequence[HostConnection]:
        """Returns the load hosts."""
        ...

    def processes(self) -> int:
        """Returns how many processes send load on each load host."""
        ...

    def command(self, module: str) -> list[str]:
        """Returns the command that runs a module of the harness on a load host."""
        ...

    def endpoint(self) -> Endpoint:
        """Returns the address that load is sent to."""
        ...

    def null_path(self) -> str | None:
        """Returns a path that the load balancer answers itself; None where there is none."""
        ...

    # -- once per trial --------------------------------------------------------------------------------

    def configure(self, cell: Cell) -> None:
        """Makes the app hosts run as the cell asks. Raises RigError."""
        ...

    def reset_database(self, cell: Cell) -> Sequence[str]:
        """Empties the tables; returns a message for each step that was not possible."""
        ...

    def with_unique_keys(self, lanes: Mapping[str, LoadSpec]) -> Mapping[str, LoadSpec]:
        """Returns the lanes with keys that no earlier trial wrote."""
        ...

    def snapshot(self, cell: Cell, reads: Collection[str], since: Snapshot | None = None) -> Snapshot:
        """Reads the counters of every layer before a trial's load, and with `since`, the first snapshot, after it.

        `reads`: `counters` (those of HTTP load in every layer, and SQLite's integrity check), `ledger`, `data` (rows
        of bulk inserts), `deadlocks` (in the server's statistics and log), `durability` (PostgreSQL's settings) and
        `dead-rows` (what a VACUUM after the load removes). Raises RigError.
        """
        ...

    def injecting(self, faults: Sequence[PlannedFault], began_s: float) -> Injecting:
        """Injects and heals the faults while the context lasts; yields their records, complete when it has ended.

        The times of the faults count from the entry. `began_s`: start of the run (seconds since 1970), from which the
        records' instants count. When the context ends everything that can be healed is healed; a fault that is not is
        a `problem` of its record, so that the load's results are kept, and the next `configure` raises RigError.
        """
        ...

    def logs(self, began_s: float, since_s: float) -> Sequence[LogLine]:  # noqa: ARG002
        """Returns what HAProxy, the service and the database logged since an instant, the oldest line first.

        Both in seconds since 1970; the lines' instants count from `began_s`. Raises RigError. Empty where no logs can
        be read.
        """
        return ()

    def vacuuming(self, reads: Collection[str]) -> contextlib.AbstractContextManager[Sequence[VacuumReading | None]]:
        """Where `reads` has `dead-rows`, runs VACUUM while the context lasts; yields the growing list of results."""
        ...

    def run_workload(self, driver: RemoteWorkload) -> Mapping[str, object]:
        """Runs a workload that is not HTTP; returns its result. Raises RigError."""
        ...

    # -- around all trials -----------------------------------------------------------------------------

    def telemetry(self, recorder: RunWriter) -> contextlib.AbstractContextManager[During]:
        """Records telemetry of every host and the database while the context lasts."""
        ...

    def foreign_load(self) -> ForeignLoad:
        """Returns how much CPU other programs used on the machines while the load of the last trial ran."""
        ...

    def restore(self) -> None:
        """Puts the target back as it was provisioned."""
        ...
