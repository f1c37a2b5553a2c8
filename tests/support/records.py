"""Records of trials that pass all checks, for the tests to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from harness.isolation.sqlite_profiles import PROFILES
from harness.model import BACKENDS, Cell, Finding, Trial
from harness.plan.fault_schedule import KINDS
from harness.plan.options import BenchRequest
from harness.plan.scenario import Site
from harness.record import Evidence, SqliteEvidence, TrialRecord, TrialResult
from harness.scenarios import SCENARIOS
from tests.support.histories import Columns, history

SITE = Site(hosts=8, load_hosts=2, backends=BACKENDS, faults=dict.fromkeys(KINDS, ""))
FOREIGN = Site(hosts=2, managed=False, database=False)
"""A service known by its URL alone."""


def cells(name: str, site: Site = SITE, *, quick: bool = False, **texts: str) -> Sequence[Cell]:
    """The scenario's cells for these options, as typed."""
    options = BenchRequest.parse({"quick": quick, **texts}, known_scenarios=SCENARIOS)
    return SCENARIOS[name].cells(options, site)


def cell(name: str, **wanted: Any) -> Cell:
    """The scenario's one cell with these fields or params; not that of an open load unless its share is wanted."""
    wanted = {"rate_share": None} | wanted
    (found,) = [
        each for each in cells(name) if all(getattr(each, k, each.params.get(k)) == v for k, v in wanted.items())
    ]
    return found


def requests(n: int, *, hosts: int = 1, apart_us: int = 10, took_us: int = 5, **columns: list[Any]) -> Columns:
    """`n` acknowledged requests, one after another, answered 1 … n by the hosts in turn."""
    made = history(*((apart_us * i, apart_us * i + took_us, "ok", i + 1) for i in range(n)))
    made.host = [f"app-{i % hosts + 1}" for i in range(n)]
    for name, values in columns.items():
        setattr(made, name, values)
    return made


def doctored(samples: Columns, row: int, **values: Any) -> Columns:
    """The samples with some columns of one row changed."""
    changed = {name: list(getattr(samples, name)) for name in values}
    for name, value in values.items():
        changed[name][row] = value
    return replace(samples, **changed)


def counted(n: int) -> dict[str, int]:
    """All layers saw `n` requests."""
    return {"client": n, "haproxy": n, "app": n}


def sqlite_evidence(backend: str, **pragmas: Any) -> SqliteEvidence:
    """The evidence of an intact SQLite file with its backend's pragmas, except those given."""
    expected = asdict(PROFILES[backend.removeprefix("sqlite-")]) | {"page_size": 4096}
    return SqliteEvidence(integrity_check=("ok",), pragmas=expected | pragmas)


def measured(
    cell: Cell,
    lanes: Columns | Mapping[str, Columns],
    *,
    figures: Mapping[str, float | None] | None = None,
    valid: bool = True,
    steady: bool | None = None,
    number: int = 1,
    **evidence: Any,
) -> TrialRecord:
    """A trial of the cell with these samples; whatever else is named is evidence."""
    trial = Trial(cell=cell, number=number, order=number, seed=7)
    return TrialRecord(
        row=TrialResult(
            trial=trial,
            validity="valid" if valid else "broken",
            reasons=() if valid else ("doctored",),
            steady=steady,
            figures=figures or {},
        ),
        lanes={"main": lanes} if isinstance(lanes, Columns) else lanes,
        evidence=Evidence(**evidence),
    )


def increments(cell: Cell, n: int, **evidence: Any) -> TrialRecord:
    """A flawless trial of `n` increments of one key."""
    return measured(cell, requests(n, hosts=cell.hosts), **{"final": {"hot-0": n}, "counts": counted(n)} | evidence)


def check(of: TrialRecord) -> dict[str, Finding]:
    """What the cell's scenario says of the trial, by check."""
    found = SCENARIOS[of.cell.scenario].check(of)
    assert len({f.check for f in found}) == len(found)
    assert all(f.scenario == of.cell.scenario for f in found)
    return {f.check: f for f in found}


def judge(trials: Sequence[TrialRecord]) -> dict[str, Finding]:
    """What the scenario says of the trials together, by check."""
    return {f.check: f for f in SCENARIOS[trials[0].cell.scenario].judge(trials)}


def verdicts(found: Mapping[str, Finding]) -> dict[str, str]:
    return {name: f.verdict for name, f in found.items()}


def wrong(found: Mapping[str, Finding]) -> dict[str, str]:
    """The findings that fail or are unknown."""
    return {name: f.verdict for name, f in found.items() if f.verdict not in ("pass", "shown")}
