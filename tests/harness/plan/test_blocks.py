"""Blocks: every variant in each of them, in a seeded order; groups that cannot be compared are left out by name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.paired import blocks_for, blocks_needed
from harness.errors import UsageError
from harness.model import BACKENDS
from harness.plan.blocks import block_of, settings_text, too_few_blocks
from harness.plan.load_share import is_closed_cell_of
from harness.plan.options import LEAST_BLOCKS, BenchRequest
from harness.plan.planner import Plan, make_plan
from harness.plan.scenario import Scenario, Site
from harness.plan.variants import parse_named, without_variant
from harness.scenarios import SCENARIOS

SITE = Site(hosts=2, backends=BACKENDS)


def plan(vary: str, site: Site = SITE, known: dict[str, Scenario] = SCENARIOS, **texts: str) -> Plan:  # type: ignore[assignment]
    options = BenchRequest.parse({"vary": vary, "scenario": "throughput", **texts}, known_scenarios=known)
    return make_plan(options, site, known, options.vary)


def blocks_of(made: Plan) -> dict[Any, list[Any]]:
    found = defaultdict(list)
    for trial in made.trials:
        found[block_of(trial)].append(trial)
    return found


def test_every_block_has_every_variant_once_one_after_the_other() -> None:
    made = plan("strategy=upsert,coalesce,for-update")
    blocks = blocks_of(made)
    assert len(blocks) == 4 * 11, "one hot key and 1,000 keys, closed and open, each with 2 pairs"
    for trials in blocks.values():
        assert sorted(trial.cell.strategy for trial in trials) == ["coalesce", "for-update", "upsert"]
        assert [trial.order for trial in trials] == list(range(trials[0].order, trials[0].order + 3))
        assert len({trial.seed for trial in trials}) == 1, "the same keys and arrivals"
    assert len({trials[0].seed for trials in blocks.values()}) == len(blocks)
    assert [trial.order for trial in made.trials] == list(range(1, len(made.trials) + 1))
    assert [variant.name for variant in made.variants] == [
        "strategy=upsert",
        "strategy=coalesce",
        "strategy=for-update",
    ]


def test_the_seed_shuffles_the_order_within_the_blocks() -> None:
    orders = {
        seed: [
            tuple(t.cell.strategy for t in b) for b in blocks_of(plan("strategy=upsert,coalesce", seed=seed)).values()
        ]
        for seed in ("1", "2")
    }
    assert orders["1"] != orders["2"]
    assert plan("strategy=upsert,coalesce", seed="2") == plan("strategy=upsert,coalesce", seed="2")
    first = Counter(order[0] for seed in map(str, range(50)) for order in _orders(seed))
    assert 0.4 < first["upsert"] / first.total() < 0.6, first


def _orders(seed: str) -> list[tuple[str, ...]]:
    made = plan("strategy=upsert,coalesce", seed=seed)
    return [tuple(trial.cell.strategy for trial in trials) for trials in blocks_of(made).values()]


def test_cells_of_a_group_differ_only_in_what_is_varied() -> None:
    made = plan("postgres.synchronous_commit=on,off;app_pool_size=5,20", strategy="upsert", repeat="2")
    for trials in blocks_of(made).values():
        stripped = [without_variant(trial.cell) for trial in trials]
        assert stripped == stripped[:1] * 4
        settings = {(t.cell.pool, t.cell.postgres_settings["synchronous_commit"]) for t in trials}
        assert settings == {(5, "on"), (5, "off"), (20, "on"), (20, "off")}


def test_a_strategy_that_a_backend_does_not_have_is_left_out_by_name() -> None:
    made = plan("backend=postgres,sqlite-tuned", seconds="1")
    assert {trial.cell.strategy for trial in made.trials} == {"upsert"}
    assert "not every variant has throughput.postgres.for-update" in made.skipped["cells of throughput"]


@pytest.mark.parametrize(
    ("scenario", "vary", "reason"),
    [
        ("pool-sweep", "app_pool_size=5,20", "its own cells differ in app_pool_size"),
        ("isolation", "postgres.synchronous_commit=on,off", "has no HTTP load"),
        ("bulk-insert", "strategy=upsert,coalesce", "sends no increments"),
    ],
)
def test_a_scenario_in_which_variants_cannot_be_compared_is_skipped(scenario: str, vary: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"nothing to measure: {scenario}: .*{reason}"):
        plan(vary, scenario=scenario)


@pytest.mark.parametrize("together", [True, False])
def test_a_cell_in_which_the_variants_change_nothing_is_left_out(*, together: bool) -> None:
    """A scenario that judges its cells together cannot do without some of them."""
    if together:
        with pytest.raises(UsageError, match=r"judged together, and the variants change nothing in scaling\.postgres"):
            plan("strategy=upsert,coalesce", scenario="scaling")
        return
    alone = replace(SCENARIOS["scaling"], judge=Scenario.__dataclass_fields__["judge"].default)
    made = plan("strategy=upsert,coalesce", scenario="scaling", known={"scaling": alone})
    assert {trial.cell.params["bound"] for trial in made.trials} == {"cpu"}
    assert "the variants change nothing in scaling" in made.skipped["cells of scaling"]


@pytest.mark.parametrize("key", ["strategy", "backend"])
def test_an_option_and_variants_cannot_choose_the_same(key: str) -> None:
    vary = {"strategy": "strategy=upsert,coalesce", "backend": "backend=postgres,sqlite-tuned"}[key]
    with pytest.raises(UsageError, match=f"--{key} and variants that set {key} exclude each other"):
        plan(vary, **{key: {"strategy": "upsert", "backend": "postgres"}[key]})


def test_pools_of_a_variant_count_against_the_servers_connections() -> None:
    with pytest.raises(UsageError, match="2 hosts x pool 60 = 120 connections"):
        plan("app_pool_size=5,60")
    with pytest.raises(UsageError, match="app_pool_min 9 is more than the pool of 5"):
        plan("app_pool_min=1,9")


@pytest.mark.parametrize(
    ("vary", "repeat", "said"),
    [
        ("strategy=upsert,coalesce", "5", "5 blocks allow no claim: with 4 pairs of cells 8 or more do (--repeat 8)"),
        ("strategy=upsert,coalesce", "7", "7 blocks allow no claim: with 4 pairs of cells 8 or more do"),
        ("strategy=upsert,coalesce", "8", ""),
        ("strategy=upsert,coalesce", "9", ""),
        (
            "app_pool_size=" + ",".join(map(str, range(1, 9))),
            "8",
            "8 blocks allow no claim: with 28 pairs of cells 11",
        ),
    ],
)
def test_fewer_blocks_than_a_claim_needs_are_named_up_front(vary: str, repeat: str, said: str) -> None:
    strategy = {} if vary.startswith("strategy") else {"strategy": "upsert"}
    text = too_few_blocks(plan(vary, repeat=repeat, **strategy).trials)
    assert text.startswith(said) if said else text == ""


def test_many_pairs_get_the_blocks_that_find_a_difference() -> None:
    made = plan("app_pool_size=" + ",".join(map(str, range(1, 9))), strategy="upsert")
    assert max(trial.number for trial in made.trials) == blocks_for(28)
    assert too_few_blocks(made.trials) == ""


def test_the_least_number_of_blocks_is_that_of_the_test() -> None:
    assert blocks_needed(1) == LEAST_BLOCKS


def test_settings_of_variants_as_text() -> None:
    named = parse_named({"a": {}, "b": {"app_pool_size": "20"}}, str)
    assert settings_text(named) == {"a": "as provisioned", "b": "app_pool_size=20"}


@pytest.mark.parametrize("name", sorted(SCENARIOS))
@pytest.mark.parametrize("vary", ["postgres.synchronous_commit=on,off", "app_retry_limit=1,100"])
def test_every_scenario_is_planned_in_blocks_or_skipped_with_a_reason(name: str, vary: str) -> None:
    try:
        made = plan(vary, scenario=name, site=Site(hosts=8, backends=BACKENDS))
    except UsageError as error:
        assert "nothing to measure" in error.message  # noqa: PT017
        return
    names = [trial.cell.name for trial in made.trials if trial.number == 1]
    assert len(set(names)) == len(names)
    sizes: Sequence[int] = [len(trials) for trials in blocks_of(made).values()]
    assert set(sizes) == {2}


@pytest.mark.parametrize("seed", ["1", "2", "3"])
@pytest.mark.parametrize(
    "vary", ["strategy=upsert,coalesce", "app_pool_size=5,20", "postgres.synchronous_commit=on,off"]
)
def test_an_open_block_follows_the_closed_block_that_sets_its_rate(vary: str, seed: str) -> None:
    made = list(blocks_of(plan(vary, seed=seed)).values())
    opens = [at for at, trials in enumerate(made) if trials[0].cell.rate_share is not None]
    controls = [trials for trials in made if trials[0].cell.params.get("control")]
    assert len(opens) == (len(made) - len(controls)) / 2
    for at in opens:
        closed = made[at - 1]
        assert {trial.number for trial in (*closed, *made[at])} == {closed[0].number}
        assert closed[-1].order + 1 == made[at][0].order
        assert all(is_closed_cell_of(one.cell, other.cell) for one in made[at] for other in closed)
        assert len({trial.seed for trial in made[at]}) == 1, "the same arrivals for all variants"


def test_a_given_rate_leaves_no_closed_block() -> None:
    assert {trial.cell.rate for trial in plan("strategy=upsert,coalesce", rate="500").trials} == {500.0}
