"""Strategies and backends of one run compared within blocks: what is paired with what, and what is claimed."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from harness.compare.rows import Row
from harness.compare.variants import VariantComparison, blocks_of, compare_within
from harness.errors import FormatError
from harness.record import TrialResult
from tests.support.comparisons import LEVEL, read, trial


def blocks(
    number: int = 8,
    *,
    effect: float = 1.0,
    noise: float = 0.01,
    drift: float = 0.0,
    strategies: tuple[str, ...] = ("for-update", "upsert"),
    **columns: Any,
) -> list[dict[str, Any]]:
    """Trials in shuffled blocks; the last strategy is slower by `effect`, each trial by `drift` than the one before."""
    rng = random.Random(1)
    rows = []
    for block in range(1, number + 1):
        for strategy in rng.sample(strategies, len(strategies)):
            slower = (effect if strategy == strategies[-1] else 1.0) * math.exp(rng.gauss(0, noise) + drift * len(rows))
            figures = {name: level * (1 / slower if name == "rps" else slower) for name, level in LEVEL.items()}
            rows.append(trial(block, strategy=strategy, order=len(rows) + 1, **figures) | columns)
    return rows


def within(rows: list[dict[str, Any]], **more: Any) -> VariantComparison:
    return compare_within([read(row) for row in rows], **more)


def verdicts(comparison: VariantComparison) -> set[str]:
    return {row.verdict for row in comparison.rows}


def test_slower_strategy_is_found_in_spite_of_drift() -> None:
    found = within(blocks(effect=1.1, drift=0.02))
    (pair,) = found.pairs
    assert (pair.by, pair.a.strategy, pair.b.strategy) == ("strategy", "for-update", "upsert")
    assert [row.verdict for row in pair.rows] == ["slower"] * 4
    rps = pair.rows[0]
    assert (rps.metric, rps.n_a, rps.n_b) == ("rps", 8, 8)
    assert rps.ratio is not None
    assert rps.ratio.low < 1 / 1.1 < rps.ratio.high
    assert rps.p == 2 / 2**8  # the metrics move together: no loss by their number
    assert (found.tested, found.blocks, found.needed) == (4, 8, 8)


def test_equal_strategies_are_not_called_different() -> None:
    assert verdicts(within(blocks(drift=0.02))) == {"~"}


def test_backends_are_compared_at_the_same_strategy_and_postgres_is_the_baseline() -> None:
    rows = [row for name in ("sqlite-tuned", "postgres") for row in blocks(2, backend=name)]
    pairs = {(p.by, p.a.backend, p.a.strategy, p.b.backend, p.b.strategy) for p in within(rows).pairs}
    assert pairs == {
        ("strategy", "sqlite-tuned", "for-update", "sqlite-tuned", "upsert"),
        ("strategy", "postgres", "for-update", "postgres", "upsert"),
        ("backend", "postgres", "for-update", "sqlite-tuned", "for-update"),
        ("backend", "postgres", "upsert", "sqlite-tuned", "upsert"),
    }


def test_cells_of_other_loads_hosts_and_lengths_are_not_compared() -> None:
    one = blocks(8, strategies=("upsert",))
    for change in ({"clients": 1}, {"hosts": 2}, {"pool": 9}, {"params": '{"keys": "hot"}'}, {"requests": 10}):
        assert within([*one, *blocks(8, strategies=("coalesce",), **change)]).pairs == ()
    assert len(within([*one, *blocks(8, strategies=("coalesce",))]).pairs) == 1


def test_the_negative_control_is_left_out() -> None:
    control = blocks(8, strategies=("unsafe",), params='{"control": true}')
    assert within([*blocks(8, strategies=("upsert",)), *control]).pairs == ()


def only(comparison: VariantComparison) -> Row:
    (row,) = comparison.rows
    return row


def test_few_blocks_claim_nothing_and_say_how_many_are_needed() -> None:
    found = within(blocks(5, effect=2.0))
    assert verdicts(found) == {"too few blocks"}
    assert found.rows[0].note == "5 blocks, a claim needs 6 or more"
    assert found.tested == 0
    assert verdicts(within(blocks(6, effect=2.0))) == {"slower"}
    many = within(blocks(6, effect=2.0, strategies=("for-update", "upsert", "coalesce")))
    assert verdicts(many) == {"too few blocks"}
    assert many.rows[0].note == "6 blocks, a claim needs 7 or more"
    assert many.needed == 9


@pytest.mark.parametrize("change", [{"valid": "false"}, {"reason": "the generator was the limit", "doubted": True}])
def test_block_counts_only_if_both_trials_have_valid_times(change: dict[str, Any]) -> None:
    rows = blocks(9, effect=1.5)
    rows[3] |= change
    assert {row.n_a for row in within(rows).rows} == {8}
    for row in rows:
        if row["strategy"] == "upsert":
            row.update(change)
    assert only(within(rows)).note == "no block in which both trials are valid"


def test_trial_that_was_measured_once_more_takes_the_place_of_the_invalid_one() -> None:
    rows = blocks(8, effect=1.5)
    again = dict(rows[3], order=99)
    rows[3] |= {"valid": "false", "reason": "broken", "rps": 1.0}
    assert {row.n_a for row in within([*rows, again]).rows} == {8}
    assert {row.n_a for row in within([again, *rows]).rows} == {8}


def test_cell_that_failed_a_check_or_was_never_steady_is_not_compared() -> None:
    rows = blocks(8, effect=0.5)
    failed = read(rows[0]).cell if rows[0]["strategy"] == "upsert" else read(rows[1]).cell
    row = only(within(rows, failed={failed.name}))
    assert (row.verdict, row.note) == ("invalid", "upsert failed a check")
    for one in rows:
        one["steady"] = one["strategy"] != "upsert"
    assert only(within(rows)).note == "no trial of one side was in a steady state"


def test_figures_of_zero_and_missing_ones() -> None:
    rows = blocks(8, effect=1.5)
    for row in rows:
        if row["strategy"] == "upsert":
            row |= {"rps": 0.0, "p99_ms": ""}
    found = {row.metric: row for row in within(rows).rows}
    assert set(found) == {"rps", "p50_ms", "p95_ms"}
    assert (found["rps"].verdict, found["rps"].change) == ("slower", 1.0)
    for row in rows:
        row |= {"rps": 0.0, "p50_ms": 0.0}
    found = {row.metric: row for row in within(rows).rows}
    assert {found[name].verdict for name in ("rps", "p50_ms")} == {"invalid"}
    rows[0]["rps"] = "-1"
    with pytest.raises(FormatError, match=r"run R, .*rps is -1"):
        within(rows, run_id="R")


def test_latencies_of_the_side_that_refused_more_are_not_called_faster() -> None:
    rows = blocks(8, effect=0.5)
    for row in rows:
        row |= {"sent": 1000, "ok": 900 if row["strategy"] == "upsert" else 1000}
    found = {row.metric: row.verdict for row in within(rows).rows}
    assert found == {"rps": "faster", "p50_ms": "invalid", "p95_ms": "invalid", "p99_ms": "invalid"}


def test_a_run_without_rows_has_no_comparison() -> None:
    none: list[TrialResult] = []
    assert compare_within(none) == VariantComparison(needed=6)


def varied(number: int = 8, effect: float = 1.2) -> list[dict[str, Any]]:
    """Blocks of the variants `off` and `on`, in this order; each has a strategy of its own."""
    rows = blocks(number, effect=effect, strategies=("upsert", "coalesce"))
    for row in rows:
        name = {"upsert": "off", "coalesce": "on"}[row["strategy"]]
        row["params"] = json.dumps({"keys": "hot", "variant": name, "varied": "strategy app_x", "app_x": name})
    return rows


@pytest.mark.parametrize("order", [("off", "on"), ("on", "off")])
def test_variants_are_compared_with_the_first_one_and_with_nothing_else(order: tuple[str, str]) -> None:
    (pair,) = within(varied(), variants=order).pairs
    assert (pair.by, pair.a.variant, pair.b.variant) == ("variant", *order)
    assert {row.verdict for row in pair.rows} == {"slower" if order[1] == "on" else "faster"}


def test_variants_of_other_cells_are_other_groups() -> None:
    rows = varied()
    others = [row | {"params": row["params"].replace("hot", "1000")} for row in varied()]
    found = within([*rows, *others], variants=("off", "on")).pairs
    assert [(p.a.params["keys"], p.b.params["keys"]) for p in found] == [("hot", "hot"), ("1000", "1000")]


def test_block_of_variants_that_was_measured_once_more_is_one_of_its_attempts() -> None:
    """First attempt: B is invalid. Second: A is invalid. The valid ones were not measured side by side."""
    rows = varied()
    first, second = rows[:2]
    again = [dict(first, order=98, seed=2), dict(second, order=99, seed=2)]
    second |= {"valid": "false", "reason": "broken"}
    again[0] |= {"valid": "false", "reason": "broken"}
    assert {row.n_a for row in within([*rows, *again], variants=("off", "on")).rows} == {7}
    interrupted = dict(first, order=97, seed=3)  # and its block was not finished
    assert {row.n_a for row in within([*rows, *again, interrupted], variants=("off", "on")).rows} == {7}
    again[0] |= {"valid": "true", "reason": "", "rps": 1234.0}
    found = within([*rows, *again], variants=("off", "on"))
    assert {row.n_a for row in found.rows} == {8}
    attempts = blocks_of(
        "variant", *([read(r) for r in [*rows, *again] if v in r["params"]] for v in ('"off"', '"on"'))
    )
    assert next(attempts)[first["strategy"] == "coalesce"].figure("rps") == 1234.0


def opened(number: int = 9, effect: float = 1.2, **more: Any) -> list[dict[str, Any]]:
    """Blocks of the variants `off` and `on`, each block with a closed and an open cell; `on` is slower by `effect`."""
    rows = blocks(2 * number, effect=effect, strategies=("upsert", "coalesce"), **more)
    for row in rows:
        name = {"upsert": "off", "coalesce": "on"}[row["strategy"]]
        params: dict[str, Any] = {"variant": name, "varied": "strategy"}
        row["requests"] = ""
        block, of_open = divmod(row["trial"] - 1, 2)
        row["trial"] = row["seed"] = block + 1
        if of_open:
            params["rate_share"] = 0.7
            row |= {"mode": "open", "rate": 2000.0 + block, "wanted_seconds": 1.0}
        row["params"] = json.dumps(params)
    return rows


def test_variants_are_compared_by_the_rate_of_a_closed_loop_and_by_the_latencies_of_an_open_one() -> None:
    found = within(opened(), variants=("off", "on"))
    closed_pair, open_pair = sorted(found.pairs, key=lambda pair: pair.a.mode)
    assert [(row.metric, row.verdict) for row in closed_pair.rows] == [
        ("rps", "slower"), ("p50_ms", "shown"), ("p95_ms", "shown"), ("p99_ms", "shown"),
    ]  # fmt: skip
    shown = closed_pair.rows[1]
    assert (shown.note, shown.ratio, shown.p, shown.n_a) == ("closed loop: omits stalls", None, None, 9)
    assert shown.median_b is not None
    assert shown.median_b > 1.15 * (shown.median_a or 0)
    assert [(row.metric, row.verdict) for row in open_pair.rows] == [
        ("p50_ms", "slower"), ("p95_ms", "slower"), ("p99_ms", "slower"),
    ]  # fmt: skip
    assert (found.tested, found.blocks) == (4, 9)


def test_blocks_in_which_variants_were_offered_other_rates_are_left_out() -> None:
    rows = opened()
    next(row for row in rows if row["mode"] == "open")["rate"] = 1000.0
    pairs = within(rows, variants=("off", "on")).pairs
    assert {pair.a.mode: {row.n_a for row in pair.rows} for pair in pairs} == {"closed": {9}, "open": {8}}


def test_open_cells_at_a_share_of_their_own_rate_are_not_compared_without_variants() -> None:
    rows = blocks(8, requests="", mode="open", rate=2000.0, params='{"rate_share": 0.7}')
    assert within(rows).pairs == ()
    given = within(blocks(8, effect=1.2, requests="", mode="open", rate=2000.0))
    assert {(row.metric, row.verdict) for row in given.rows} == {
        ("p50_ms", "slower"), ("p95_ms", "slower"), ("p99_ms", "slower"),
    }  # fmt: skip


def test_a_pair_about_which_nothing_can_be_claimed_has_no_part_in_the_correction() -> None:
    rates = blocks(8, effect=1.5, requests="")
    for row in rates:
        row["rps"] = ""
    found = within(rates)
    assert verdicts(found) == {"shown"}
    assert (found.tested, found.needed) == (0, 6)
