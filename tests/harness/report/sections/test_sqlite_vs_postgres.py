"""The original page's claims, as the scenario's findings tell of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.model import Cell, Finding
from harness.report.page_model import Value
from harness.report.sections.sqlite_vs_postgres import claims_tables
from harness.report.summary import summarise
from harness.scenarios.sqlite_vs_postgres import ALL_ANSWERS
from tests.support.builders import Made, store

CELL = Cell(scenario="sqlite-vs-postgres", backend="sqlite-naive", hosts=4, clients=1000, requests=1000)


def claim(name: str, **numbers: object) -> Finding:
    return Finding(
        scenario="sqlite-vs-postgres", cell="c", check=f"claim: {name}", verdict="pass", detail="why", numbers=numbers
    )


def rows(tmp_path: Path, findings: Sequence[Finding]) -> Mapping[str, tuple[Value, ...]]:
    (summary,) = summarise(store(tmp_path, [Made(cell=CELL, ok=250, fail=750, errors={"SQLITE_BUSY": 750})]))
    return {
        row[0].text: row for table in claims_tables(replace(summary, findings=tuple(findings))) for row in table.rows
    }


def test_a_claim_that_holds_and_one_that_does_not(tmp_path: Path) -> None:
    common = {"unit": "%", "claimed": ["30 %", "100 %"], "change": "more than +200 %"}
    found = rows(
        tmp_path,
        [
            claim("success rate", held=True, naive=25.0, tuned=99.5, postgres=100.0, **common),
            claim("throughput", held=False, naive=80.0, tuned=None, postgres=120.0, **common),
        ],
    )
    held, missed = found["success rate"], found["throughput"]
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


def test_the_mean_of_all_answers_stands_small_below_that_of_the_acknowledged(tmp_path: Path) -> None:
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


def test_a_claim_that_was_not_measured_or_is_in_doubt_is_unknown_and_says_why(tmp_path: Path) -> None:
    answer = rows(tmp_path, [claim("throughput")])["throughput"][-1]
    assert (answer.text, answer.note, answer.mark) == ("unknown", "why", "unknown")


def test_without_such_findings_there_is_no_table(tmp_path: Path) -> None:
    assert rows(tmp_path, []) == {}
