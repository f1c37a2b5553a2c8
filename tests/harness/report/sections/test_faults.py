"""The faults on the page: what each cost, its course, and the story of a request that went wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.fault_timeline import steps
from harness.checks import names
from harness.checks.faults import check_faults
from harness.fault_record import FaultRecord
from harness.model import Cell, Finding
from harness.record import Evidence
from harness.report.charts.drawing import svg
from harness.report.charts.faults import over_time, story
from harness.report.fault_views import MOST_STORIES, fault_view
from harness.report.formatting import NOTHING
from harness.report.page import render
from harness.report.page_model import Fold
from harness.report.run_summary import summarise
from harness.report.sections.faults import fault_headline
from tests.support.builders import Made, store
from tests.support.fault_trials import FaultTrial, cell, planned, record, trial
from tests.support.pages import blocks_of, only_section, page_of, rows_of

CAPTION = "What each fault cost"


def made(of: Cell, faults: tuple[FaultRecord, ...]) -> Made:
    return Made(cell=of, ok=400, evidence=Evidence(faults=faults, ledger={}))


def findings(of: Cell, doctored: FaultTrial, faults: tuple[FaultRecord, ...]) -> list[Finding]:
    doctored.more = {"faults": faults}
    schedule = [planned(each.planned.fault) for each in faults]
    return check_faults(of, doctored.samples, doctored.evidence, schedule, timeout_s=30.0)  # type: ignore[arg-type]


def run_of(root: Path, **doctored: FaultTrial) -> Any:
    trials, found = [], []
    for name, one in doctored.items():
        fault = name.replace("_", "-")
        faults = (record(fault),)
        trials.append(made(cell(fault), faults))
        found += findings(cell(fault), one, faults)
    return store(root, trials, found)


def test_the_table_has_a_row_for_each_fault(tmp_path: Path) -> None:
    run = run_of(tmp_path, db_crash=trial("db-crash", out=(4.0, 6.5)), app_kill=trial("app-kill"))
    rows = {row["fault"].text.split(",")[0]: row for row in rows_of(only_section(run), CAPTION)}
    assert set(rows) == {"db-crash", "app-kill"}
    assert rows["db-crash"]["longest without a success, s"].text == "2.51"
    assert rows["app-kill"]["longest without a success, s"].text == "0.0100"
    assert rows["db-crash"]["acknowledged"].text == "1,600"
    assert rows["db-crash"]["lost"].text == "0"
    assert "pid 812 became 944" in rows["db-crash"]["fault"].note


def test_a_lost_write_is_marked(tmp_path: Path) -> None:
    doctored = trial("db-crash")
    del doctored.ledger[doctored.at(5)]
    row = rows_of(only_section(run_of(tmp_path, db_crash=doctored)), CAPTION)[0]
    assert (row["lost"].text, row["lost"].mark) == ("1", "fail")
    assert (row["doubled"].text, row["doubled"].mark) == ("0", "")


def test_each_fault_has_its_course_and_the_worst_comes_first(tmp_path: Path) -> None:
    run = run_of(tmp_path, app_kill=trial("app-kill"), db_crash=trial("db-crash", out=(4.0, 6.5)))
    blocks = blocks_of(only_section(run))
    first = next(block for block in blocks if type(block).__name__ == "Picture")
    assert "db-crash" in first.alt
    assert "db-crash: 2.5 s without a success" in first.alt
    fold = next(block for block in blocks if isinstance(block, Fold) and "faults over time" in block.title)
    assert len(fold.blocks) == 2
    assert "db-crash: 2.5 s without a success" in render(page_of(run))


def test_an_outage_that_the_load_did_not_outlast_is_a_lower_bound(tmp_path: Path) -> None:
    run = run_of(tmp_path, app_kill=trial("app-kill"), db_crash=trial("db-crash", out=(4.0, 99.0)))
    section, page = only_section(run), page_of(run)
    rows = {row["fault"].text: row["longest without a success, s"].text for row in rows_of(section, CAPTION)}
    assert rows["db-crash"].startswith("≥ ")
    assert not rows["app-kill"].startswith("≥ ")
    assert section.picture is not None
    assert section.picture.title.startswith("db-crash: no success in the last ")
    (tile,) = [tile for tile in page.tiles if tile.label == "Longest outage"]
    assert tile.value.startswith("≥ ")
    assert tile.note == "without a success, db-crash, not back when the load ended"
    (figures,) = [line for line in section.findings if line.check == "availability" and "db-crash" in line.about]
    assert "s or more: it had not ended with the load" in figures.detail


def test_the_headline_counts_acknowledged_writes_and_faults(tmp_path: Path) -> None:
    run = run_of(tmp_path, app_kill=trial("app-kill"), db_crash=trial("db-crash", out=(4.0, 6.5)))
    summary = summarise(run).scenarios[0]
    assert fault_headline(summary) == (
        "0 of 3,200 acknowledged writes lost under 2 faults, at most 2.5 s without a success"
    )


def test_there_is_no_headline_where_something_failed(tmp_path: Path) -> None:
    doctored = trial("db-crash")
    del doctored.ledger[doctored.at(5)]
    assert fault_headline(summarise(run_of(tmp_path, db_crash=doctored)).scenarios[0]) == ""


def test_an_account_that_is_unknown_is_no_headline_and_no_zero(tmp_path: Path) -> None:
    faults = (record("db-crash"),)
    found = [
        replace(one, verdict="unknown") if one.check == names.NOTHING_LOST else one
        for one in findings(cell("db-crash"), trial("db-crash"), faults)
    ]
    run = store(tmp_path, [made(cell("db-crash"), faults)], found)
    assert fault_headline(summarise(run).scenarios[0]) == ""
    (row,) = rows_of(only_section(run), CAPTION)
    assert (row["lost"].text, row["doubled"].text) == (NOTHING, NOTHING)


def test_wrong_requests_have_stories(tmp_path: Path) -> None:
    doctored = trial("db-crash")
    lost = [doctored.at(row) for row in range(5, 5 + MOST_STORIES + 2)]
    for ident in lost:
        del doctored.ledger[ident]
    doctored.more = {"faults": (record("db-crash"),)}
    view = fault_view(doctored.samples, doctored.evidence)  # type: ignore[arg-type]
    assert [one.ident for one in view.stories] == lost[:MOST_STORIES]
    assert {one.kind for one in view.stories} == {"acknowledged, and not in the database"}
    assert view.stories[0].events[-1].what == "the ledger does not have it"


def test_a_trial_without_faults_has_no_view() -> None:
    assert fault_view(trial("x").samples, Evidence()).steps == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("bands", [[], [{"fault": "db-crash", "from_s": 4.0, "to_s": 7.0}]])
def test_the_course_is_drawn_with_and_without_bands(bands: list[dict[str, object]]) -> None:
    rows = [
        {"at_s": one.at_s, "ok": one.ok, "fail": one.fail, "unknown": one.unknown, "p50_ms": one.p50_ms, "max_ms": None}
        for one in steps(trial("db-crash", out=(4.0, 6.5)).samples)  # type: ignore[arg-type]
    ]
    drawn = svg(over_time(rows, bands, title="A title"))
    assert ("db-crash" in drawn) == bool(bands)
    assert "No data: no request was sent" in svg(over_time([], bands, title="A title"))
    assert "seconds since the load began" in drawn
    assert ">median<" in drawn
    assert ">longest<" not in drawn, "no line, no legend"


def test_a_story_is_drawn_with_long_and_hostile_lines() -> None:
    events = [{"at_ms": 1.0, "where": "client", "what": "<script>" + "x" * 500}]
    drawn = svg(story(events, title="A request"))
    assert "<script" not in drawn
    assert "x" * 100 not in drawn
    assert "nothing was recorded about it" in svg(story([], title="A request"))
