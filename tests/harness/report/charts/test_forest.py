"""The forest plot: what is drawn of a row, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from harness.report.charts.drawing import svg
from harness.report.charts.forest import ForestRow, forest
from harness.report.charts.theme import BLUE, INK, RED


def layers(*rows: ForestRow) -> list[dict[str, Any]]:
    spec = forest(rows, title="t", subtitle="s", ratio="B / A", means="more")
    assert svg(spec).startswith("<svg")
    found: list[dict[str, Any]] = spec["layer"]
    return found


def marks(*rows: ForestRow) -> list[str]:
    return [layer["mark"]["type"] for layer in layers(*rows)]


ROW = ForestRow(label="upsert", verdict="slower by 20%", kind="slower", ratio=1.2, low=1.1, high=1.3, floor=1.05)


def test_a_row_has_a_band_its_interval_a_point_and_two_texts() -> None:
    assert marks(ROW) == ["rect", "rule", "rule", "point", "text", "text"]
    (band,) = layers(ROW)[0]["data"]["values"]
    assert (band["x"], band["x2"]) == pytest.approx((1 / 1.05, 1.05))


def test_without_a_floor_there_is_no_band() -> None:
    assert "rect" not in marks(ForestRow(label="x", verdict="~", ratio=1.0, low=0.9, high=1.1))


def test_without_an_interval_there_is_a_point_and_without_a_ratio_only_text() -> None:
    assert marks(ForestRow(label="x", verdict="too few trials", ratio=1.1)) == ["rule", "point", "text", "text"]
    assert marks(ForestRow(label="x", verdict="MISSING")) == ["text", "text"]


def test_what_is_beyond_the_axis_is_an_arrow_at_its_end() -> None:
    far = ForestRow(label="x", verdict="faster", kind="faster", ratio=900.0, low=0.5, high=2000.0)
    points = [layer for layer in layers(far) if layer["mark"]["type"] == "point"]
    assert {layer["mark"]["shape"] for layer in points} == {"triangle-up", "triangle-right"}
    assert points[-1]["data"]["values"][0]["x"] == 20.0


@pytest.mark.parametrize(("kind", "colour", "shape"), [
    ("slower", RED, "triangle-down"), ("faster", BLUE, "triangle-up"), ("~", INK, "circle"),
])  # fmt: skip
def test_a_verdict_is_a_shape_besides_a_colour(kind: str, colour: str, shape: str) -> None:
    *_, point, _, _ = layers(ForestRow(label="x", verdict="v", kind=kind, ratio=1.1))
    assert (point["mark"]["color"], point["mark"]["shape"]) == (colour, shape)


def test_a_ratio_of_zero_is_drawn_at_the_end_of_the_axis() -> None:
    assert "point" in marks(ForestRow(label="x", verdict="slower by 100%", kind="slower", ratio=0.0))
