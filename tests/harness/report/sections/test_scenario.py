"""Sections of scenarios: cells, strategies, findings, SQLite."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import escape

from harness.checks import names
from harness.model import Cell
from harness.record import Evidence, SqliteEvidence
from harness.report.page import render
from harness.report.page_model import Fold, Prose, Table, Value
from harness.scenarios import SCENARIOS
from tests.support.builders import Made, concurrent, found, store
from tests.support.pages import blocks_of, only_section, page_of, rows_of

DASH = "\N{EN DASH}"


def test_strategies_are_compared_by_load(tmp_path: Path) -> None:
    trials, findings = [], []
    for strategy, lost in (("upsert", 0), ("unsafe", 211)):
        for keys in ("1000", "hot"):
            cell = Cell(scenario="throughput", strategy=strategy, params={"keys": keys})
            trials.append(Made(cell=cell, ok=200, lost=lost, figures={"retries": 0.25, "transactions": 1.0}))
            findings.append(found(cell, "final value", "fail" if lost else "pass", "detail", lost=lost))
    rows = rows_of(only_section(store(tmp_path, trials, findings, verdict="fail")), "Strategies side by side")
    assert [(row["strategy"].text, row["cell"].text) for row in rows] == [
        ("upsert", "1 hot key"), ("unsafe", "1 hot key"), ("upsert", "1,000 keys"), ("unsafe", "1,000 keys"),
    ]  # fmt: skip
    assert [row["lost updates"] for row in rows[:2]] == [Value("0"), Value("211", mark="fail")]
    assert (rows[0]["retries per commit"].text, rows[0]["transactions per request"].text) == ("0.250", "1.00")


def test_lost_updates_of_the_negative_control_are_in_the_table(tmp_path: Path) -> None:
    cells = [Cell(scenario="throughput", strategy=strategy) for strategy in ("upsert", "unsafe")]
    control = found(cells[1], "negative control", detail="unsafe lost 211 updates", lost=211)
    rows = rows_of(
        only_section(store(tmp_path, [Made(cell=cell) for cell in cells], [control])), "Strategies side by side"
    )
    assert [row["lost updates"].text for row in rows] == [DASH, "211"]


def test_one_strategy_has_no_table_of_strategies(tmp_path: Path) -> None:
    section = only_section(store(tmp_path, [Made(cell=concurrent(), ok=50)]))
    assert not [b for b in blocks_of(section) if isinstance(b, Table) and b.caption.startswith("Strategies")]


def test_sqlite_errors_are_explained_with_the_figures_of_the_run(tmp_path: Path) -> None:
    naive = Made(
        cell=concurrent(backend="sqlite-naive"),
        ok=310,
        fail=680,
        unknown=10,
        errors={"SQLITE_BUSY": 680, "timeout": 10},
    )
    section = only_section(store(tmp_path, [naive, Made(cell=concurrent())]))
    (prose,) = [b for b in blocks_of(section) if isinstance(b, Prose) and b.see]
    shown = " ".join(prose.paragraphs)
    assert "SQLITE_BUSY is SQLite's answer" in shown
    assert "Naive SQLite: 310 of 1,000 acknowledged (31.0 %), 680 x SQLITE_BUSY, 10 x timeout, p99" in shown
    rows = rows_of(section, "Requests that were not acknowledged")
    assert [(row["error"].text, row["requests"].text) for row in rows] == [("SQLITE_BUSY", "680"), ("timeout", "10")]


def test_run_without_sqlite_does_not_explain_it(tmp_path: Path) -> None:
    assert not [
        b
        for b in blocks_of(only_section(store(tmp_path, [Made(cell=concurrent(), ok=50)])))
        if isinstance(b, Fold) and b.anchor
    ]


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
    (short,) = [block for block in blocks_of(first) if isinstance(block, Prose) and block.see]
    (whole,) = [block for block in blocks_of(second) if isinstance(block, Prose) and block.see]
    (fold,) = [block for block in second.blocks if isinstance(block, Fold) and block.anchor]
    assert [anchor for anchor, _ in short.see] == [fold.anchor, "outcome"]
    (shown,) = short.paragraphs
    read_back = "journal_mode delete, synchronous FULL, busy_timeout 0 ms, BEGIN DEFERRED"
    assert shown.startswith(f"Naive SQLite (read back: {read_back}): 1 hot key: 50 of 1,000 acknowledged (5.00 %)")
    assert shown.endswith("On one key 5.00 % were acknowledged, on many 6.00 %: SQLite locks the file, not the row.")
    assert whole.paragraphs[-1].endswith("With 1 client every write was acknowledged, with 10 not.")


def test_first_pass_of_a_check_is_listed_and_the_others_are_folded(tmp_path: Path) -> None:
    cells = [concurrent("hot"), concurrent("spread")]
    bad = [found(cell, "spread", "fail", "uneven") for cell in cells]
    findings = [*(found(cell, "final value", detail=cell.name) for cell in cells), *bad]
    section = only_section(store(tmp_path, [Made(cell=cell) for cell in cells], findings, verdict="fail"))
    assert [(line.verdict, line.check, line.about) for line in section.findings] == [
        ("fail", "spread", "1 hot key"), ("fail", "spread", "100 keys with ledger"),
        ("pass", "final value", "1 hot key; the first of 2 that pass"),
    ]  # fmt: skip
    assert [(line.check, line.about, line.detail) for line in section.more] == [
        ("final value", "100 keys with ledger", cells[1].name)
    ]


@pytest.mark.parametrize("name", ["isolation", "deadlocks", "long-transactions"])
def test_background_is_below_the_answer(name: str, tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=Cell(scenario=name, strategy=""), ok=50)], [found(name, "a check")])
    background = SCENARIOS[name].background
    assert background
    (words,) = [block for block in blocks_of(only_section(run)) if isinstance(block, Prose)]
    assert (words.paragraphs, words.points) == ((background,), SCENARIOS[name].criteria)
    html = render(page_of(run))
    shown = re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(background)))
    assert f"<p>{shown}</p>" in html
    assert "`" not in html
    unknown = only_section(store(tmp_path / "other", [Made(cell=Cell(scenario="unknown"))]))
    assert not [block for block in blocks_of(unknown) if isinstance(block, Prose)]


def test_service_time_is_beside_the_latency_of_open_cells_only(tmp_path: Path) -> None:
    naive = {"p99_ms": 1380.0, "service_p99_ms": 1.5}
    closed = Cell(scenario="throughput", clients=64)
    (row,) = rows_of(
        only_section(store(tmp_path / "open", [Made(cell=replace(closed, mode="open", rate=2000.0), figures=naive)])),
        "Results by cell",
    )
    assert (row["p99, ms"].text, row["service time p99, ms"].text) == ("1,380", "1.50")
    (row,) = rows_of(only_section(store(tmp_path / "closed", [Made(cell=closed, figures=naive)])), "Results by cell")
    assert "service time p99, ms" not in row


def test_causes_of_the_slowest_requests_are_a_table_and_no_check(tmp_path: Path) -> None:
    cell = concurrent("upsert")
    shares = {"row lock": 0.82, "WAL": 0.15, "network": 0.03}
    slowest = found(
        cell, names.SLOWEST, "shown", "the slowest 10 requests", shares=shares, from_ms=96.4, blocker="app-1 (active)"
    )
    section = only_section(store(tmp_path, [Made(cell=cell, ok=50)], [found(cell, "final value"), slowest]))
    (row,) = rows_of(section, "Where the slowest requests waited")
    texts = [value.text for value in row.values()]
    assert texts[1:] == ["96.4", "row lock 82 %", "WAL 15 %", "app-1 (active)"]
    assert [line.check for line in section.findings] == ["final value"]


def test_a_check_that_compares_cells_is_not_said_to_be_about_one(tmp_path: Path) -> None:
    cells = [Cell(scenario="pool-sweep", pool=pool) for pool in (1, 5)]
    findings = [
        found(cells[1], names.TIME_RATIO.format(5, 0.3, 1), "fail", "0.64"),
        found(cells[1], names.KNEE, "shown", "knee at 5"),
        found(cells[1], names.EFFECTIVE_POOL_SIZE, "fail", "2.00 s"),
    ]
    section = only_section(store(tmp_path, [Made(cell=cell) for cell in cells], findings, verdict="fail"))
    about = {line.check: line.about for line in section.findings}
    assert about == {"t(5) < 0.3 t(1)": "", "knee": "", "effective pool size": "pool of 5 connections"}
