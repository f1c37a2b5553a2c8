"""The forest plot of a comparison: one row a cell, its ratio with interval, and the noise floor as a band. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.charts.theme import BLUE, INK, PALE, PICTURE, QUIET, RED, Spec, axis, chart, inside_cut

WIDTH = PICTURE - 24
"""Width of the plotting area in px: labels are above their rows, inside of it."""
ROW, LABEL_Y, LINE_Y, HALF_BAND = 46, 13, 31, 10
"""Height of a row; within it the line of text, the line of the interval, and half the height of the band, in px."""
LONGEST = 78
"""Characters of a label and its verdict; the table below the picture has all of both."""
LEAST_LABEL = 20
LEAST, MOST = 1.1, 20.0
"""The axis reaches at least and at most this far from 1, as a factor."""
COLOURS = {"faster": BLUE, "slower": RED}
SHAPES = {"faster": "triangle-up", "slower": "triangle-down"}
TICKS = (
    (1.25, (0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2, 1.25)),
    (2.1, (0.5, 0.6, 0.7, 0.8, 1, 1.25, 1.5, 1.75, 2)),
    (MOST, (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)),
)  # fmt: skip
"""Reach of the axis -> ratios with a tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRow:
    """A row of the plot: `ratio` is None where there is none, `low` and `high` where the trials are too few for them.

    `kind`: faster, slower, or anything else. `floor`: a ratio within it is no difference; 1 draws no band.
    """

    label: str
    verdict: str
    kind: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    floor: float = 1.0


def forest(rows: Sequence[ForestRow], *, title: str, subtitle: str, ratio: str, means: str) -> Spec:
    """Returns the plot of at least one row; `ratio` is its name, `means` what one above 1 is."""
    reach = _reach(rows)
    height = ROW * len(rows)
    scale = {"type": "log", "domain": [1 / reach, reach], "nice": False}
    ticks = next(values for most, values in TICKS if reach <= most)
    inside = [tick for tick in ticks if 1 / reach <= tick <= reach]
    x = axis("x", f"{ratio}, log; right of 1: {means}", scale=scale, axis={"values": inside, "format": "~r"})
    y = {"field": "y", "type": "quantitative", "scale": {"domain": [height, 0], "nice": False}, "axis": None}
    drawn = [(row, number * ROW) for number, row in enumerate(rows)]
    layers: list[Spec] = [
        {
            "data": {"values": [_band(row, top, reach) for row, top in drawn if row.floor > 1 and row.ratio]},
            "mark": {"type": "rect", "color": PALE},
            "encoding": {"x": x, "x2": {"field": "x2"}, "y": y, "y2": {"field": "y2"}},
        },
        {
            "data": {"values": [_span(top) | {"x": 1} for row, top in drawn if row.ratio is not None]},
            "mark": {"type": "rule", "color": QUIET, "strokeWidth": 1},
            "encoding": {"x": x, "y": y, "y2": {"field": "y2"}},
        },
        *(layer for row, top in drawn for layer in _mark(row, top, reach, x, y)),
        _texts([_text(top, row.label, LONGEST - len(row.verdict)) for row, top in drawn], y, left=True),
        _texts([_text(top, row.verdict, LONGEST - LEAST_LABEL) for row, top in drawn], y, left=False),
    ]
    layers = [layer for layer in layers if layer["data"]["values"]]
    return chart(title, subtitle, [], {"width": WIDTH, "height": height, "layer": layers})


def _reach(rows: Sequence[ForestRow]) -> float:
    """Returns how far the axis goes from 1, as a factor: a little beyond the farthest end of an interval or a band."""
    ends = [end for row in rows if row.ratio is not None for end in (row.ratio, row.low, row.high, row.floor)]
    folds = [max(end, 1 / end) for end in ends if end and math.isfinite(end)]
    reach: float = max([LEAST, *folds]) ** 1.08
    return min(MOST, reach)


def _band(row: ForestRow, top: int, reach: float) -> Spec:
    floor = min(row.floor, reach)
    return _span(top) | {"x": 1 / floor, "x2": floor}


def _span(top: int) -> Spec:
    return {"y": top + LINE_Y - HALF_BAND, "y2": top + LINE_Y + HALF_BAND}


def _text(top: int, text: str, most: int) -> Spec:
    return {"y": top + LABEL_Y, "text": inside_cut(text, max(most, LEAST_LABEL))}


def _mark(row: ForestRow, top: int, reach: float, x: Spec, y: Spec) -> list[Spec]:
    """Returns the interval and the point of a row; an end beyond the axis is an arrow."""
    if row.ratio is None:
        return []
    at = top + LINE_Y
    colour = COLOURS.get(row.kind, INK)

    def clamped(value: float) -> float:
        return min(max(value, 1 / reach), reach)

    shape = SHAPES.get(row.kind, "circle")
    if clamped(row.ratio) != row.ratio:
        shape = "triangle-right" if row.ratio > 1 else "triangle-left"
    point: Spec = {
        "data": {"values": [{"x": clamped(row.ratio), "y": at}]},
        "mark": {"type": "point", "filled": True, "size": 80, "color": colour, "shape": shape},
        "encoding": {"x": x, "y": y},
    }
    if row.low is None or row.high is None:
        return [point]
    line: Spec = {
        "data": {"values": [{"x": clamped(row.low), "x2": clamped(row.high), "y": at}]},
        "mark": {"type": "rule", "color": colour, "strokeWidth": 2.5},
        "encoding": {"x": x, "x2": {"field": "x2"}, "y": y},
    }
    beyond: Spec = {
        "data": {
            "values": [
                {"x": clamped(end), "y": at, "angle": angle}
                for end, angle in ((row.low, 270), (row.high, 90))
                if clamped(end) != end
            ]
        },
        "mark": {"type": "point", "filled": True, "size": 50, "color": colour, "shape": "triangle-up"},
        "encoding": {"x": x, "y": y, "angle": {"field": "angle", "type": "quantitative", "scale": None}},
    }
    return [line, beyond, point]


def _texts(rows: list[Spec], y: Spec, *, left: bool) -> Spec:
    return {
        "data": {"values": rows},
        "mark": {"type": "text", "align": "left" if left else "right", "fontWeight": 600 if left else "normal"},
        "encoding": {"x": {"value": 0 if left else WIDTH}, "y": y, "text": {"field": "text"}},
    }
