"""The finding about the slowest requests: shown where sessions were sampled, never a check that passes or fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checks import names
from harness.checks.evaluate import evaluate, slowest_requests
from harness.model import Cell, Trial
from harness.record import Evidence, TrialRecord, TrialResult
from harness.scenarios import SCENARIOS
from tests.support.slow_requests import samples, waits

CELL = Cell(scenario="throughput", params={"keys": "hot"})
TRIAL = Trial(cell=CELL, number=1, order=1, seed=1)
SQLITE = replace(TRIAL, cell=replace(CELL, backend="sqlite-tuned"))


def record(**changes: Any) -> TrialRecord:
    of = samples(held_ms=80)
    row = TrialResult(trial=TRIAL, figures={})
    whole = TrialRecord(row=row, lanes={"main": of}, evidence=Evidence(), waits=waits(of, "Lock:tuple"), saturated=())
    return replace(whole, **changes)


def test_the_cause_is_shown_with_its_share() -> None:
    (found,) = slowest_requests(record())
    assert (found.check, found.verdict) == (names.SLOWEST, "shown")
    assert "row lock 99%" in found.detail
    assert found.numbers["shares"]["row lock"] > 0.9


def test_it_is_among_the_findings_of_the_run() -> None:
    found = evaluate(SCENARIOS, [record()])
    assert [one.verdict for one in found if one.check == names.SLOWEST] == ["shown"]


@pytest.mark.parametrize(
    "changes",
    [
        {"waits": None},
        {"lanes": {}},
        {"row": TrialResult(trial=SQLITE, figures={})},
        {"row": TrialResult(trial=TRIAL, validity="timing_doubtful", figures={})},
    ],
)
def test_nothing_is_shown_without_samples_or_valid_times(changes: dict[str, Any]) -> None:
    assert slowest_requests(record(**changes)) == []


def test_damaged_columns_are_unknown_and_name_the_reason() -> None:
    of = samples(held_ms=80)
    damaged = replace(of, captured={name: column[:5] for name, column in of.captured.items()})
    (found,) = slowest_requests(record(lanes={"main": damaged}))
    assert found.verdict == "unknown"
