"""Stored runs as lists of dicts and as frames."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.errors import FormatError, UsageError
from harness.load.results.samples import Sample, write
from harness.results import frame, open_results
from tests.support.stored_runs import recorded, row

TIMELINE = {"order": 1, "lane": "main", "phase": "measure", "second": 0, "sent": 3, "ok": 2, "fail": 1, "unknown": 0}
SAMPLE = Sample(7, "increment", "hot-0", "app-1", 10, 11, 30, "ok", 200, 5, "", "id-7", "load-1", "measure", (1.0,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two trials, of which the first has a second of timeline and telemetry, and two samples."""
    valid = row(order=1, figures={"sent": 3.0, "ok": 2.0, "fail": 1.0, "unknown": 0.0}, steady=True)
    broken = row(order=2, validity="broken", reasons=("the counts differ",))
    recorder = recorded(tmp_path, valid, broken)
    recorder.append("timeline", [TIMELINE | {"p50_ms": 1.5}])
    telemetry = {"second": 0.5, "order": 1, "host": "app-1", "metric": "pool_idle", "value": 5.0}
    recorder.append("telemetry", [telemetry])
    write(
        recorder.path / "samples/001-main.csv",
        [SAMPLE, SAMPLE._replace(seq=8, value=None, captured=(math.nan,))],
        ("retries",),
    )
    return recorder.path


def test_trials_have_numbers_and_truths(folder: Path) -> None:
    first, second = open_results(folder).trials()
    assert (first["order"], first["sent"], first["valid"], first["steady"]) == (1, 3.0, True, True)
    assert (second["valid"], second["steady"], second["reason"]) == (False, None, "the counts differ")
    assert first["params"] == '{"keys": "hot"}'


def test_timeline_and_telemetry_have_one_type_per_column(folder: Path) -> None:
    run = open_results(folder)
    assert run.timeline() == [TIMELINE | {"p50_ms": 1.5, "p95_ms": None, "p99_ms": None}]
    (reading,) = run.telemetry()
    assert reading == {"second": 0.5, "order": 1, "host": "app-1", "metric": "pool_idle", "value": 5.0}
    assert isinstance(reading["value"], float)
    assert isinstance(reading["order"], int)


def test_samples_have_trial_and_lane_and_what_was_captured(folder: Path) -> None:
    first, second = open_results(folder).samples(1)
    assert (first["order"], first["lane"], first["seq"], first["value"], first["c_retries"]) == (1, "main", 7, 5, 1.0)
    assert (second["value"], second["c_retries"]) == (None, None)
    assert open_results(folder).samples(2) == []


def test_a_trial_that_does_not_exist_is_no_empty_list(folder: Path) -> None:
    with pytest.raises(UsageError, match="no trial 3"):
        open_results(folder).samples(3)


@pytest.mark.parametrize("wrong", ["many", "nan", "1e999"])
def test_a_value_that_is_no_number_names_the_file(folder: Path, wrong: str) -> None:
    table = folder / "telemetry.csv"
    table.write_text(table.read_text().replace("5.0", wrong))
    with pytest.raises(FormatError, match=r"telemetry\.csv: value is"):
        open_results(folder).telemetry()


def test_a_run_is_found_by_its_id_and_a_wrong_one_is_named(folder: Path) -> None:
    assert open_results(folder.name, folder.parent).run.path == folder
    with pytest.raises(UsageError, match="no run at 'nothing'"):
        open_results("nothing", folder.parent)


def library(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple[Any, ...]]:
    """A module with a DataFrame that records its arguments in the list returned."""
    made: list[tuple[Any, ...]] = []
    module = ModuleType(name)
    module.DataFrame = lambda *rows, **options: made.append((*rows, options)) or name  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    return made


def test_frames_are_those_of_the_library_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    made = library(monkeypatch, "polars")
    assert frame([{"a": None}, {"a": 1}]) == "polars"
    assert made == [([{"a": None}, {"a": 1}], {"infer_schema_length": None})]
    made = library(monkeypatch, "pandas")
    assert frame([{"a": 1}]) == "pandas"
    assert frame([{"a": 1}], "polars") == "polars"
    assert made == [([{"a": 1}], {})]


def test_without_a_library_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match="neither pandas nor polars"):
        frame([])
    with pytest.raises(UsageError, match="polars is not installed"):
        frame([], "polars")
    with pytest.raises(UsageError, match="no frames of 'excel'"):
        frame([], "excel")
