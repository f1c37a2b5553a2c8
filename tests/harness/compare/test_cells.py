"""Names under which trials of two runs are the same measurement."""

from __future__ import annotations

from typing import Any

import pytest

from harness.compare.cells import comparable_name
from tests.harness.compare.test_compare import read, trial


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({}, "throughput.postgres.upsert.h4.p5.c64"),
        ({"requests": 1000, "params": '{"keys": 100}'}, "throughput.postgres.upsert.h4.p5.c64.keys=100.n1000"),
        ({"mode": "open", "rate": 2000.0}, "throughput.postgres.upsert.h4.p5.r2000"),
        ({"wanted_seconds": 0.5}, "throughput.postgres.upsert.h4.p5.c64.s0.5"),
        ({"wanted_seconds": "60.0"}, "throughput.postgres.upsert.h4.p5.c64.s60"),
        ({"wanted_seconds": 9, "requests": 5}, "throughput.postgres.upsert.h4.p5.c64.n5"),
        ({"requests": 1_000_001}, "throughput.postgres.upsert.h4.p5.c64.n1000001"),
    ],
)
def test_comparable_name_is_the_cells_name_and_the_size_of_a_trial(columns: dict[str, Any], name: str) -> None:
    assert comparable_name(read(trial(1, **columns)).cell) == name
