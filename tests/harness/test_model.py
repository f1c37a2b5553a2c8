"""The model: verdicts and cells."""

from __future__ import annotations

import pytest

from harness.model import Cell, verdict_from


@pytest.mark.parametrize(
    ("failed", "passed", "verdict"),
    [(True, True, "fail"), (True, False, "fail"), (False, True, "pass"), (False, False, "unknown")],
)
def test_a_fault_fails_and_no_measurement_is_unknown(failed: bool, passed: bool, verdict: str) -> None:
    assert verdict_from(failed=failed, passed=passed) == verdict


def test_params_of_the_app_hosts_are_read_through_properties() -> None:
    params = {"app_cpus": 1, "app_pool_min": 20, "app_pool_wait_seconds": 2, "rows": 10}
    cell = Cell(scenario="s", params=params)
    assert (cell.cpus_per_host, cell.pool_min) == (1.0, 20)
    assert cell.app_settings == {"POOL_WAIT_SECONDS": "2"}
    plain = Cell(scenario="s")
    assert (plain.cpus_per_host, plain.pool_min, plain.app_settings) == (None, None, {})


def test_with_pool_keeps_the_other_params() -> None:
    cell = Cell(scenario="s", pool=5, params={"rows": 10})
    assert cell.with_pool(6, None).params == {"rows": 10}
    resized = cell.with_pool(8, 4)
    assert (resized.pool, resized.params) == (8, {"rows": 10, "app_pool_min": 4})
