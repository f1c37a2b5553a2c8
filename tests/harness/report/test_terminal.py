"""The printed summary: 80 columns, plain text without a terminal, complete."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.isolation.case_model import LEVELS
from harness.model import Cell
from harness.record import Evidence
from harness.report import terminal
from harness.report.page import build, render
from harness.report.page_model import Table
from harness.report.run_summary import summarise
from harness.store.run_reader import Run, load_run
from tests.support.builders import Made, concurrent, found, passing, quickstart, store
from tests.support.pages import blocks_of, page_of


def printed(run: Run, report: Path | None = None, **console: object) -> str:
    file = io.StringIO()
    terminal.print_summary(summarise(run), report, console=Console(file=file, **console))  # type: ignore[arg-type]
    return file.getvalue()


def lines(run: Run) -> list[str]:
    return list(terminal.lines(summarise(run)))


def build_tables(run: Run) -> list[Table]:
    return [block for section in page_of(run).sections for block in blocks_of(section) if isinstance(block, Table)]


def flat(text: str) -> str:
    return " ".join(text.split())


def test_passing_run(tmp_path: Path) -> None:
    run = quickstart(tmp_path)
    text = printed(run, tmp_path / "report.html", width=80)
    assert max(map(len, text.splitlines()[:-1])) <= 80
    assert "\x1b" not in text
    output = flat(text)
    assert "sent ok fail unknown lost req/s p50 p95 p99 stall valid" in output
    assert "1 hot key 1,000 1,000 0 0 0 1,060 312" in output
    assert "✓ 1/1" in output
    assert "✓ acknowledged, first of 2 passes: 1,000 of 1,000 acknowledged (100 %)" in output
    assert "✓ The lost-update problem is solved: pass" in output
    assert "Horizontal scaling is achieved: not measured" in output
    assert "production: not measured: no fault was injected: no process, host or connection was stopped" in output
    assert "PASS: 2,000 of 2,000 concurrent writes acknowledged over 4 app hosts" in output
    assert text.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"


def test_failed_findings_come_first_and_in_full(tmp_path: Path) -> None:
    cells = [concurrent("hot"), concurrent("spread")]
    detail = "137 lost updates; key 'hot-000': " + "and so on " * 30
    findings = [*passing(cells[1]), found(cells[0], "final value", "fail", detail, lost=137)]
    run = store(
        tmp_path,
        [Made(cell=cells[0], lost=137), Made(cell=cells[1])],
        findings,
        verdict="fail",
        skipped={"deadlocks": "no database"},
        warnings=["app-3 is slow"],
    )
    output = flat(printed(run, width=80))
    assert f"✗ final value [1 hot key]: {detail.strip()}" in output
    assert output.index("✗ final value") < output.index("✓ acknowledged")
    assert "FAIL: 1 of 7 checks fails; concurrent-writes, final value: 137 lost updates" in output
    assert "skipped: deadlocks: no database" in output
    assert "! app-3 is slow" in output
    assert "✗ The lost-update problem is solved: fail" in output


def test_invalid_trial_is_marked_with_its_reason(tmp_path: Path) -> None:
    made = Made(cell=concurrent(), valid=False, reason="the generator was the limit")
    output = flat(printed(store(tmp_path, [made], passing(made.cell), verdict="invalid"), width=80))
    assert "! 0/1" in output
    assert "! invalid: concurrent-writes, PostgreSQL, upsert, 1 hot key, 4 hosts: the generator was the limit" in output
    assert "INVALID: 1 of 1 trial is invalid" in output


@pytest.mark.parametrize("requests", [7, 1_000, 100_000])
def test_no_line_is_wider_than_the_given_width(tmp_path: Path, requests: int) -> None:
    cells = [
        Cell(scenario="throughput", strategy=s, clients=20, params={"keys": "k" * n})
        for s, n in (("upsert", 1), ("for-update", 300))
    ]
    run = store(tmp_path, [Made(cell=cell, ok=7, figures={"sent": float(requests * 500)}) for cell in cells])
    assert max(map(len, lines(run))) <= 80
    assert f"{requests * 500:,}" in "\n".join(lines(run))  # a number is never cut


def test_only_open_cells_show_the_service_time_below_the_latency(tmp_path: Path) -> None:
    naive = {"p99_ms": 1380.0, "service_p50_ms": 0.4, "service_p95_ms": 0.9, "service_p99_ms": 1.5}
    cells = [
        Cell(scenario="throughput", strategy="upsert", clients=64, mode="open", rate=2000.0),
        Cell(scenario="throughput", strategy="upsert", clients=64),
    ]
    output = lines(store(tmp_path, [Made(cell=cell, figures=naive) for cell in cells]))
    (position,) = [number for number, line in enumerate(output) if "service time, from the send" in line]
    assert output[position].strip() == "service time, from the send: p50 0.400, p95 0.900, p99 1.50"
    assert "1,380" in output[position - 1]
    assert "2,000" in output[position - 1] or "2,000" in output[position - 2]


def test_hostile_names_cannot_move_the_cursor_or_colour_the_screen(tmp_path: Path) -> None:
    bad = "\x1b[2J[bold red]x[/]\r\n\u202e"
    cell = Cell(scenario=bad, strategy=bad, params={"p": bad})
    run = store(
        tmp_path,
        [Made(cell=cell, valid=False, reason=bad)],
        [found(cell, bad, "unknown", bad)],
        verdict="unknown",
        warnings=[bad],
        skipped={bad: bad},
    )
    text = printed(run, width=80)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\r" not in text
    assert "[bold red]x[/]" in text


def test_symbols_are_coloured_on_a_terminal(tmp_path: Path) -> None:
    text = printed(quickstart(tmp_path), force_terminal=True, color_system="standard", width=80)
    assert "\x1b[32m✓" in text


def test_empty_and_aborted_run(tmp_path: Path) -> None:
    output = flat(printed(store(tmp_path, verdict="unknown", status="aborted"), width=80))
    assert "nothing was measured" in output
    assert "ABORTED: interrupted; 0 trials" in output
    assert "PASS" not in output


def test_anomalies_are_listed_by_level() -> None:
    run = load_run(Path(__file__).parents[3] / "results/example")
    text = printed(run, width=100)
    head, _, *rows = text[text.index("PostgreSQL 15.20 ") :].splitlines()
    assert all(level in head for level in LEVELS)
    skew = next(row for row in rows if row.startswith("G2-item*"))
    assert " ".join(skew.split()[1:]) == "may may OCCURRED may may OCCURRED no may OCCURRED no no abort 40001"
    assert max(len(line) for line in text.splitlines()) <= 100
    narrow = printed(run, width=80)
    assert narrow.count("G2-item* ") == 2
    assert max(len(line) for line in narrow.splitlines()) <= 80


def test_hostile_or_damaged_matrix_neither_moves_the_cursor_nor_stops_the_summary(tmp_path: Path) -> None:
    cell = Cell(scenario="isolation", strategy="")
    result = {"what": "isolation", "backend": "postgres", "version": "\x1b[2J x" * 50, "cases": ["G0"],
              "levels": ["SERIALIZABLE"], "cells": []}  # fmt: skip
    runs = [Evidence(workload_result=stored) for stored in (result, {"what": "isolation"})]
    run = store(tmp_path, [Made(cell=cell, number=n, driven=False, evidence=e) for n, e in enumerate(runs, 1)])
    text = printed(run, width=80)
    assert "\x1b" not in text
    assert max(map(len, lines(run))) <= 80
    assert "! trial 2: not an isolation result" in text
    assert "success criteria" in text


def test_figures_that_cannot_fail_are_shown_and_not_counted(tmp_path: Path) -> None:
    cell = concurrent()
    knee = found(cell, "knee", "shown", "knee at 10 connections")
    run = store(tmp_path, [Made(cell=cell)], [found(cell, "final value"), found(cell, "spread"), knee])
    output = flat(printed(run, width=80))
    assert "• knee: knee at 10 connections" in output
    assert "all 3 checks" not in output.lower()
    assert page_of(run).sections[0].checks == "2 checks pass, 1 figure reported"
    assert "shown (a figure that cannot fail" in render(build(summarise(run)))


STEADY = Cell(scenario="throughput", clients=64, seconds=2.0, params={"keys": "hot"})
OPEN = Cell(scenario="throughput", mode="open", clients=256, rate=700.0, seconds=2.0, params={"keys": "hot"})


@pytest.mark.parametrize(
    ("cells", "label"),
    [
        ([STEADY], "closed loop: percentiles omit stalls (coordinated omission)"),
        ([STEADY, OPEN], "closed loop (1 of 2 cells): percentiles omit stalls (coordinated omission)"),
        ([OPEN], ""),
        ([concurrent("hot")], ""),  # each client sends one request
    ],
)
def test_percentiles_of_a_closed_loop_are_labelled_and_have_the_longest_stall_beside_them(
    tmp_path: Path, cells: list[Cell], label: str
) -> None:
    run = store(tmp_path, [Made(cell=cell) for cell in cells], [finding for cell in cells for finding in passing(cell)])
    text, page = flat(printed(run)), flat(render(build(summarise(run))))
    assert ("coordinated omission" in text) == bool(label)
    assert label in text
    assert " 34.0 " in text, "the longest stall"
    assert "longest stall, ms" in page
    assert "coordinated omission" in page


def test_the_rate_of_an_open_load_is_shown_as_offered(tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=OPEN, ok=1400, seconds=2.0)], passing(OPEN))
    assert " (700) " in flat(printed(run))
    assert "(700)" in render(build(summarise(run)))


def test_refused_requests_have_their_own_latency(tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=STEADY, ok=900, fail=300)], passing(STEADY))
    text, page = flat(printed(run)), flat(render(build(summarise(run))))
    assert "acknowledged: p50 " in text
    assert "; not acknowledged: p50 " in text
    assert "not acknowledged p50, ms" in page
    alone = store(tmp_path / "other", [Made(cell=STEADY)], passing(STEADY))
    assert "not acknowledged: p50" not in flat(printed(alone))


def test_doubted_times_are_marked_wherever_they_show(tmp_path: Path) -> None:
    cell = concurrent("hot")
    run = store(tmp_path, [Made(cell=cell, reason="times are doubtful: sent late")], passing(cell))
    row = next(line for line in printed(run).splitlines() if "1/1" in line)
    rate, *times = row.split()[5:10]
    assert all(figure.endswith("?") for figure in (rate, *times) if figure != "\N{EN DASH}"), row
    assert sum(figure.endswith("?") for figure in times) >= 3
    (cells, *_) = (block for block in build_tables(run) if block.caption == "Results by cell")
    by_name = dict(zip(cells.head, cells.rows[0], strict=True))
    for name in ("requests/s", "p50, ms", "p95, ms", "max, ms", "longest stall, ms"):
        assert by_name[name].text.endswith("?")
    assert not by_name["sent"].text.endswith("?"), "counts hold"


def test_one_trial_whose_times_hold_gives_the_times_of_the_cell(tmp_path: Path) -> None:
    cell = concurrent("hot")
    doubted = Made(cell=cell, number=2, reason="times are doubtful: sent late", median_ms=900.0)
    run = store(tmp_path, [Made(cell=cell), doubted], passing(cell))
    (shown,) = summarise(run).scenarios[0].cells
    assert (shown.valid, shown.doubted, shown.times_doubted) == (2, 1, False)
    assert shown.medians["p50_ms"] == run.rows[0].figure("p50_ms")
    assert shown.spans["sent"] == (1000, 1000)


def test_warnings_have_labels_instead_of_names_of_cells(tmp_path: Path) -> None:
    cells = [STEADY, OPEN]
    run = store(tmp_path, [Made(cell=cell) for cell in cells], warnings=[f"{STEADY.name}: times are doubtful"])
    text = flat(printed(run))
    assert STEADY.name not in text
    assert "! throughput (" in text
