"""The capacity on the page: the curve with its limits, the trials in their order, and nothing for odd runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.checks import names
from harness.model import Cell, Finding
from harness.report.charts.load_curve import load_curve
from harness.report.page_model import Picture
from harness.report.run_summary import summarise
from harness.report.sections.capacity import capacity_headline
from tests.support.builders import Made, found, store
from tests.support.pages import blocks_of, only_section, page_of, rows_of

PARAMS = {"keys": "1000", "slo": "p95:80ms,p99:150ms,errors:0.1%", "effort": "quick"}


def cell(rate: float, **changes: Any) -> Cell:
    return Cell(scenario="capacity", mode="open", rate=rate, clients=1000, seconds=1.2,
                **{"hosts": 2, "params": PARAMS} | changes)  # fmt: skip


CLOSED = Cell(scenario="capacity", hosts=2, clients=64, seconds=1.2, params=PARAMS)
TRIALS = [
    Made(cell=CLOSED, ok=1000),
    Made(cell=cell(600), ok=1200, median_ms=20.0, steady=True),
    Made(cell=cell(900), ok=1200, median_ms=200.0, steady=False),
    Made(cell=cell(800), ok=1200, median_ms=20.0, seconds=1.3, figures={"rps": 500.0}),
    Made(cell=cell(700), ok=1190, fail=10, median_ms=20.0),
    Made(cell=cell(1500), ok=1200, median_ms=20.0, reason="times are doubtful: sent late"),
    Made(cell=cell(30), ok=36, median_ms=20.0),
]
CAPACITY = found(cell(600), names.CAPACITY, "pass", "650 [600, 700] requests/s hold it, no update lost (95 % interval)",
                 kind="found", rate=650.0, low=600.0, high=700.0)  # fmt: skip


def svgs(root: Path, *findings: Finding, trials: list[Made] = TRIALS) -> list[str]:
    section = only_section(store(root, trials, findings))
    return [f"{block.title} {block.subtitle} {block.svg}" for block in blocks_of(section) if isinstance(block, Picture)]


def test_the_curve_shows_the_capacity_and_its_limits(tmp_path: Path) -> None:
    curve = svgs(tmp_path, CAPACITY)[0]
    for text in ("Latency by load: 650 requests/s hold", "p50", "p95", "p99", "did not hold", "does not count"):
        assert text in curve


def test_without_a_capacity_there_is_no_band(tmp_path: Path) -> None:
    bound = found(cell(600), names.CAPACITY, "unknown", "at least 600", kind="at least", rate=600.0, low=1.0, high=9e9)
    curve = svgs(tmp_path, bound)[0]
    assert "Latency by load" in curve
    assert "hold p95" not in curve
    assert "band" not in curve


def test_the_trials_are_listed_with_the_reason(tmp_path: Path) -> None:
    rows = rows_of(only_section(store(tmp_path, TRIALS, [CAPACITY])), "Trials in their order")
    results = {row["offered requests/s"].text: (row["result"].text, row["because"].text) for row in rows}
    assert results["600"] == ("held", "")
    assert results["900"][0] == "did not hold"
    assert results["900"][1].startswith("p95 ")
    assert results["800"] == ("did not hold", "its queue grew")
    assert results["700"] == ("did not hold", "errors 0.833%, above 0.1%")
    assert results["1,500"] == ("does not count", "times are doubtful: sent late")
    assert results["30.0"][0] == "does not count"
    assert results["30.0"][1].endswith("p99 not measured: too few requests")
    assert [row["began steady"].text for row in rows] == ["yes", "no", "", "", "", ""]


def test_each_search_has_a_curve(tmp_path: Path) -> None:
    other = [Made(cell=cell(rate, strategy="coalesce"), ok=500, median_ms=20.0) for rate in (500, 550)]
    curves = [svg for svg in svgs(tmp_path, CAPACITY, trials=[*TRIALS, *other]) if "Latency by load" in svg]
    assert len(curves) == 2
    assert any("coalesce" in svg for svg in curves)


@pytest.mark.parametrize("params", [{}, {"slo": "p98:1h", "effort": "full"}, {"slo": "p99:1s", "effort": "most"}])
def test_a_stored_run_with_odd_parameters_has_a_page(tmp_path: Path, params: dict[str, Any]) -> None:
    page = page_of(store(tmp_path, [Made(cell=cell(600, params=params), ok=100)], []))
    assert page.sections


def test_the_headline_of_a_run_is_its_capacity(tmp_path: Path) -> None:
    (scenario,) = summarise(store(tmp_path, TRIALS, [CAPACITY])).scenarios
    assert capacity_headline(scenario) == "650 [600, 700] requests/s hold it, no update lost"


def test_the_answer_is_the_capacity_and_no_claim(tmp_path: Path) -> None:
    numbers = {"kind": "found", "rate": 650.0, "low": 600.0, "high": 700.0, "trials_held": 4}
    finding = found(cell(600), names.CAPACITY, "pass", "650 requests/s hold it", **numbers)
    section = only_section(store(tmp_path, TRIALS, [finding, found(cell(600), names.FINAL_VALUE)]))
    assert "capacity: 650 requests/s hold it" in section.answer
    assert "claim" not in section.answer


def test_the_line_rises_with_the_load_and_wide_ranges_are_logarithmic() -> None:
    points = [(100, 10.0), (200, 40.0), (300, 20.0), (900, 80.0)]
    rows = [{"rate": rate, "percentile": "p99", "ms": ms, "result": "held"} for rate, ms in points]
    spec = load_curve(rows, title="t")
    (line,) = [layer for layer in spec["layer"] if isinstance(layer["mark"], dict) and layer["mark"]["type"] == "line"]
    values = [point["ms"] for point in line["data"]["values"]]
    assert values == sorted(values)
    assert values[1] == values[2] == pytest.approx((40 * 20) ** 0.5)
    assert line["encoding"]["x"]["scale"]["type"] == "log"
    assert "No data: no trial" in str(load_curve([], title="t"))
