"""Which anomalies occur at which isolation level: cases as data, run step by step on PostgreSQL and SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.isolation import findings_isolation
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import RemoteWorkload, Scenario, Site, backend_name
from harness.record import TrialRecord
from harness.scenarios.increment_workload import backends


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans one cell per backend, with all cases at all levels; with --quick PostgreSQL alone, unless requested."""
    site.need(database=True)
    usual = ("postgres",) if options.quick else site.backends
    return [
        Cell(scenario="isolation", backend=backend, strategy="", hosts=1) for backend in backends(options, site, usual)
    ]


def workload(trial: Trial) -> RemoteWorkload:
    """Runs the PostgreSQL cases on a load host and the SQLite cases on an app host, where the file is."""
    backend = trial.cell.backend
    if backend == "postgres":
        return RemoteWorkload(role="load", module="harness.isolation", job={"what": "isolation"})
    profile = backend.removeprefix("sqlite-")
    return RemoteWorkload(
        role="app", module="harness.isolation", job={"what": "isolation", "sqlite": {"profile": profile}}
    )


def check(measured: TrialRecord) -> Sequence[Finding]:
    """No anomaly occurs that the database documents as prevented; every transaction runs at the requested level."""
    return findings_isolation(measured.evidence.workload_result or {})


SCENARIO = Scenario(
    name="isolation",
    question="Which anomalies occur at which isolation level, compared with the standard and the manual?",
    criteria=(
        "dirty, non-repeatable and phantom reads at each level, beside what the standard allows",
        "the ten anomalies of Hermitage: none occurs that PostgreSQL documents as prevented",
        "every transaction runs at the requested level; SQLite's file is intact at the end",
    ),
    background="An isolation level defines which effects of concurrent transactions a transaction may observe; an "
    "anomaly is such an effect. An anomaly that occurs at a level that allows it is no fault of the "
    "database: the program must prevent it, with a lock (SELECT … FOR UPDATE), with one statement instead "
    "of a read and a write, or with a higher level and a retry after 40001. A check fails only if an "
    "anomaly occurs that the manual excludes. SQLite has one level, the strictest. It enforces it by "
    "rejecting (SQLITE_BUSY) or delaying transactions, regardless of the rows they use.",
    cells=cells,
    workload=workload,
    check=check,
    label=backend_name,
    timing_matters=False,
)
