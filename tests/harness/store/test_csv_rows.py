"""Trials as rows of trials.csv: read back unchanged, no formulas, stable columns."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.figures import FIGURES, LATER_FIGURES
from harness.model import STRATEGIES, Cell
from harness.record import Validity
from harness.store.csv_rows import COUNTS, TRIAL_COLUMNS, as_cell, as_columns, as_text, from_columns
from harness.store.files import read_table
from tests.support.stored_runs import CELL, recorded, row, store_and_load

COUNTED = dict.fromkeys(COUNTS, 10_000.0)


@pytest.mark.parametrize(
    "cell",
    [
        CELL,
        Cell(scenario="s", strategy="", hosts=1, params={}),
        Cell(scenario="s", mode="open", rate=0.5, clients=1000, requests=None, seconds=1.5),
        Cell(scenario="s", backend="sqlite-naive", requests=1000, pool=0),
        Cell(scenario="s", params={"b": [1, "zwei, \"drei\"\n"], "a": None, "app_cpus": 0.08, "c": True}),
        *(Cell(scenario="s", strategy=name) for name in STRATEGIES),
    ],
)  # fmt: skip
def test_a_trial_is_read_back_unchanged(tmp_path: Path, cell: Cell) -> None:
    wanted = row(
        cell, order=7, figures=dict.fromkeys((*FIGURES, *LATER_FIGURES), 0.125) | COUNTED | {"p99_ms": None, "rps": 0.0}
    )
    (found,) = store_and_load(tmp_path, wanted).rows
    assert found == wanted
    assert found.cell.name == cell.name


@pytest.mark.parametrize("steady", [True, False, None])
@pytest.mark.parametrize(
    ("validity", "reasons", "columns"),
    [
        ("valid", [], ("true", "", "false")),
        ("timing_doubtful", ["sent late"], ("true", "sent late", "true")),
        ("generator_bound", ["=cmd|' /C calc'!A0"], ("false", "=cmd|' /C calc'!A0", "true")),
        ("broken", ["load-2: died", "-1 of 3"], ("false", "load-2: died; -1 of 3", "false")),
    ],
)
def test_validity_and_steadiness_are_stored_in_columns_and_read_back(
    tmp_path: Path, *, steady: bool | None, validity: Validity, reasons: list[str], columns: tuple[str, ...]
) -> None:
    result = row(steady=steady, validity=validity, reasons=tuple(reasons))
    stored = as_columns(result)
    assert (stored["valid"], stored["reason"], stored["doubted"]) == columns
    (loaded,) = store_and_load(tmp_path, result).rows
    assert (loaded.steady, loaded.validity, loaded.reason) == (steady, validity, "; ".join(reasons))


@pytest.mark.parametrize(
    ("valid", "reason", "validity"),
    [("true", "", "valid"), ("true", "sent late", "timing_doubtful"), ("false", "sent late", "broken")],
)
def test_a_table_of_an_older_version_without_the_column_doubted_is_read(
    tmp_path: Path, valid: str, reason: str, validity: Validity
) -> None:
    raw = {name: "" if value is None else str(value) for name, value in as_columns(row()).items()}
    del raw["doubted"]
    assert from_columns(tmp_path, 2, raw | {"valid": valid, "reason": reason}).validity == validity


def test_a_figure_that_is_not_finite_is_stored_as_absent(tmp_path: Path) -> None:
    (found,) = store_and_load(tmp_path, row(figures={"rps": float("nan"), "p50_ms": float("inf"), "ok": 1.0})).rows
    assert (found.figure("rps"), found.figure("p50_ms"), found.figure("ok")) == (None, None, 1.0)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"])))
def test_any_text_is_read_back_and_none_is_a_formula(text: str) -> None:
    cell = as_cell(text)
    assert as_text(cell) == text
    assert not cell.startswith(("=", "+", "-", "@"))


def test_a_formula_is_quoted_in_the_table_and_read_back_unchanged(tmp_path: Path) -> None:
    evil = Cell(scenario="=1+1", backend="@SUM(A1)", strategy='+HYPERLINK("http://x")', params={"k": "=2"})  # type: ignore[arg-type]
    run = store_and_load(tmp_path, row(evil, validity="broken", reasons=("line\none\r\n=two",)))
    assert run.rows[0].cell == evil
    assert run.rows[0].reason == "line one =two"
    with (run.path / "trials.csv").open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize(
    ("sent", "kept"), [(19, []), (20, ["p50_ms"]), (199, ["p50_ms"]), (200, ["p50_ms", "p95_ms"]), (1000, None)]
)
def test_a_percentile_of_an_older_run_that_its_requests_cannot_carry_is_not_read(
    tmp_path: Path, sent: int, kept: list[str] | None
) -> None:
    percentiles = ["p50_ms", "p95_ms", "p99_ms"]
    figures: dict[str, float | None] = dict.fromkeys(percentiles, 1.0) | {"sent": float(sent), "max_ms": 2.0}
    (found,) = store_and_load(tmp_path, row(figures=figures)).rows
    assert [name for name in percentiles if found.figure(name) is not None] == (percentiles if kept is None else kept)
    assert found.figure("max_ms") == 2.0


def test_the_columns_do_not_change(tmp_path: Path) -> None:
    (line,) = read_table(recorded(tmp_path, row()).path / "trials.csv", TRIAL_COLUMNS)
    assert tuple(line) == TRIAL_COLUMNS
    assert set(as_columns(row(figures=dict.fromkeys((*FIGURES, *LATER_FIGURES))))) == set(TRIAL_COLUMNS)


def test_an_additional_column_is_ignored(tmp_path: Path) -> None:
    raw = {name: "" if value is None else str(value) for name, value in as_columns(row()).items()}
    assert from_columns(tmp_path, 2, raw | {"added_later": "7"}) == row()
