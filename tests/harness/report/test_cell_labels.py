"""Labels of cells: no two the same, without the parts that all share; cells in reading order."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from harness.model import BACKENDS, Cell
from harness.plan.fault_schedule import KINDS
from harness.plan.options import BenchRequest
from harness.plan.planner import make_plan
from harness.plan.scenario import Site
from harness.plan.variants import parse_named, parse_vary, varied_keys, with_variant
from harness.report.cell_labels import labels, reading_order, without
from harness.scenarios import SCENARIOS

SITE = Site(hosts=8, backends=BACKENDS, load_hosts=2, faults=dict.fromkeys(KINDS, ""))


def test_parts_that_all_cells_share_are_common() -> None:
    named = labels([Cell(scenario="s", hosts=n, clients=8, params={"keys": "hot"}) for n in (1, 2)], None)
    assert list(named.short.values()) == ["1 host", "2 hosts"]
    assert named.common == "PostgreSQL, upsert, pool of 5 connections, 8 clients, 1 hot key"


def test_other_settings_that_differ_are_aside() -> None:
    cells = [Cell(scenario="scaling", hosts=n, clients=4 * n, params={"app_cpus": 0.1 * n}) for n in (1, 2)]
    named = labels(cells, SCENARIOS["scaling"])
    assert list(named.short.values()) == ["1 host", "2 hosts"]
    assert list(named.aside.values()) == ["4 clients, CPU cap 0.1", "8 clients, CPU cap 0.2"]


def test_single_cell_keeps_its_whole_label() -> None:
    cell = Cell(scenario="throughput", backend="sqlite-tuned", rate=1500.0, mode="open", seconds=10.0)
    named = labels([cell], SCENARIOS["throughput"])
    assert list(named.short.values()) == ["tuned SQLite, upsert, 1,500 requests/s"]
    assert named.common == "1 host, pool of 5 connections, 10 s"


def test_cells_with_the_same_label_get_the_settings_in_which_they_differ() -> None:
    cell = Cell(scenario="pool-sweep", requests=100, clients=10)
    named = labels([cell, replace(cell, requests=200, clients=20), replace(cell, pool=9)], SCENARIOS["pool-sweep"])
    assert list(named.short.values()) == [
        "pool of 5 connections, 10 clients, 100 requests",
        "pool of 5 connections, 20 clients, 200 requests",
        "pool of 9 connections",
    ]
    assert list(named.aside.values()) == ["", "", "10 clients, 100 requests"]


def test_cells_that_differ_in_nothing_but_their_name_are_called_by_it() -> None:
    cells = [Cell(scenario="s", params={"n": n}) for n in (1, "1")]
    cells.append(Cell(scenario="s", clients=2, params={"n": 1}))
    assert len(set(labels(cells, None).short.values())) == len({cell.name for cell in cells})


def test_cell_whose_label_is_a_part_of_the_others_keeps_it() -> None:
    cells = [
        Cell(scenario="throughput", params={"keys": "hot"}, rate=rate, mode="open" if rate else "closed")
        for rate in (None, 250.0)
    ]
    assert next(iter(labels(cells, SCENARIOS["throughput"]).short.values())) == "PostgreSQL, upsert, 1 hot key"


def test_cell_without_strategy_names_none() -> None:
    cell = Cell(scenario="isolation", strategy="-")
    named = labels([cell], SCENARIOS["isolation"])
    assert (named.short, named.aside) == ({cell.name: "PostgreSQL"}, {cell.name: ""})
    assert "-" not in named.common


def test_number_that_ends_like_another_is_not_taken_for_it() -> None:
    cells = [Cell(scenario="connections", clients=1200, requests=200, params={"load": "open"})]
    assert "200 requests" in labels(cells, SCENARIOS["connections"]).common


@pytest.mark.parametrize(
    ("vary", "short"),
    [
        ("strategy=upsert,coalesce", ["upsert", "coalesce"]),
        ("postgres.synchronous_commit=on,off", ["synchronous_commit=on", "synchronous_commit=off"]),
        ("app_pool_size=5,20", ["pool_size=5", "pool_size=20"]),
        (
            "strategy=upsert,coalesce;app_retry_limit=1,9",
            [f"{strategy}, retry_limit={limit}" for strategy in ("upsert", "coalesce") for limit in (1, 9)],
        ),
    ],
)
def test_labels_of_variants_show_what_differs(vary: str, short: list[str]) -> None:
    variants = parse_vary("vary", vary)
    strategy = {"strategy": "upsert"} if "strategy" not in vary else {}
    options = BenchRequest.parse({"vary": vary, "scenario": "throughput", **strategy}, known_scenarios=SCENARIOS)
    planned = make_plan(options, SITE, SCENARIOS, variants).trials
    cells = list({t.cell.name: t.cell for t in planned if t.cell.params["keys"] == "hot"}.values())
    named = labels(cells, SCENARIOS["throughput"])
    assert sorted(named.short[cell.name] for cell in cells if cell.mode == "closed") == sorted(short)
    opened = [named.short[cell.name] for cell in cells if cell.mode == "open"]
    assert len({text for text in opened if "open at 70 % of the baseline" in text}) == len(short)
    texts = " ".join([*named.short.values(), *named.aside.values(), named.common])
    assert "varied" not in texts
    assert "postgres_" not in texts
    assert "app_" not in texts
    assert "synchronous_commit" not in " ".join(named.aside.values()), "said twice"


def test_labels_of_named_variants_are_their_names_with_the_settings_aside() -> None:
    variants = parse_named({"durable": {}, "fast": {"postgres.synchronous_commit": "off"}}, str)
    cells = [
        with_variant(Cell(scenario="throughput", params={"keys": "hot"}), one, varied_keys(variants))
        for one in variants
    ]
    named = labels(cells, SCENARIOS["throughput"])
    assert list(named.short.values()) == ["durable", "fast"]
    assert list(named.aside.values()) == ["", "synchronous_commit=off"]
    assert "PostgreSQL, upsert, 1 hot key" in named.common


def test_no_cells_no_labels() -> None:
    named = labels([], None)
    assert (named.short, named.aside, named.common) == ({}, {}, "")


@pytest.mark.parametrize("name", SCENARIOS)
def test_labels_of_planned_cells_are_unique_and_short(name: str) -> None:
    cells = SCENARIOS[name].cells(BenchRequest(scenarios=(name,)), SITE)
    short = labels(cells, SCENARIOS[name]).short
    assert len(set(short.values())) == len(short) == len(cells)
    assert max(map(len, short.values())) <= 50


def test_without_removes_strategy_and_backend() -> None:
    assert without("PostgreSQL, unsafe (negative control), 1 hot key", "unsafe", "PostgreSQL") == "1 hot key"
    assert without("8 hosts", "") == "8 hosts"


def test_reading_order() -> None:
    wanted = [
        Cell(scenario="s", strategy="for-update"),
        Cell(scenario="s", params={"rows": 2, "app_cpus": 9}),
        Cell(scenario="s", params={"rows": 10, "app_cpus": 1}),
        Cell(scenario="s", params={"rows": "ten"}),
        Cell(scenario="s", backend="sqlite-naive", hosts=2),
        Cell(scenario="s", backend="sqlite-naive", hosts=10),
        Cell(scenario="s", backend="sqlite-tuned", clients=3),
        Cell(scenario="s", backend="of another version"),  # type: ignore[arg-type]
    ]
    for shuffled in itertools.islice(itertools.permutations(wanted), 0, 40320, 4000):
        assert sorted(shuffled, key=reading_order) == wanted


def test_a_parameter_whose_name_has_braces_is_shown_as_it_is() -> None:
    cell = Cell(scenario="bank", params={"{1} {x}": "{y}"})
    assert "{1} {x} {y}" in labels([cell], None).common
