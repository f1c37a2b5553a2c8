"""Which findings take away the meaning of their cell's figures."""

from __future__ import annotations

import pytest

from harness.checks import names
from harness.checks.finding import discredits, finding
from harness.model import Cell, Verdict


@pytest.mark.parametrize(
    ("check", "verdict", "expected"),
    [
        (names.FINAL_VALUE, "fail", True),
        (names.COUNTS_AGREE, "fail", True),
        (names.POOL_LIMIT, "fail", True),
        (names.FINAL_VALUE, "unknown", False),
        (names.FINAL_VALUE, "pass", False),
        (names.SLO, "fail", False),
        (names.CAPACITY, "fail", False),
        (names.QUICK_IN_TIME, "fail", False),
        (names.SPEED_UP.format(8), "fail", False),
        (names.TIME_RATIO.format(5, 0.3, 1), "fail", False),
    ],
)
def test_a_failed_check_discredits_unless_it_is_about_speed(check: str, verdict: Verdict, expected: bool) -> None:
    assert discredits(finding(Cell(scenario="s"), check, verdict, "")) is expected
