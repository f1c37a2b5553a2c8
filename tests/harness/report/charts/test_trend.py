"""The chart of a trend: what is drawn of runs, levels and changes."""

from __future__ import annotations

from typing import Any

import pytest

from harness.report.charts.drawing import svg
from harness.report.charts.trend import MOST_TICKS, ChangeMark, ChartPoint, Level, trend_chart

POINTS = [ChartPoint(place=place, value=100.0, low=99.0, high=101.0) for place in (1, 2, 3, 4)]


def layers(**more: Any) -> list[dict[str, Any]]:
    spec = trend_chart(**{"points": POINTS, "when": list("abcd"), "unit": "requests/s", "title": "t"} | more)
    assert svg(spec).startswith("<svg")
    found: list[dict[str, Any]] = spec["layer"]
    return found


def test_the_band_is_as_high_as_the_noise_floor() -> None:
    first, *_ = layers(levels=[Level(first=1, last=4, value=100.0, floor=1.21)])
    assert first["mark"]["type"] == "rect"
    (band,) = first["data"]["values"]
    assert (band["y"], band["y2"]) == pytest.approx((100 / 1.1, 110))
    assert band["y2"] / band["y"] == pytest.approx(1.21)


def test_without_a_measured_floor_there_is_a_level_and_no_band() -> None:
    kinds = [layer["mark"]["type"] for layer in layers(levels=[Level(first=1, last=4, value=100.0)])]
    assert kinds == ["rule", "rule", "point"]


def test_a_change_is_a_line_between_two_runs_with_its_size() -> None:
    *_, line, text = layers(changes=[ChangeMark(place=3, text="+20.0%", kind="faster")])
    assert [value["x"] for value in line["data"]["values"]] == [2.5]
    assert text["data"]["values"][0]["text"] == "+20.0%"


def test_runs_that_do_not_count_have_other_symbols() -> None:
    states = ("counted", "other environment", "failed a check")
    points = [ChartPoint(place=n, value=1.0, low=1.0, high=1.0, state=state) for n, state in enumerate(states, start=1)]
    shapes = [layer["mark"]["shape"] for layer in layers(points=points) if layer["mark"]["type"] == "point"]
    assert len(set(shapes)) == 3


@pytest.mark.parametrize("runs", [1, 6, 7, 100])
def test_the_axis_names_few_of_many_runs(runs: int) -> None:
    points = [ChartPoint(place=place, value=1.0, low=1.0, high=1.0) for place in range(1, runs + 1)]
    (first, *_) = layers(points=points, when=["28 Nov"] * runs)
    ticks = first["encoding"]["x"]["axis"]["values"]
    assert ticks[0] == 1
    assert len(ticks) <= MOST_TICKS


def test_without_a_figure_the_chart_says_so() -> None:
    spec = trend_chart([], when=["a"], unit="u", title="t")
    assert "no run has the figure" in " ".join(spec["mark"]["text"])
