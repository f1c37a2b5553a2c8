"""Names of cells: as few words as tell them apart, none of two cells the same, in an order a reader expects."""

from __future__ import annotations

import itertools

import pytest

from harness.model import BACKENDS, Cell
from harness.plan.options import BenchRequest
from harness.plan.scenario import Site
from harness.report.cell_labels import labels, place
from harness.scenarios import SCENARIOS

SITE = Site(hosts=8, backends=BACKENDS)


def test_labels_name_what_differs_and_say_once_what_does_not() -> None:
    named = labels([Cell(scenario="s", hosts=n, clients=8, params={"keys": "hot"}) for n in (1, 2)])
    assert list(named.short.values()) == ["1 app host", "2 app hosts"]
    assert named.common == "PostgreSQL, upsert, pool 5, 8 clients, 1 hot key"


def test_what_grows_with_the_hosts_is_said_aside() -> None:
    named = labels([Cell(scenario="s", hosts=n, clients=4 * n, params={"app_cpus": 0.1 * n}) for n in (1, 2)])
    assert list(named.short.values()) == ["1 app host", "2 app hosts"]
    assert list(named.aside.values()) == ["4 clients, CPU cap 0.1", "8 clients, CPU cap 0.2"]


def test_a_single_cell_is_named_by_backend_and_strategy() -> None:
    named = labels([Cell(scenario="s", backend="sqlite-tuned", rate=1500.0, mode="open", seconds=10.0)])
    assert list(named.short.values()) == ["tuned SQLite, upsert"]
    assert named.common == "1 app host, pool 5, 1,500 requests/s offered, 10 s"


def test_a_parameter_that_only_some_cells_have_sets_them_apart() -> None:
    named = labels([Cell(scenario="s"), Cell(scenario="s", params={"hold_ms": 5000})])
    assert list(named.short.values()) == ["", "5,000 ms held"]


def test_a_parameter_called_like_a_dimension_does_not_hide_it() -> None:
    cells = [Cell(scenario="s", clients=n, params={"load": "steady"}) for n in (1, 10)]
    assert list(labels(cells).short.values()) == ["1 client", "10 clients"]


def test_a_cell_without_strategy_does_not_name_one() -> None:
    assert labels([Cell(scenario="isolation", strategy="-")]).short == {"isolation.postgres.-.h1.p5.c1": "PostgreSQL"}


def test_no_cells_no_labels() -> None:
    named = labels([])
    assert (named.short, named.aside, named.common) == ({}, {}, "")


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_two_cells_of_a_scenario_are_called_the_same_and_none_is_long(name: str) -> None:
    cells = SCENARIOS[name].cells(BenchRequest(scenarios=(name,)), SITE)
    short = labels(cells).short
    assert len(set(short.values())) == len(short) == len(cells)
    assert max(map(len, short.values())) <= 40


def test_cells_stand_in_the_order_a_reader_expects() -> None:
    wanted = [
        Cell(scenario="s", strategy="for-update"),
        Cell(scenario="s", params={"rows": 2, "app_cpus": 9}),
        Cell(scenario="s", params={"rows": 10, "app_cpus": 1}),
        Cell(scenario="s", params={"rows": "ten"}),
        Cell(scenario="s", backend="sqlite-naive", hosts=2),
        Cell(scenario="s", backend="sqlite-naive", hosts=10),
        Cell(scenario="s", backend="sqlite-tuned", clients=3),
    ]
    for shuffled in itertools.islice(itertools.permutations(wanted), 0, 5040, 500):
        assert sorted(shuffled, key=place) == wanted
