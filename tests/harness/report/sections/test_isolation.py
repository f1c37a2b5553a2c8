"""The tables of anomalies by isolation level."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.isolation.case_model import LEVELS
from harness.isolation.cases import CASES
from harness.model import Cell
from harness.record import Evidence
from harness.report.page_model import Table, Value
from harness.store.run_reader import Run
from tests.support.builders import Made, found, store
from tests.support.pages import blocks_of, only_section, page_of, rows_of


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
    section = only_section(isolation(tmp_path, json.loads(json.dumps(result))))
    for level in LEVELS:
        rows = rows_of(section, f"{level}: PostgreSQL 15.13")
        assert len(rows) == len(CASES)
        assert {"standard", "documented", "observed"} < rows[0].keys()
        assert {row["observed"].text for row in rows} == {"unknown"}  # no transcript: nothing was seen
        assert {row["verdict"].mark for row in rows} == {"unknown"}
    lost = next(r for r in rows_of(section, "READ COMMITTED") if r["anomaly"].text.startswith("P4"))
    assert (lost["standard"].text, lost["documented"].text) == ("may occur*", "may occur")
    assert lost["anomaly"] == Value("P4 (lost update)", CASES["P4"].meaning)


@pytest.mark.parametrize("result", [{"what": "isolation"}, {"what": "else"}, [1], None, "x"])
def test_result_that_is_not_of_isolation_does_not_stop_the_page(tmp_path: Path, result: Any) -> None:
    page = page_of(isolation(tmp_path, result))
    assert page.sections[0].findings[0].check == "a check"
    assert bool(page.notices.limiting) == (result not in ({"what": "else"}, None))


def test_trial_without_load_has_no_table_of_figures(tmp_path: Path) -> None:
    page = page_of(isolation(tmp_path, None))
    assert not [block for block in blocks_of(page.sections[0]) if isinstance(block, Table)]
    assert [block.caption for block in page.validity if isinstance(block, Table)] == [
        "Invalid trials: none of 1", "Noise floor of this rig: not measured",
    ]  # fmt: skip
