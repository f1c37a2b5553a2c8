"""The table of claims, from the scenario's findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.model import Cell, Finding
from harness.report.page_model import Value
from harness.report.run_summary import summarise
from harness.report.section_input import SectionInput
from harness.report.sections.sqlite_vs_postgres import claims_tables
from harness.scenarios.sqlite_vs_postgres import ALL_ANSWERS
from tests.support.builders import Made, store

CELL = Cell(scenario="sqlite-vs-postgres", backend="sqlite-naive", hosts=4, clients=1000, requests=1000)


def claim(name: str, **numbers: object) -> Finding:
    return Finding(
        scenario="sqlite-vs-postgres", cell="c", check=f"claim: {name}", verdict="pass", detail="why", numbers=numbers
    )


def rows(tmp_path: Path, findings: Sequence[Finding]) -> Mapping[str, tuple[Value, ...]]:
    (summary,) = summarise(store(tmp_path, [Made(cell=CELL, ok=250, fail=750, errors={"SQLITE_BUSY": 750})])).scenarios
    source = SectionInput(summary=replace(summary, findings=tuple(findings)))
    return {row[0].text: row for table in claims_tables(source) for row in table.rows}


def test_claim_that_holds_and_claim_that_does_not(tmp_path: Path) -> None:
    common = {"unit": "%", "claimed": ["30 %", "100 %"], "change": "more than +200 %"}
    table_rows = rows(
        tmp_path,
        [
            claim("success rate", held=True, naive=25.0, tuned=99.5, postgres=100.0, **common),
            claim("throughput", held=False, naive=80.0, tuned=None, postgres=120.0, **common),
        ],
    )
    held, missed = table_rows["success rate"], table_rows["throughput"]
    assert [value.text for value in held] == [
        "success rate",
        "25.0 %",
        "99.5 %",
        "100 %",
        "+300 %",
        "30 % → 100 %",
        "holds",
    ]
    assert held[-1].mark == "pass"
    assert (missed[-1].text, missed[-1].mark, missed[2].text) == ("does not hold", "fail", "\N{EN DASH}")


def test_mean_of_all_answers_is_below_that_of_acknowledged_ones(tmp_path: Path) -> None:
    every = {ALL_ANSWERS: {"naive": 6.0, "tuned": None, "postgres": 60.0}}
    common = {"unit": "ms", "claimed": ["500 ms", "50 ms"], "change": "more than 80 % less"}
    made = claim(
        "mean response",
        of="acknowledged answers",
        held=True,
        naive=600.0,
        tuned=200.0,
        postgres=60.0,
        **common,
        **every,
    )
    name, naive, tuned, postgres, *_ = rows(tmp_path, [made])["mean response"]
    assert (name.note, naive.text, naive.note) == ("acknowledged answers", "600 ms", "all answers: 6.00 ms")
    assert (tuned.note, postgres.note) == ("", "all answers: 60.0 ms")


def test_claim_that_was_not_measured_is_unknown_with_the_reason(tmp_path: Path) -> None:
    answer = rows(tmp_path, [claim("throughput")])["throughput"][-1]
    assert (answer.text, answer.note, answer.mark) == ("unknown", "why", "unknown")


def test_no_table_without_findings_about_claims(tmp_path: Path) -> None:
    assert rows(tmp_path, []) == {}
