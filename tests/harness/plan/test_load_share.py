"""Open cells at a share of a closed cell's rate: their place in a block, their rate, and how they are stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.model import Cell, Trial
from harness.plan.load_share import (
    after_closed,
    as_planned,
    closed_trial_of,
    is_closed_cell_of,
    open_cell,
    with_doubt_of,
    with_rate,
)
from harness.plan.options import BenchRequest
from harness.plan.planner import make_plan
from harness.plan.scenario import Site
from harness.plan.variants import parse_vary, varied_keys, with_variant
from harness.record import TrialResult, Validity
from harness.scenarios import SCENARIOS
from tests.support.stored_runs import row, store_and_load

HOT = Cell(scenario="throughput", strategy="upsert", hosts=4, clients=64, seconds=4.0, params={"keys": "hot"})
SPREAD = replace(HOT, params={"keys": "1000"})
OPEN = open_cell(HOT, 1.0)


def result(cell: Cell, rps: float | None, number: int = 1, order: int = 1) -> TrialResult:
    trial = Trial(cell=cell, number=number, order=order, seed=1)
    return TrialResult(trial=trial, figures={"rps": rps})


def test_the_open_cell_differs_in_its_load_alone() -> None:
    assert (OPEN.mode, OPEN.rate, OPEN.rate_share, OPEN.seconds, OPEN.requests) == ("open", None, 0.7, 1.0, None)
    assert OPEN.clients > HOT.clients
    assert is_closed_cell_of(OPEN, HOT)
    for other in (SPREAD, replace(HOT, strategy="coalesce"), replace(HOT, pool=9), replace(HOT, hosts=2), OPEN):
        assert not is_closed_cell_of(OPEN, other)


def test_the_name_does_not_depend_on_the_rate() -> None:
    assert (
        OPEN.name == replace(OPEN, rate=123.4).name == "throughput.postgres.upsert.h4.p5.open.keys=hot.rate_share=0.7"
    )


@pytest.mark.parametrize(
    ("results", "rate"),
    [
        ([result(HOT, 1000.0)], 700.0),
        ([result(HOT, 1000.0), result(HOT, 2000.0, order=2)], 1400.0),  # measured once more
        ([result(HOT, 1000.0), result(HOT, 500.0, number=2, order=2), result(SPREAD, 9.0, order=3)], 700.0),
        ([result(HOT, None)], 0.0),
        ([result(SPREAD, 1000.0)], 0.0),
    ],
)
def test_the_rate_is_a_share_of_the_closed_one_of_the_same_block(results: list[TrialResult], rate: float) -> None:
    trial = Trial(cell=OPEN, number=1, order=9, seed=1)
    resolved = with_rate(trial, results)
    assert (resolved.cell.rate, resolved.cell.name) == (rate, OPEN.name)
    assert with_rate(resolved, []) == resolved
    assert as_planned(resolved) == trial


@pytest.mark.parametrize(
    ("closed", "own", "expected"),
    [
        ("valid", "valid", "valid"),
        ("timing_doubtful", "valid", "valid"),
        ("generator_bound", "valid", "generator_bound"),
        ("broken", "valid", "generator_bound"),
        ("generator_bound", "broken", "broken"),
    ],
)
def test_a_latency_at_a_share_of_a_rate_that_does_not_count_is_doubted(
    closed: Validity, own: Validity, expected: Validity
) -> None:
    before = replace(result(HOT, 1000.0), validity=closed, reasons=("other programs used 60%",))
    trial = with_rate(Trial(cell=OPEN, number=1, order=2, seed=1), [before])
    assert closed_trial_of(trial, [before]) == before
    row = with_doubt_of(TrialResult(trial=trial, validity=own, figures={}), before)
    assert row.validity == expected
    if (own, expected) == ("valid", "generator_bound"):
        assert row.reason == (
            "its rate is a share of what trial 1 reached, which does not count: other programs used 60%"
        )
    assert closed_trial_of(before.trial, [before]) is None


def test_other_trials_keep_their_rate() -> None:
    for cell in (HOT, replace(HOT, mode="open", rate=250.0)):
        trial = Trial(cell=cell, number=1, order=1, seed=1)
        assert with_rate(trial, [result(HOT, 9.0)]) == as_planned(trial) == trial


def test_an_open_cell_is_measured_right_after_its_closed_one() -> None:
    others = open_cell(SPREAD, 1.0)
    assert after_closed([others, OPEN, SPREAD, HOT]) == [SPREAD, others, HOT, OPEN]


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_planned_open_cell_follows_a_closed_trial_of_its_block(seed: int, *, quick: bool) -> None:
    options = BenchRequest(scenarios=("throughput", "scaling"), quick=quick, seed=seed)
    trials = make_plan(options, Site(hosts=8), SCENARIOS).trials
    shares = [n for n, trial in enumerate(trials) if trial.cell.rate_share is not None]
    assert {trials[n].cell.scenario for n in shares} == ({"throughput"} if quick else {"throughput", "scaling"})
    assert len(shares) == (1 if quick else 14)
    for n in shares:
        assert is_closed_cell_of(trials[n].cell, trials[n - 1].cell)
        assert trials[n].number == trials[n - 1].number


def test_a_rate_that_is_given_leaves_no_rate_to_share() -> None:
    options = BenchRequest(scenarios=("throughput",), rate=500.0)
    assert not [t for t in make_plan(options, Site(hosts=8), SCENARIOS).trials if t.cell.rate_share is not None]


def test_the_rate_that_was_used_is_stored(tmp_path: Path) -> None:
    resolved = replace(OPEN, rate=700.0)
    (found,) = store_and_load(tmp_path, row(resolved)).rows
    assert found.cell == resolved


@pytest.mark.parametrize("vary", ["strategy=upsert,coalesce", "app_pool_size=5,20", "app_retry_limit=1,9"])
def test_all_variants_of_a_block_are_offered_the_share_of_the_baselines_rate(vary: str) -> None:
    variants = parse_vary("vary", vary)
    first, second = (
        with_variant(replace(HOT, strategy=variant.settings.get("strategy", "upsert")), variant, varied_keys(variants))
        for variant in variants
    )
    results = [result(second, 5000.0), result(first, 1000.0, order=2), result(second, 400.0, number=2, order=3)]
    for cell in (first, second):
        trial = Trial(cell=open_cell(cell, 1.0), number=1, order=9, seed=1)
        assert with_rate(trial, results, baseline=variants[0].name).cell.rate == 700.0
        assert with_rate(trial, results, baseline=variants[1].name).cell.rate == 3500.0
        assert with_rate(replace(trial, number=2), results, baseline=variants[0].name).cell.rate == 0.0
    other = replace(first, params={**first.params, "keys": "1000"})
    assert not is_closed_cell_of(open_cell(other, 1.0), first)
