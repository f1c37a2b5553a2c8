"""The answers of cards: each has its number, and what is not held never stands beside a green tick."""

from __future__ import annotations

from pathlib import Path

from harness.checks import names
from harness.model import Cell
from harness.report.page import render
from tests.support.builders import Made, concurrent, found, passing, store
from tests.support.pages import only_section, page_of
from tests.support.suite import suite

BURST = Cell(scenario="sqlite-vs-postgres", clients=1000, requests=1000, params={"load": "burst"})
NAIVE = Cell(
    scenario="sqlite-vs-postgres", backend="sqlite-naive", clients=1000, requests=1000, params={"load": "burst"}
)


def test_a_claim_that_does_not_hold_is_never_beside_a_green_tick(tmp_path: Path) -> None:
    claims = [
        found(BURST, f"claim: {name}", "shown", "text", held=held, claimed=["30 %", "100 %"], unit="%", change="+233 %")
        for name, held in (("success rate", True), ("throughput", False))
    ]
    findings = [found(BURST, "final value", lost=0), *claims]
    run = store(tmp_path, [Made(cell=BURST), Made(cell=NAIVE, ok=80, fail=920, errors={"SQLITE_BUSY": 920})], findings)
    section = only_section(run)
    assert (section.verdict, section.checks_open) == ("not held", True)
    assert section.checks == "1 check passes, 1 claim does not hold, 2 figures reported"
    assert [line.verdict for line in section.findings] == ["not held", "pass", "shown"]
    assert section.answer == (
        "Of 1,000 writes at once were acknowledged: PostgreSQL 100 %, naive SQLite 8.00 %. "
        "Naive SQLite failed with 920 x SQLITE_BUSY: one writer locks the file. "
        "1 of 2 published claims hold; not held: throughput."
    )
    assert 'not-held"><span aria-hidden="true">≠</span>' in render(page_of(run))


def test_what_fails_is_the_answer_and_its_checks_are_open(tmp_path: Path) -> None:
    cell = concurrent()
    findings = [*passing(cell)[1:], found(cell, names.ACKNOWLEDGED, "fail", "990 of 1,000 acknowledged (99.0 %)")]
    section = only_section(store(tmp_path, [Made(cell=cell)], findings, verdict="fail"))
    assert section.answer == "acknowledged: 990 of 1,000 acknowledged (99.0 %)."
    assert section.checks_open
    assert section.checks == "1 of 6 checks fails"


def test_checks_that_pass_are_folded(tmp_path: Path) -> None:
    cell = concurrent()
    section = only_section(store(tmp_path, [Made(cell=cell)], passing(cell)))
    assert (section.checks, section.checks_open) == ("6 checks pass", False)
    assert section.answer == (
        "1,000 of 1,000 concurrent writes acknowledged over 4 app hosts, none lost. Each value was returned once, in "
        "real-time order."
    )


def test_every_card_of_a_suite_has_an_answer_and_no_name_of_a_cell(tmp_path: Path) -> None:
    page = page_of(suite(tmp_path))
    for section in page.sections:
        assert section.answer, section.name
        for text in (section.answer, section.common, section.picture.title if section.picture else ""):
            assert ".postgres." not in text
            assert "`" not in text
    assert {"scaling", "throughput", "sqlite-vs-postgres"} <= {s.name for s in page.sections if s.picture}


def test_rows_per_second_are_answered_by_the_fastest_batch(tmp_path: Path) -> None:
    cells = [Cell(scenario="bulk-insert", params={"rows": rows}) for rows in (1, 10000)]
    findings = [
        found(cell, names.ALL_OR_NOTHING, detail="100 requests left 100 rows", rows_per_s=rate)
        for cell, rate in zip(cells, (121.6, 26648.0), strict=True)
    ]
    run = store(tmp_path, [Made(cell=cell) for cell in cells], findings)
    assert only_section(run).answer == (
        "Most rows per second: 26,600 with 10,000 rows per request, 122 with 1 row per request. Each request left all "
        "its rows or none."
    )


def test_connections_are_answered_below_and_beyond_the_limit(tmp_path: Path) -> None:
    below, beyond = (Cell(scenario="connections", params={"load": load}) for load in ("open", "past-limit"))
    findings = [
        found(below, names.CONCURRENT_REQUESTS, detail="150 requests were in flight at the same time"),
        found(below, names.ACKNOWLEDGED, detail="1,239 of 1,239 acknowledged (100 %)"),
        found(beyond, names.CLEAN_REFUSAL, detail="442 requests were rejected and not applied: 27 x 53300"),
        found(beyond, names.RECOVERY, detail="160 of 160 increments due 3 s after the pressure were served"),
    ]
    assert only_section(store(tmp_path, [Made(cell=cell) for cell in (below, beyond)], findings)).answer == (
        "150 requests were in flight at the same time: 1,239 of 1,239 acknowledged (100 %). Beyond max_connections "
        "442 requests were rejected and not applied; 160 of 160 increments due 3 s after the pressure were served."
    )


def test_faults_are_answered_by_what_was_lost(tmp_path: Path) -> None:
    fault = Cell(scenario="faults", mode="open", rate=90.0, params={"fault": "db-crash"})
    findings = [
        found(fault, names.NOTHING_LOST, faults=1, acknowledged=1600),
        found(fault, names.AVAILABILITY, "shown", faults=1, gap_s=2.5),
    ]
    assert only_section(store(tmp_path, [Made(cell=fault)], findings)).answer == (
        "0 of 1,600 acknowledged writes lost under 1 fault, at most 2.5 s without a success."
    )
