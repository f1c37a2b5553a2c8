"""Variants: what may be compared, what is refused with one line, and how a cell carries its variant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import UsageError
from harness.model import Cell
from harness.plan.variants import (
    MAX_VARIANTS,
    Variant,
    parse_named,
    parse_vary,
    same_settings,
    varied_keys,
    with_variant,
    without_variant,
)

CELL = Cell(scenario="s", strategy="upsert", pool=5, params={"keys": "hot", "app_pool_min": 2})


def test_every_value_is_a_variant_and_the_first_is_the_baseline() -> None:
    made = parse_vary("vary", "postgres.synchronous_commit = on, off")
    assert made == (
        Variant(name="synchronous_commit=on", settings={"postgres.synchronous_commit": "on"}),
        Variant(name="synchronous_commit=off", settings={"postgres.synchronous_commit": "off"}),
    )


def test_several_keys_are_combined() -> None:
    made = parse_vary("vary", "strategy=upsert,coalesce; app_pool_size=5,20")
    assert [variant.name for variant in made] == [
        "strategy=upsert pool_size=5", "strategy=upsert pool_size=20",
        "strategy=coalesce pool_size=5", "strategy=coalesce pool_size=20",
    ]  # fmt: skip
    assert varied_keys(made) == ("strategy", "app_pool_size")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("strategy", "expected KEY=A,B", "keys: strategy, backend, code, app_"),
        ("=a,b", "expected KEY=A,B", "keys: "),
        ("strategy=upsert,coalesce;", "expected KEY=A,B", "keys: "),
        ("strategy=", "strategy has no values", "two or more: strategy=A,B"),
        ("strategy=upsert", "strategy has a single value", "two or more"),
        ("strategy=upsert,upsert", "strategy has the value 'upsert' twice", "once"),
        ("strategy=upsert,", "strategy has the value ''", "1 to 200"),
        ("strategy=upsert,coalesc", "strategy: there is no 'coalesc'", "did you mean 'coalesce'?"),
        ("backend=postgres,sqlite", "backend: there is no 'sqlite'", "sqlite-"),
        ("strategie=upsert,coalesce", "unknown setting 'strategie'", "did you mean 'strategy'?"),
        ("postgress.work_mem=1,2", "unknown setting 'postgress.work_mem'", "did you mean 'postgres.work_mem'?"),
        ("pool=1,2", "unknown setting 'pool'", "known: strategy, backend, code, app_SETTING, postgres.SETTING"),
        ("postgres.=1,2", "unknown setting 'postgres.'", "known"),
        ("app_pool_size=0,5", "app_pool_size '0' is not a number of connections", "1 to 1,000"),
        ("app_pool_size=5,1001", "app_pool_size '1001'", "1 to 1,000"),
        ("app_pool_size=5,x", "app_pool_size 'x'", "1 to 1,000"),
        ("app_port=1,2", "app_port cannot be varied", "inventory"),
        ("app_postgres_host=a,b", "app_postgres_host cannot be varied", "inventory"),
        ("app_backend=a,b", "app_backend cannot be varied", "vary backend"),
        ("app_log_level=INFO,a b", "app_log_level has the value 'a b'", "letters"),
        ("app_log_level=INFO,$(id)", "app_log_level has the value", "letters"),
        ("strategy=upsert,coalesce;strategy=unsafe,upsert", "the key 'strategy' occurs twice", "one list"),
        ("app_pool_size=" + ",".join(map(str, range(1, MAX_VARIANTS + 2))), "17 variants", "at most 16"),
        ("app_pool_size=5,05", "the variants 'pool_size=5' and 'pool_size=5' are the same", "remove"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_vary("vary", text)
    assert message in caught.value.message
    assert caught.value.message.startswith("--vary")
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, "f:0: there are no variants"),
        ({"a": {}}, "f:0: a single variant"),
        ({"a": {}, "b": {}}, "f:0: the variants 'a' and 'b' are the same"),
        ({"a": {"strategy": "upsert"}, "b": {}}, "f:0: the variant 'b' does not set 'strategy'"),
        ({"a": {}, "b,c": {"app_pool_size": "9"}}, "f:1: 'b,c' is not a name"),
        ({"a": {}, "b": {"colour": "9"}}, "f:2: unknown setting 'colour'"),
        ({"a": {}, "b": {"app_pool_size": "x"}}, "f:2: app_pool_size 'x'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(named: dict[str, dict[str, str]], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_named(named, lambda keys: f"f:{len(keys)}")
    assert caught.value.message.startswith(message)


def test_a_cell_carries_its_variant_and_gives_it_back() -> None:
    made = parse_named(
        {
            "small": {"strategy": "upsert", "app_pool_size": "5"},
            "large": {"strategy": "coalesce", "app_pool_size": "20", "postgres.work_mem": "1MB", "app_pool_min": "4"},
        },
        str,
    )
    varied = varied_keys(made)
    small = with_variant(CELL, made[0], varied)
    large = with_variant(replace(CELL, strategy="coalesce"), made[1], varied)
    assert (small.variant, small.pool, small.postgres_settings, small.pool_min) == ("small", 5, {}, 2)
    assert (large.variant, large.pool, large.postgres_settings, large.pool_min) == ("large", 20, {"work_mem": "1MB"}, 4)
    assert large.app_settings == {}
    assert without_variant(small).name == without_variant(large).name == "s.postgres.h1.c1.keys=hot"
    assert small.name == CELL.name, "a variant that changes nothing here is the cell that other runs measure"
    assert large.name == "s.postgres.coalesce.h1.p20.c1.app_pool_min=4.keys=hot.postgres_work_mem=1MB"
    assert not same_settings(small, large)
    assert same_settings(small, replace(small, params={**small.params, "variant": "other"}))


def test_settings_of_the_server_change_nothing_in_a_cell_on_sqlite() -> None:
    made = parse_vary("vary", "postgres.synchronous_commit=on,off")
    on, off = (with_variant(CELL, variant, varied_keys(made)) for variant in made)
    assert not same_settings(on, off)
    assert same_settings(replace(on, backend="sqlite-tuned"), replace(off, backend="sqlite-tuned"))


def test_a_cell_without_a_variant_is_its_own_group() -> None:
    assert without_variant(CELL) == CELL
    assert CELL.variant == ""
