"""Scaling: its cells, how often each is measured, and the checks of a trial."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.model import Cell
from harness.plan.scenario import Site, Skip
from harness.record import TrialRecord
from harness.scenarios import SCENARIOS
from tests.support.histories import Columns, history
from tests.support.records import (
    SITE,
    cell,
    cells,
    check,
    counted,
    increments,
    measured,
    requests,
    wrong,
)

POOL, CPU = cell("scaling", bound="pool", hosts=2), cell("scaling", bound="cpu", hosts=2)


def pool_bound(
    samples: Columns | None = None, *, rps: float | None = 95.0, rows: int = 40, **evidence: Any
) -> TrialRecord:
    samples = requests(40, hosts=2, op=["hold"] * 40, value=[None] * 40) if samples is None else samples
    known = {"final": {f"scale-{n}": 1 for n in range(rows)}, "counts": counted(40)}
    return measured(POOL, samples, figures={"rps": rps}, **known | evidence)


def closed(name: str, **options: Any) -> list[Cell]:
    return [c for c in cells(name, **options) if c.rate_share is None]


def test_cells() -> None:
    assert [
        (c.params["bound"], c.hosts, c.seconds) for c in cells("scaling") if c.rate_share is not None
    ] == [("pool", 1, 1.0), ("pool", 8, 1.0), ("cpu", 1, 1.0), ("cpu", 8, 1.0)]  # fmt: skip
    made = closed("scaling")
    for bound in ("pool", "cpu"):
        assert [c.hosts for c in made if c.params["bound"] == bound] == [1, 2, 3, 4, 6, 8]
    assert all(c.clients == 4 * c.hosts for c in made)
    assert [c for c in cells("scaling", quick=True) if c.rate_share is not None] == []
    quick = closed("scaling", quick=True)
    assert [c.hosts for c in quick if c.params["bound"] == "pool"] == [1, 2, 4, 8]
    assert [c.hosts for c in quick if c.params["bound"] == "cpu"] == []
    asked = closed("scaling", quick=True, strategy="upsert")
    assert [c.hosts for c in asked if c.params["bound"] == "cpu"] == [1, 8]
    assert {c.hosts for c in cells("scaling", hosts="4")} == {1, 2, 3, 4}
    assert {c.hosts for c in cells("scaling", Site(hosts=3))} == {1, 2, 3}
    assert {c.seconds for c in cells("scaling", seconds="9")} == {9.0}
    asked = [c for c in cells("scaling", strategy="coalesce,unsafe", hosts="2") if c.params["bound"] == "cpu"]
    assert {(c.strategy, c.hosts) for c in asked} == {(s, n) for s in ("coalesce", "unsafe") for n in (1, 2)}


def test_skipped_without_two_managed_hosts() -> None:
    with pytest.raises(Skip, match="needs 2 app hosts"):
        cells("scaling", hosts="1")
    with pytest.raises(Skip, match="cannot drain the hosts"):
        cells("scaling", replace(SITE, managed=False))


def test_a_pool_bound_trial_passes() -> None:
    assert wrong(check(pool_bound())) == {}


@pytest.mark.parametrize(("rps", "verdict"), [(95.0, "pass"), (102.0, "pass"), (102.1, "fail"), (None, "unknown")])
def test_a_rate_beyond_the_pools_fails(rps: float | None, verdict: str) -> None:
    """Two hosts with one connection each, held for 20 ms, allow 100 requests/s."""
    assert check(pool_bound(rps=rps))["throughput within the pool's limit"].verdict == verdict


@pytest.mark.parametrize(("rows", "verdict"), [(39, "fail"), (40, "pass"), (41, "fail")])
def test_written_rows_equal_acknowledged_requests(rows: int, verdict: str) -> None:
    finding = check(pool_bound(rows=rows))["final value"]
    assert (finding.verdict, finding.numbers["lost"]) == (verdict, max(0, 40 - rows))


def test_no_acknowledged_request_is_unknown() -> None:
    assert check(pool_bound(history(), rows=0))["final value"].verdict == "unknown"


def test_an_uneven_spread_and_different_counts_fail() -> None:
    uneven = requests(40, host=["app-1"] * 30 + ["app-2"] * 10, value=[None] * 40)
    assert wrong(check(pool_bound(uneven))) == {"spread": "fail"}
    assert wrong(check(pool_bound(counts=counted(40) | {"haproxy": 39}))) == {"counts agree": "fail"}


def test_the_cpu_bound_is_checked_by_its_counters() -> None:
    assert wrong(check(increments(CPU, 40))) == {}
    assert wrong(check(increments(CPU, 40, final={"hot-0": 39})))["final value"] == "fail"
    assert wrong(check(measured(CPU, requests(40), final={"hot-0": 40}, counts=counted(40)))) == {"spread": "fail"}


def test_sizes_that_are_judged_have_the_trials_of_an_interval() -> None:
    repeat = SCENARIOS["scaling"].repeat
    assert {c.hosts: repeat(c) for c in closed("scaling") if c.params["bound"] == "cpu"} == {
        1: 6, 2: 6, 3: 2, 4: 6, 6: 2, 8: 6,
    }  # fmt: skip
    assert {c.hosts: repeat(c) for c in closed("scaling") if c.params["bound"] == "pool"} == {
        1: 6, 2: 6, 3: 2, 4: 6, 6: 2, 8: 6,
    }  # fmt: skip
