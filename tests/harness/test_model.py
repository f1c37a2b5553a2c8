"""The model: verdicts and cells."""

from __future__ import annotations

import pytest

from harness.model import verdict_from


@pytest.mark.parametrize(
    ("failed", "passed", "verdict"),
    [(True, True, "fail"), (True, False, "fail"), (False, True, "pass"), (False, False, "unknown")],
)
def test_a_fault_fails_and_no_measurement_is_unknown(failed: bool, passed: bool, verdict: str) -> None:
    assert verdict_from(failed=failed, passed=passed) == verdict
