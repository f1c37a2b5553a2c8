"""The extras of scenarios: each belongs to a scenario that exists; the sentence of the headline."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.report.run_summary import summarise
from harness.report.scenario_answers import kept_writes
from harness.report.scenario_extras import SCENARIO_EXTRAS, extras_of
from harness.scenarios import SCENARIOS
from tests.support.builders import Made, concurrent, found, quickstart, store


def test_every_look_belongs_to_a_scenario() -> None:
    assert SCENARIO_EXTRAS.keys() <= SCENARIOS.keys()
    assert [name for name, extras in SCENARIO_EXTRAS.items() if extras.explains_sqlite] == ["sqlite-vs-postgres"]


def test_scenario_without_a_look_has_nothing_of_its_own(tmp_path: Path) -> None:
    (scenario,) = summarise(quickstart(tmp_path)).scenarios
    assert extras_of("unknown").headline(scenario) == ""
    assert not extras_of("unknown").counts_by_key


def test_kept_writes_sums_the_cells_on_postgresql(tmp_path: Path) -> None:
    cells = [concurrent("hot"), concurrent("spread", hosts=2), concurrent(backend="sqlite-naive")]
    findings = [found(cell, "final value", lost=0) for cell in cells]
    (scenario,) = summarise(store(tmp_path, [Made(cell=cell) for cell in cells], findings)).scenarios
    assert kept_writes(scenario) == (
        "2,000 of 2,000 concurrent writes acknowledged over 2 to 4 app hosts in 2 trials of 1,000 at once, none lost"
    )


@pytest.mark.parametrize("lost", [None, 1])
def test_kept_writes_needs_a_finding_that_none_was_lost(tmp_path: Path, lost: int | None) -> None:
    cell = concurrent()
    (scenario,) = summarise(store(tmp_path, [Made(cell=cell)], [found(cell, "final value", lost=lost)])).scenarios
    assert kept_writes(scenario) == ""
