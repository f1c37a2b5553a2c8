"""report --format json: strict JSON with the content of the page, and the keys that the documentation lists."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report.outputs.data import SCHEMA, as_data
from harness.report.page import build
from harness.report.run_summary import summarise
from harness.store.run_reader import Run
from harness.text import strict_json
from tests.support.builders import Made, concurrent, found, quickstart, store
from tests.support.report_pages import RUNS
from tests.support.suite import suite

ROOT = Path(__file__).parents[4]
CELL = concurrent()
OPEN = {"numbers", "medians", "spans", "params", "skipped", "versions"}
"""Keys below which the keys are names of figures, settings or scenarios."""


def data_of(run: Run) -> dict[str, Any]:
    summary = summarise(run)
    text = strict_json(as_data(build(summary), summary))

    def reject(word: str) -> None:
        raise AssertionError(word)

    parsed: dict[str, Any] = json.loads(text, parse_constant=reject)
    return parsed


def keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in OPEN:
                yield from keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)


@pytest.mark.parametrize("kind", RUNS)
def test_data_of_every_run_has_the_same_parts(tmp_path: Path, kind: str) -> None:
    run = RUNS[kind](tmp_path)
    data = data_of(run)
    assert data["schema"] == SCHEMA == 1
    assert list(data) == [
        "schema", "run", "headline", "tiles", "criteria", "warnings", "skipped", "scenarios", "validity",
        "environment", "repeat",
    ]  # fmt: skip
    assert data["run"]["trials"] == len(run.rows)
    assert len(data["criteria"]) == 5
    checks = [(one["name"], f["cell"], f["check"], f["verdict"]) for one in data["scenarios"] for f in one["checks"]]
    assert sorted(checks) == sorted((f.scenario, f.cell, f.check, f.verdict) for f in run.findings)


def test_figures_are_numbers_and_checks_are_whole(tmp_path: Path) -> None:
    data = data_of(quickstart(tmp_path))
    (scenario,) = data["scenarios"]
    assert scenario["verdict"] == "pass"
    cell = scenario["cells"][0]
    assert isinstance(cell["medians"]["rps"], float)
    assert (cell["sent"], cell["ok"], cell["lost"]) == (1000, 1000, 0)
    assert data["headline"]["word"] == "PASS"
    assert [one["kind"] for one in scenario["details"]][:1] == ["fold"]
    tables = [b for fold in scenario["details"] for b in fold["blocks"] if b["kind"] == "table"]
    assert all(len(row) == len(table["head"]) for table in tables for row in table["rows"])
    assert "svg" not in set(keys(data))


def test_a_figure_that_is_not_finite_is_null(tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=CELL)], [found(CELL, "final value", ratio=math.inf, lost=math.nan)])
    (check,) = data_of(run)["scenarios"][0]["checks"]
    assert check["numbers"] == {"ratio": None, "lost": None}


def test_every_key_is_documented(tmp_path: Path) -> None:
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "results.md").read_text(encoding="utf-8")))
    assert set(keys(data_of(suite(tmp_path)))) - documented == set()
