"""Names under which trials of two runs are the same measurement."""

from __future__ import annotations

from typing import Any

import pytest

from harness.compare.cells import by_cell, comparable_name
from tests.support.comparisons import closed, read, run, trial


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({}, "throughput.postgres.upsert.h4.p5.c64"),
        ({"requests": 1000, "params": '{"keys": 100}'}, "throughput.postgres.upsert.h4.p5.c64.keys=100.n1000"),
        ({"mode": "open", "rate": 2000.0}, "throughput.postgres.upsert.h4.p5.r2000.c64"),
        ({"mode": "open", "rate": 2000.0, "clients": 8, "requests": 5}, "throughput.postgres.upsert.h4.p5.r2000.c8.n5"),
        ({"wanted_seconds": 0.5}, "throughput.postgres.upsert.h4.p5.c64.s0.5"),
        ({"wanted_seconds": "60.0"}, "throughput.postgres.upsert.h4.p5.c64.s60"),
        ({"wanted_seconds": 9, "requests": 5}, "throughput.postgres.upsert.h4.p5.c64.n5"),
        ({"requests": 1_000_001}, "throughput.postgres.upsert.h4.p5.c64.n1000001"),
    ],
)
def test_comparable_name_has_the_connections_and_the_size_of_a_trial(columns: dict[str, Any], name: str) -> None:
    assert comparable_name(read(trial(1, **{"requests": ""} | columns)).cell) == name


@pytest.mark.parametrize(("load", "rates"), [({}, 1), ({"mode": "open", "rate": 2000.0}, 0)])
def test_the_rate_of_an_open_load_is_not_compared(load: dict[str, Any], rates: int) -> None:
    (cell,) = by_cell(run([closed(1, **load)]), ("rps", "p50_ms")).values()
    assert (len(cell.values["rps"]), len(cell.values["p50_ms"])) == (rates, 1)


@pytest.mark.parametrize(
    ("load", "claimed"),
    [
        ({"requests": ""}, {"rps"}),
        ({"requests": 65}, {"rps"}),
        ({"requests": 64}, {"rps", "p50_ms"}),
        ({"mode": "open", "rate": 2000.0, "requests": ""}, {"p50_ms"}),
        ({"mode": "open", "rate": 9.0, "requests": "", "params": '{"rate_share": 0.7}'}, {"p50_ms"}),
    ],
)
def test_rates_of_closed_loads_and_latencies_that_omit_no_stalls_can_be_claimed(
    load: dict[str, Any], claimed: set[str]
) -> None:
    (cell,) = by_cell(run([trial(1, **load)]), ("rps", "p50_ms")).values()
    assert cell.claimed == claimed
    assert list(cell.offered) == ([9.0] if "params" in load else [])
