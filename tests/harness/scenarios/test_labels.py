"""The labels of cells: different within a scenario, short, and possible for any stored cell."""

from __future__ import annotations

import pytest

from harness.model import BACKENDS, STRATEGIES, Cell
from harness.plan.fault_schedule import KINDS
from harness.plan.options import BenchRequest
from harness.plan.scenario import Site
from harness.scenarios import SCENARIOS

SITE = Site(hosts=8, load_hosts=2, backends=BACKENDS, faults=dict.fromkeys(KINDS, ""))


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("strategies", [(), STRATEGIES])
def test_labels_differ_within_a_scenario_and_are_short(name: str, strategies: tuple[str, ...]) -> None:
    cells = SCENARIOS[name].cells(BenchRequest(scenarios=(name,), strategies=strategies), SITE)
    labels = [SCENARIOS[name].label(cell) for cell in cells]
    assert len(set(labels)) == len(cells), labels
    assert all(0 < len(label) <= 60 for label in labels)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize(
    "params", [{}, {"keys": {}, "rows": "ten", "long": 1, "load": None, "bound": [], "through": 2}]
)
def test_a_stored_cell_with_unknown_params_has_a_label(name: str, params: dict[str, object]) -> None:
    assert isinstance(SCENARIOS[name].label(Cell(scenario=name, strategy="-", params=params)), str)


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        (Cell(scenario="concurrent-writes", hosts=4, params={"keys": "hot"}), "PostgreSQL, upsert, 1 hot key, 4 hosts"),
        (
            Cell(scenario="concurrent-writes", hosts=4, params={"keys": "spread"}),
            "PostgreSQL, upsert, 100 keys with ledger, 4 hosts",
        ),
        (Cell(scenario="isolation", backend="sqlite-naive", strategy=""), "naive SQLite"),
        (Cell(scenario="throughput", mode="open", rate=250.0, params={"keys": "1000"}),
         "PostgreSQL, upsert, 1,000 keys, 250 requests/s"),
        (Cell(scenario="throughput", strategy="unsafe", params={"keys": "hot", "control": True}),
         "PostgreSQL, unsafe (negative control), 1 hot key"),
        (Cell(scenario="scaling", strategy="", hosts=1, params={"bound": "pool"}), "pool-bound, 1 host"),
        (Cell(scenario="deadlocks", params={"through": "service", "retry": True}), "through the service, with retry"),
        (Cell(scenario="sqlite-vs-postgres", clients=10, params={"load": "burst"}), "PostgreSQL, burst of 10 clients"),
        (Cell(scenario="bulk-insert", params={"rows": 1000}), "1,000 rows per request"),
        (Cell(scenario="long-transactions", params={"long": "same-row"}), "long transaction on the same row"),
        (Cell(scenario="faults", mode="open", params={"fault": "db-crash", "retries": 4}),
         "db-crash, upsert, with retries"),
        (Cell(scenario="faults"), "PostgreSQL, upsert, without a fault"),
    ],
)  # fmt: skip
def test_label(cell: Cell, label: str) -> None:
    assert SCENARIOS[cell.scenario].label(cell) == label
