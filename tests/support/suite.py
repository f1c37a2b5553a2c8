"""A run of the whole suite, planned by the scenarios themselves, with made-up trials and findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.checks import names
from harness.model import BACKENDS, Cell, Finding
from harness.plan.fault_schedule import KINDS
from harness.plan.options import BenchRequest
from harness.plan.scenario import Site
from harness.scenarios import SCENARIOS, SUITE
from harness.scenarios.scaling import WANTED
from harness.scenarios.sqlite_claims import CLAIMS
from harness.store.run_reader import Run
from tests.support.builders import Made, found, store

SITE = Site(hosts=8, backends=BACKENDS, faults=dict.fromkeys(KINDS, ""))


def suite(root: Path, *, quick: bool = True, trials: int = 1) -> Run:
    """Stores and loads a run of every scenario of the suite; SQLite refuses most of each burst."""
    cells = [
        cell for name in SUITE for cell in SCENARIOS[name].cells(BenchRequest(scenarios=(name,), quick=quick), SITE)
    ]
    cells = [replace(cell, rate=500.0) if cell.mode == "open" and cell.rate is None else cell for cell in cells]
    made = [_trial(cell, number) for cell in cells for number in range(1, trials + 1)]
    return store(root, made, [one for cell in cells for one in _findings(cell)])


def _trial(cell: Cell, number: int) -> Made:
    refused = 900 if cell.backend == "sqlite-naive" and cell.clients > 1 else 0
    errors = {"SQLITE_BUSY": refused} if refused else {}
    seconds = 1.0 / cell.hosts
    return Made(
        cell=cell, number=number, ok=1000 - refused, fail=refused, errors=errors, seconds=seconds, steady=True,
        timeline_s=6 if cell.seconds else 0,
    )  # fmt: skip


def _findings(cell: Cell) -> Iterator[Finding]:
    if cell.params.get("control"):
        yield found(cell, names.NEGATIVE_CONTROL, "shown", "unsafe lost 211 updates, as expected", lost=211)
        return
    yield found(cell, names.FINAL_VALUE, detail="no lost update", lost=0, ok=1000)
    yield found(cell, names.COUNTS_AGREE)
    if cell.scenario == "concurrent-writes":
        yield found(cell, names.ACKNOWLEDGED, detail="1,000 of 1,000 acknowledged (100 %)", ok=1000, expected=1000)
    if cell.scenario == "scaling" and cell.params["bound"] == "pool" and cell.hosts in WANTED:
        up, check = 0.95 * cell.hosts, names.SPEED_UP.format(cell.hosts)
        yield found(
            cell, check, detail=f"{up:.2f}x", speedup=up, low=up - 0.1, high=up + 0.1, wanted=WANTED[cell.hosts]
        )
    if cell.scenario == "faults":
        yield found(cell, names.AVAILABILITY, "shown", "at most 2.5 s without a success", gap_s=2.5, faults=1)
    if cell.scenario == "sqlite-vs-postgres" and cell.backend == "postgres" and cell.requests:
        for claim in CLAIMS:
            yield found(
                cell, f"{names.CLAIM}{claim.name}", "shown", claim.change, of=claim.of, held=claim.name != "throughput",
                naive=10.0, tuned=90.0, postgres=100.0, unit=claim.unit, claimed=[claim.sqlite, claim.postgres],
                change=claim.change,
            )  # fmt: skip
    yield found(
        cell, names.SLOWEST, "shown", "the slowest 10 requests", shares={"pool": 0.6, "row lock": 0.4}, from_ms=90
    )
