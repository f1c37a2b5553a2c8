"""The headline of a run, by verdict and status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.model import Cell
from harness.report.run_summary import Headline, summarise
from tests.support.builders import Made, concurrent, found, passing, quickstart, store

CELL = Cell(scenario="throughput")


@pytest.mark.parametrize(
    ("verdict", "findings", "sentence"),
    [
        ("pass", [found(CELL, "spread")], "the check passes"),
        ("fail", [found(CELL, "spread", "fail", "uneven; more")], "1 of 1 check fails; throughput, spread: uneven"),
        ("fail", [found(CELL, "spread")], "no finding gives the reason"),
        (
            "unknown",
            [found(CELL, "a", "unknown", "why"), found(CELL, "b", "unknown")],
            "2 of 2 checks could not be answered; first: throughput, a: why",
        ),
        (
            "fail",
            [found(CELL, "a", "fail", "why"), found("faults", "b", "fail")],
            "2 of 2 checks fail (throughput, faults); first: throughput, a: why",
        ),
        (
            "fail",
            [found(f"s{number}", "a", "fail", "why") for number in range(5)],
            "5 of 5 checks fail in 5 scenarios; first: s0, a: why",
        ),
        ("unknown", [], "no check was made"),
        ("invalid", [found(CELL, "spread")], "1 of 2 trials is invalid; no claim is based on it; first: CPU 97 %"),
    ],
)
def test_headline_has_the_verdict_and_its_first_reason(
    tmp_path: Path, verdict: Any, findings: Any, sentence: str
) -> None:
    trials = [Made(cell=CELL), Made(cell=CELL, number=2, valid=False, reason="CPU 97 %")]
    summary = summarise(store(tmp_path, trials, findings, verdict=verdict))
    assert summary.headline == Headline(verdict=verdict, word=verdict.upper(), sentence=sentence)


def test_headline_of_a_run_that_did_not_finish(tmp_path: Path) -> None:
    run = store(tmp_path / "a", [Made(cell=CELL)], status="aborted", warnings=["aborted: disk full"])
    assert summarise(run).headline.sentence == "disk full; 1 trial and 0 findings are kept"
    unfinished = summarise(store(tmp_path / "b", [Made(cell=CELL)], status="sampled")).headline
    assert (unfinished.verdict, unfinished.word) == ("unknown", "UNFINISHED")


def test_headline_names_the_kept_writes_and_the_number_of_scenarios(tmp_path: Path) -> None:
    assert summarise(quickstart(tmp_path / "a")).headline.sentence.startswith("2,000 of 2,000 concurrent writes")
    findings = [*passing(concurrent()), found(CELL, "spread")]
    run = store(tmp_path / "b", [Made(cell=concurrent()), Made(cell=CELL)], findings)
    assert summarise(run).headline.sentence.endswith("none lost; all 7 checks pass in 2 scenarios")


@pytest.mark.parametrize(("check", "verdict"), [("SLO", "slower"), ("final value", "invalid")])
def test_a_strategy_that_is_too_slow_is_compared_and_one_that_is_wrong_is_not(
    tmp_path: Path, check: str, verdict: str
) -> None:
    cells = [Cell(scenario="throughput", strategy=name, params={"keys": "hot"}) for name in ("for-update", "upsert")]
    made = [
        Made(cell=cell, number=number, figures={"rps": rate + number})
        for number in range(1, 10)
        for cell, rate in zip(cells, (3000.0, 2000.0), strict=True)
    ]
    run = store(tmp_path, made, [found(cells[1], check, "fail")], verdict="fail")
    (row,) = [row for row in summarise(run).within.rows if row.verdict != "shown"]
    assert row.verdict == verdict


def test_summary_has_scenarios_and_answers(tmp_path: Path) -> None:
    summary = summarise(quickstart(tmp_path))
    assert [scenario.name for scenario in summary.scenarios] == ["concurrent-writes"]
    assert len(summary.answers) == 5
