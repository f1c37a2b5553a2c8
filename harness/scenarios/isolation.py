"""Which anomalies occur at which isolation level: cases as data, driven step by step on two backends."""

from __future__ import annotations

from collections.abc import Sequence

from harness.isolation.findings import findings_isolation
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import RemoteWorkload, Scenario, Site
from harness.record import TrialRecord
from harness.scenarios.increment_workload import backends


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """One cell a backend: all cases at all levels."""
    site.need(database=True)
    return [
        Cell(scenario="isolation", backend=backend, strategy="", hosts=1)
        for backend in backends(options, site, site.backends)
    ]


def workload(trial: Trial) -> RemoteWorkload:
    """PostgreSQL from a load host; SQLite on an app host, where the file is."""
    backend = trial.cell.backend
    if backend == "postgres":
        return RemoteWorkload(role="load", module="harness.isolation", job={"what": "isolation"})
    profile = backend.removeprefix("sqlite-")
    return RemoteWorkload(
        role="app", module="harness.isolation", job={"what": "isolation", "sqlite": {"profile": profile}}
    )


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Nothing occurred that the database documents as prevented; every transaction ran at the level asked for."""
    return findings_isolation(measured.evidence.workload_result or {})


SCENARIO = Scenario(
    name="isolation",
    question="Which anomalies occur at which isolation level, against what the standard and the manual say?",
    criteria=(
        "dirty, non-repeatable and phantom reads at each level (the page's table is what the standard allows)",
        "+ the ten anomalies of Hermitage: nothing observed that PostgreSQL documents as prevented",
        "+ every transaction ran at the level it asked for; SQLite's file is whole afterwards",
    ),
    background="An isolation level says what traces of other transactions may show while one runs; an anomaly is "
    "such a trace. At a level that allows it, one that occurred is no fault of the database: the program must "
    "guard against it itself, by a lock (SELECT … FOR UPDATE), by one statement instead of a read and a write, or "
    "by a higher level and a retry after 40001. A check fails only where something occurred that the manual says "
    "cannot. SQLite has one level, the strictest, and pays for it by refusing (SQLITE_BUSY) or waiting, whichever "
    "rows are concerned.",
    cells=cells,
    workload=workload,
    check=check,
    timing_matters=False,
)
