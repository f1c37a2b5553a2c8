"""The load generator's figures by trial: Little's law, achieved share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.model import Cell
from harness.report.page_model import Fold, Table
from harness.store.run_reader import Run
from tests.support.builders import Made, concurrent, store
from tests.support.pages import page_of

DASH = "\N{EN DASH}"


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


def test_the_number_in_the_service_comes_from_the_durations_that_responses_tell(tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=concurrent(), seconds=2.0)])
    assert (
        dict(zip(the_generator(run).head, the_generator(run).rows[0], strict=True))["in the service, mean"].text == DASH
    )
    file = run.path / "samples" / "001-main.summary.json"
    told = {"told": 900, "busy_us": 70_000_000.0, "impossible": 0, "most_us": 0.0}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"inside": told}))
    generator = the_generator(run)
    assert dict(zip(generator.head, generator.rows[0], strict=True))["in the service, mean"].text == "35.0"


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
