"""Sections of scenarios: strategies, isolation, SQLite, the generator; and the summary they are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from harness.isolation.case_model import LEVELS
from harness.isolation.cases import CASES
from harness.model import Cell
from harness.record import Evidence, SqliteEvidence
from harness.report.page import render
from harness.report.page_model import Fold, Prose, Section, Table, Value
from harness.report.run_summary import summarise
from harness.scenarios import SCENARIOS
from harness.store.run_reader import Run
from tests.support.builders import Made, concurrent, found, page_of, store

DASH = "\N{EN DASH}"


def only(run: Run) -> Section:
    (section,) = page_of(run).sections
    return section


def the_table(section: Section, caption: str) -> list[Mapping[str, Value]]:
    folded = [inner for block in section.blocks if isinstance(block, Fold) for inner in block.blocks]
    (table,) = [b for b in [*section.blocks, *folded] if isinstance(b, Table) and b.caption.startswith(caption)]
    return [dict(zip(table.head, row, strict=True)) for row in table.rows]


def test_medians_are_over_valid_trials_and_counts_over_all(tmp_path: Path) -> None:
    cell = concurrent()
    trials = [
        Made(cell=cell, number=n, seconds=s, valid=v, reason="" if v else "CPU")
        for n, s, v in ((1, 1.0, True), (2, 2.0, True), (3, 4.0, True), (4, 0.001, False))
    ]
    (summary,) = summarise(store(tmp_path, trials)).scenarios
    (one,) = summary.cells
    assert (one.trials, one.valid, one.sent, one.ok) == (4, 3, 4000.0, 4000.0)
    assert (one.medians["rps"], one.spans["rps"]) == (500.0, (250.0, 1000.0))
    assert one.reasons == ("CPU",)


def test_lost_updates_of_several_trials_are_a_lower_bound(tmp_path: Path) -> None:
    cell = concurrent()
    findings = [found(cell, "final value", "fail", "3 lost", lost=3)]
    for trials, text in ((1, "3"), (2, "≥ 3")):
        made = [Made(cell=cell, number=n, lost=3) for n in range(1, trials + 1)]
        (summary,) = summarise(store(tmp_path / str(trials), made, findings)).scenarios
        assert summary.cells[0].lost_text == text


def test_strategies_are_compared_by_load(tmp_path: Path) -> None:
    trials, findings = [], []
    for strategy, lost in (("upsert", 0), ("unsafe", 211)):
        for keys in ("1000", "hot"):
            cell = Cell(scenario="throughput", strategy=strategy, params={"keys": keys})
            trials.append(Made(cell=cell, ok=200, lost=lost, figures={"retries": 0.25, "transactions": 1.0}))
            findings.append(found(cell, "final value", "fail" if lost else "pass", "detail", lost=lost))
    rows = the_table(only(store(tmp_path, trials, findings, verdict="fail")), "Strategies side by side")
    assert [(row["strategy"].text, row["cell"].text) for row in rows] == [
        ("upsert", "1 hot key"), ("unsafe", "1 hot key"), ("upsert", "1,000 keys"), ("unsafe", "1,000 keys"),
    ]  # fmt: skip
    assert [row["lost updates"] for row in rows[:2]] == [Value("0"), Value("211", mark="fail")]
    assert (rows[0]["retries per commit"].text, rows[0]["transactions per request"].text) == ("0.250", "1.00")


def test_lost_updates_of_the_negative_control_are_in_the_table(tmp_path: Path) -> None:
    cells = [Cell(scenario="throughput", strategy=strategy) for strategy in ("upsert", "unsafe")]
    control = found(cells[1], "negative control", detail="unsafe lost 211 updates", lost=211)
    rows = the_table(only(store(tmp_path, [Made(cell=cell) for cell in cells], [control])), "Strategies side by side")
    assert [row["lost updates"].text for row in rows] == [DASH, "211"]


def test_numbers_of_a_check_have_a_table(tmp_path: Path) -> None:
    cells = [Cell(scenario="bulk-insert", strategy="", params={"rows": rows}) for rows in (10, 1)]
    findings = [
        found(cell, "all or nothing", rows_per_s=rate) for cell, rate in zip(cells, (5000.0, None), strict=True)
    ]
    rows = the_table(only(store(tmp_path, [Made(cell=cell, ok=9) for cell in cells], findings)), "Rows per second")
    assert [(row["cell"].text, row["rows/s"].text) for row in rows] == [
        ("1 row per request", DASH), ("10 rows per request", "5,000"),
    ]  # fmt: skip


def test_one_strategy_has_no_table_of_strategies(tmp_path: Path) -> None:
    section = only(store(tmp_path, [Made(cell=concurrent(), ok=50)]))
    assert not [b for b in section.blocks if isinstance(b, Table) and b.caption.startswith("Strategies")]


def test_sqlite_errors_are_explained_with_the_figures_of_the_run(tmp_path: Path) -> None:
    naive = Made(
        cell=concurrent(backend="sqlite-naive"),
        ok=310,
        fail=680,
        unknown=10,
        errors={"SQLITE_BUSY": 680, "timeout": 10},
    )
    section = only(store(tmp_path, [naive, Made(cell=concurrent())]))
    (prose,) = [b for b in section.blocks if isinstance(b, Prose)]
    shown = " ".join(prose.paragraphs)
    assert "SQLITE_BUSY is SQLite's answer" in shown
    assert "Naive SQLite: 310 of 1,000 acknowledged (31.0 %), 680 x SQLITE_BUSY, 10 x timeout, p99" in shown
    rows = the_table(section, "Requests that were not acknowledged")
    assert [(row["error"].text, row["requests"].text) for row in rows] == [("SQLITE_BUSY", "680"), ("timeout", "10")]


def test_run_without_sqlite_does_not_explain_it(tmp_path: Path) -> None:
    assert not [b for b in only(store(tmp_path, [Made(cell=concurrent(), ok=50)])).blocks if isinstance(b, Prose)]


def test_sqlite_is_explained_once_and_linked_from_other_sections(tmp_path: Path) -> None:
    other = Cell(scenario="sqlite-vs-postgres", backend="sqlite-naive", params={"load": "steady"})
    pragmas = {"journal_mode": "delete", "synchronous": 2, "busy_timeout": 0, "begin": "BEGIN DEFERRED"}
    read = Evidence(sqlite=SqliteEvidence(pragmas=pragmas))
    trials = [
        Made(
            cell=concurrent("hot", backend="sqlite-naive"), ok=50, fail=950, errors={"SQLITE_BUSY": 950}, evidence=read
        ),
        Made(cell=concurrent("spread", backend="sqlite-naive"), ok=60, fail=940, errors={"SQLITE_BUSY": 940}),
        Made(cell=other, ok=200),
        Made(cell=replace(other, clients=10), ok=40, fail=160, errors={"SQLITE_BUSY": 160}),
    ]
    first, second = page_of(store(tmp_path, trials)).sections
    (short,) = [block for block in first.blocks if isinstance(block, Prose)]
    (whole,) = [block for block in second.blocks if isinstance(block, Prose)]
    assert [anchor for anchor, _ in short.see] == [whole.anchor, "outcome"]
    (shown,) = short.paragraphs
    read_back = "journal_mode delete, synchronous FULL, busy_timeout 0 ms, BEGIN DEFERRED"
    assert shown.startswith(f"Naive SQLite (read back: {read_back}): 1 hot key: 50 of 1,000 acknowledged (5.00 %)")
    assert shown.endswith("On one key 5.00 % were acknowledged, on many 6.00 %: SQLite locks the file, not the row.")
    assert whole.paragraphs[-1].endswith("With 1 client every write was acknowledged, with 10 not.")


def test_first_pass_of_a_check_is_listed_and_the_others_are_folded(tmp_path: Path) -> None:
    cells = [concurrent("hot"), concurrent("spread")]
    bad = [found(cell, "spread", "fail", "uneven") for cell in cells]
    findings = [*(found(cell, "final value", detail=cell.name) for cell in cells), *bad]
    section = only(store(tmp_path, [Made(cell=cell) for cell in cells], findings, verdict="fail"))
    assert [(line.verdict, line.check, line.about) for line in section.findings] == [
        ("fail", "spread", "1 hot key"), ("fail", "spread", "100 keys with ledger"),
        ("pass", "final value", "1 hot key; the first of 2 that pass"),
    ]  # fmt: skip
    assert [(line.check, line.about, line.detail) for line in section.more] == [
        ("final value", "100 keys with ledger", cells[1].name)
    ]


def test_answer_names_the_findings_that_decide(tmp_path: Path) -> None:
    cells = [Cell(scenario="scaling", hosts=n) for n in (1, 2)]
    findings = [*(found(cell, "spread") for cell in cells), found(cells[1], "speed-up 2 hosts", detail="1.9x")]
    assert only(store(tmp_path, [Made(cell=c) for c in cells], findings)).answer == (
        "All 3 checks pass; speed-up 2 hosts: 1.9x."
    )
    claims = [found(cells[0], f"claim: {name}", held=held) for name, held in (("rate", True), ("errors", False))]
    assert only(store(tmp_path, [Made(cell=c) for c in cells], claims)).answer == (
        "All 2 checks pass; 1 of 2 claims hold (errors does not)."
    )


def isolation(tmp_path: Path, result: Mapping[str, Any]) -> Run:
    cell = Cell(scenario="isolation")
    return store(
        tmp_path, [Made(cell=cell, driven=False, evidence=Evidence(workload_result=result))], [found(cell, "a check")]
    )


def test_isolation_has_a_table_per_level(tmp_path: Path) -> None:
    result = {
        "what": "isolation", "backend": "postgres", "version": "PostgreSQL 15.13 on x86_64", "cases": list(CASES),
        "levels": list(LEVELS), "cells": [],
    }  # fmt: skip
    section = only(isolation(tmp_path, json.loads(json.dumps(result))))
    for level in LEVELS:
        rows = the_table(section, f"{level}: PostgreSQL 15.13")
        assert len(rows) == len(CASES)
        assert {"standard", "documented", "observed"} < rows[0].keys()
        assert {row["observed"].text for row in rows} == {"unknown"}  # no transcript: nothing was seen
        assert {row["verdict"].mark for row in rows} == {"unknown"}
    lost = next(r for r in the_table(section, "READ COMMITTED") if r["anomaly"].text.startswith("P4"))
    assert (lost["standard"].text, lost["documented"].text) == ("may occur*", "may occur")
    assert lost["anomaly"] == Value("P4 (lost update)", CASES["P4"].meaning)


@pytest.mark.parametrize("name", ["isolation", "deadlocks", "long-transactions"])
def test_background_is_below_the_answer(name: str, tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=Cell(scenario=name, strategy=""), ok=50)], [found(name, "a check")])
    background = SCENARIOS[name].background
    assert background
    assert only(run).background == background
    assert f"<p>{escape(background)}</p>" in render(page_of(run))
    assert only(store(tmp_path / "other", [Made(cell=Cell(scenario="unknown"))])).background == ""


@pytest.mark.parametrize("result", [{"what": "isolation"}, {"what": "else"}, [1], None, "x"])
def test_result_that_is_not_of_isolation_does_not_stop_the_page(tmp_path: Path, result: Any) -> None:
    page = page_of(isolation(tmp_path, result))
    assert page.sections[0].findings[0].check == "a check"
    assert bool(page.damage) == (result not in ({"what": "else"}, None))


def test_trial_without_load_has_no_table_of_figures(tmp_path: Path) -> None:
    page = page_of(isolation(tmp_path, None))
    assert not page.sections[0].blocks
    assert [block.caption for block in page.validity if isinstance(block, Table)] == [
        "Invalid trials: none of 1", "Noise floor of this rig: not measured",
    ]  # fmt: skip


def the_generator(run: Run) -> Table:
    (fold,) = [block for block in page_of(run).validity if isinstance(block, Fold)]
    (table,) = [block for block in fold.blocks if isinstance(block, Table)]
    return table


def test_littles_law_is_beside_the_observed_number(tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=concurrent(), ok=1000, seconds=2.0, median_ms=100)])
    generator = the_generator(run)
    row = dict(zip(generator.head, generator.rows[0], strict=True))
    mean_ms = run.rows[0].figure("mean_ms")
    assert mean_ms is not None
    assert float(row["by Little's law"].text) == pytest.approx(1000 / 2.0 * mean_ms / 1e3, rel=0.01)
    assert (row["in flight, mean"].text, row["CPU, busiest process"].text) == ("61.0", "31.0 %")
    assert row["achieved / offered"].text == DASH


def test_littles_law_uses_the_stored_time_in_flight(tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=concurrent(), seconds=2.0)])
    file = run.path / "samples" / "001-main.summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"busy_us": 90_000_000}))
    generator = the_generator(run)
    assert dict(zip(generator.head, generator.rows[0], strict=True))["by Little's law"].text == "45.0"


def test_open_load_shows_the_achieved_share(tmp_path: Path) -> None:
    cell = Cell(scenario="throughput", mode="open", rate=1250.0, seconds=1.0)
    run = store(tmp_path, [Made(cell=cell, ok=1250, seconds=1.0)])
    file = run.path / "samples" / "001-main.summary.json"
    shown = []
    for sent_us in (1_250_000, "never", 999_000):  # the last of them was due after a second: all were sent in the end
        times = {"mode": "open", "measure_from_us": 0, "last_due_us": 1_000_000, "last_sent_us": sent_us}
        file.write_text(json.dumps(json.loads(file.read_text()) | times))
        generator = the_generator(run)
        shown.append(dict(zip(generator.head, generator.rows[0], strict=True))["achieved / offered"].text)
    assert shown == ["80.0 %", DASH, "100 %"]


def test_service_time_is_beside_the_latency_of_open_cells_only(tmp_path: Path) -> None:
    naive = {"p99_ms": 1380.0, "service_p99_ms": 1.5}
    closed = Cell(scenario="throughput", clients=64)
    (row,) = the_table(
        only(store(tmp_path / "open", [Made(cell=replace(closed, mode="open", rate=2000.0), figures=naive)])),
        "Results by cell",
    )
    assert (row["p99, ms"].text, row["service time p99, ms"].text) == ("1,380", "1.50")
    (row,) = the_table(only(store(tmp_path / "closed", [Made(cell=closed, figures=naive)])), "Results by cell")
    assert "service time p99, ms" not in row
