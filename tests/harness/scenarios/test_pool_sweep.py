"""Pools of five sizes: a pool of another size than configured, and ratios that are not met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from harness.errors import UsageError
from harness.plan.options import BenchRequest
from harness.plan.planner import make_plan
from harness.plan.scenario import Site, Skip
from harness.record import TrialRecord
from harness.scenarios import SCENARIOS
from tests.support.histories import Columns, history
from tests.support.records import SITE, cell, cells, check, counted, judge, measured, verdicts, wrong

CALLED = "effective pool size"
RATIOS = ("t(5) < 0.3 t(1)", "t(10) < 0.6 t(5)")


def swept(pool: int, *, query_ms: float = 10.5) -> Columns:
    """Returns 200 queries at once on a pool of that size."""
    ends = [query_ms * (n // pool + 1) for n in range(200)]
    return history(
        *((0, round(1000 * end), "ok", None) for end in ends),
        captured={"duration": ends, "pool_wait_ms": [end - query_ms for end in ends]},
    )


def record(samples: Columns, pool: int) -> TrialRecord:
    return measured(cell("pool-sweep", pool=pool), samples, counts=counted(len(samples)))


def times(seconds: Mapping[int, float], *, valid: bool = True, number: int = 1) -> list[TrialRecord]:
    """The trials of one block: pool -> seconds."""
    return [
        measured(cell("pool-sweep", pool=pool), history(), figures={"seconds": t}, valid=valid, number=number)
        for pool, t in seconds.items()
    ]


def test_cells() -> None:
    assert [(c.pool, c.hosts, c.clients, c.requests) for c in cells("pool-sweep")] == [
        (pool, 1, 200, 200) for pool in (1, 5, 10, 20, 50)
    ]
    assert [c.pool for c in cells("pool-sweep", quick=True)] == [1, 5, 10, 50]
    assert {c.requests for c in cells("pool-sweep", requests="60")} == {60}
    with pytest.raises(Skip, match="external service"):
        cells("pool-sweep", replace(SITE, managed=False))
    with pytest.raises(Skip, match="each of the 2 processes per host has its own pool"):
        cells("pool-sweep", replace(SITE, workers=2))


def test_the_plan_rejects_a_pool_beyond_the_servers_connections() -> None:
    with pytest.raises(UsageError, match="1 hosts x pool 50 = 50 connections, the budget is 30"):
        make_plan(BenchRequest(scenarios=("pool-sweep",)), Site(hosts=1, connections=40), SCENARIOS)


@pytest.mark.parametrize("pool", [1, 5, 10, 20, 50])
def test_a_pool_of_the_configured_size_passes(pool: int) -> None:
    assert wrong(check(record(swept(pool), pool))) == {}


@pytest.mark.parametrize(("size", "name"), [(1, 50), (1, 5), (10, 50), (5, 1), (50, 1), (50, 20)])
def test_a_pool_of_another_size_fails(size: int, name: int) -> None:
    assert wrong(check(record(swept(size), name))) == {CALLED: "fail"}


@pytest.mark.parametrize(("waits_ms", "verdict"), [(0.0, {}), (50.0, {CALLED: "fail"})])
def test_a_pool_that_another_bottleneck_keeps_idle_passes(waits_ms: float, verdict: dict[str, str]) -> None:
    """A service that reaches 1,000 requests/s keeps 12 of 50 connections busy. The pool is too small only if queries
    wait for it."""
    ends = [11.8 + n for n in range(200)]
    samples = history(
        *((0, round(1000 * end), "ok", None) for end in ends),
        captured={"duration": [11.8 + waits_ms] * 200, "pool_wait_ms": [waits_ms] * 200},
    )
    findings = check(record(samples, 50))
    assert wrong(findings) == verdict
    assert ("past the knee" in findings[CALLED].detail) == (not verdict)


def test_a_query_that_did_not_sleep_fails() -> None:
    assert wrong(check(record(swept(5, query_ms=4.0), 5))) == {CALLED: "fail"}


def test_responses_without_their_wait_are_unknown() -> None:
    silent = replace(swept(5), captured={"duration": [float("nan")] * 200, "pool_wait_ms": [1.0] * 200})
    assert wrong(check(record(silent, 5))) == {CALLED: "unknown"}


def test_a_rejected_query_and_different_counts_fail() -> None:
    good = swept(5)
    refused = replace(good, outcome=["fail", *good.outcome[1:]])
    assert wrong(check(record(refused, 5))) == {"acknowledged": "fail"}
    assert wrong(check(measured(cell("pool-sweep", pool=5), good, counts=counted(200) | {"app": 199}))) == {
        "counts agree": "fail"
    }


def test_the_ratios() -> None:
    findings = judge(times({1: 2.2, 5: 0.5, 10: 0.25, 20: 0.2, 50: 0.2}))
    assert wrong(findings) == {}
    assert findings["knee"].numbers["knee"] == 20
    assert judge(times({1: 2.0, 5: 0.4, 10: 0.2}))["knee"].detail.startswith("no knee")


@pytest.mark.parametrize(
    ("seconds", "failing"),
    [({5: 0.61}, RATIOS[0]), ({5: 0.6, 10: 0.36}, RATIOS[0]), ({10: 0.31}, RATIOS[1]), ({10: 0.5}, RATIOS[1])],
)
def test_a_ratio_that_is_not_met_fails(seconds: dict[int, float], failing: str) -> None:
    assert judge(times({1: 2.0, 5: 0.5, 10: 0.25} | seconds))[failing].verdict == "fail"


def test_pools_without_a_valid_trial_are_unknown() -> None:
    assert verdicts(judge(times({1: 2.0, 10: 0.2}))) == dict.fromkeys(RATIOS, "unknown") | {"knee": "shown"}
    invalid = times({1: 2.0, 5: 0.4}) + times({10: 0.2}, valid=False)
    assert verdicts(judge(invalid))[RATIOS[1]] == "unknown"
    assert set(verdicts(judge(times({1: 2.0}, valid=False))).values()) == {"unknown"}


GOOD = {1: 2.0, 5: 0.4, 10: 0.2}


def blocks(*seconds: Mapping[int, float]) -> list[TrialRecord]:
    return [one for number, of in enumerate(seconds, 1) for one in times(GOOD | of, number=number)]


def test_a_ratio_is_taken_within_each_block() -> None:
    """Blocks that differ by a factor of three, each with the same ratios."""
    speeds = (1.0, 3.0, 1.5, 2.0, 1.0, 2.5)
    made = blocks(*({pool: t * speed for pool, t in GOOD.items()} for speed in speeds))
    findings = judge(made)
    assert wrong(findings) == {}
    assert (
        findings[RATIOS[0]].detail
        == "a pool of 5 takes 0.20 [0.20, 0.20] of the time of a pool of 1, required: below 0.3"
    )


@pytest.mark.parametrize(
    ("seconds", "verdict", "detail"),
    [
        ([{5: 0.59}] * 6, "pass", "a pool of 5 takes 0.29 [0.29, 0.29]"),
        ([{5: 0.61}] * 6, "fail", "a pool of 5 takes 0.30 [0.30, 0.30]"),
        (
            [{5: 0.5}] * 5 + [{5: 0.7}],
            "unknown",
            "the interval includes the bound: a pool of 5 takes 0.25 [0.25, 0.35]",
        ),
        ([{5: 0.5}, {5: 0.7}], "unknown", "the ratios of 2 blocks are on both sides of the bound"),
    ],
)
def test_the_verdict_of_a_repeated_ratio(seconds: list[dict[int, float]], verdict: str, detail: str) -> None:
    finding = judge(blocks(*seconds))[RATIOS[0]]
    assert (finding.verdict, finding.detail.startswith(detail)) == (verdict, True), finding.detail


def test_a_ratio_of_too_few_valid_blocks_is_unknown() -> None:
    made = blocks(*[{}] * 5) + times({1: 2.0, 10: 0.2}, number=6) + times({5: 0.4}, number=6, valid=False)
    findings = judge(made)
    assert verdicts(findings) == dict.fromkeys(RATIOS, "unknown") | {"knee": "shown"}
    assert findings[RATIOS[0]].detail.startswith("5 of 6 blocks have valid trials of both, an interval needs 6")


def test_pools_of_a_ratio_have_the_trials_of_an_interval() -> None:
    repeat = SCENARIOS["pool-sweep"].repeat
    assert {c.pool: repeat(c) for c in cells("pool-sweep")} == {1: 6, 5: 6, 10: 6, 20: 3, 50: 3}
