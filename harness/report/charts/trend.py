"""A figure of stored runs over time: level, noise floor, changes, and runs that are not compared. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.charts.theme import BLUE, CROSS, INK, PALE, PICTURE, QUIET, RED, Spec, axis, chart, nothing

WIDTH, HEIGHT = PICTURE - 90, 170
MOST_TICKS = 5
MANY = 40
"""Runs from which the symbols are small."""
STATES = {"counted": "circle", "other environment": "diamond", "failed a check": CROSS}
"""State of a run -> its symbol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartPoint:
    """A run at `place` 1…n with its figure; `state` is one of STATES."""

    place: int
    value: float
    low: float
    high: float
    state: str = "counted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A part without a change from the run at `first` to that at `last`; `floor` None draws no band."""

    first: int
    last: int
    value: float
    floor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMark:
    """A change before the run at `place`; `kind`: faster or slower, else it is drawn without a claim."""

    place: int
    text: str
    kind: str


def trend_chart(
    points: Sequence[ChartPoint],
    *,
    when: Sequence[str],
    unit: str,
    title: str,
    subtitle: str = "",
    levels: Sequence[Level] = (),
    changes: Sequence[ChangeMark] = (),
    other_code: Sequence[int] = (),
) -> Spec:
    """Returns the chart. `when`: the text of each run on the axis; `other_code`: runs whose code or settings are
    not those of the run before."""
    if not points:
        return nothing(title, "no run has the figure")
    bands = [
        {"x": level.first - 0.4, "x2": level.last + 0.4, "y": level.value / math.sqrt(level.floor),
         "y2": level.value * math.sqrt(level.floor)}
        for level in levels if level.floor
    ]  # fmt: skip
    ends = [end for point in points for end in (point.low, point.high)]
    ends += [end for band in bands for end in (band["y"], band["y2"])]
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    top = high + (3 * room if changes else room)
    texts = json.dumps({str(place): text for place, text in enumerate(when, start=1)})
    ticks = {"values": _ticks(len(when)), "labelExpr": f"({texts})[datum.value]", "labelLimit": 80, "grid": False}
    x = axis("x", None, scale={"domain": [0.5, len(when) + 0.5], "nice": False}, axis=ticks)
    y = axis("y", unit, scale={"domain": [max(0.0, low - room), top], "zero": False, "nice": False},
             axis={"tickCount": 5})  # fmt: skip
    span = {"x": x, "x2": {"field": "x2"}, "y": y}
    layers: list[Spec] = [
        _layer(bands, {"type": "rect", "color": PALE}, span | {"y2": {"field": "y2"}}),
        _layer([{"x": place - 0.5} for place in other_code],
               {"type": "rule", "color": QUIET, "strokeDash": [1, 4]}, {"x": x}),
        _layer([{"x": level.first - 0.4, "x2": level.last + 0.4, "y": level.value} for level in levels],
               {"type": "rule", "color": QUIET, "strokeWidth": 1.5}, span),
        _layer([{"x": point.place, "y": point.low, "y2": point.high} for point in points if point.low < point.high],
               {"type": "rule", "color": INK, "strokeWidth": 1}, {"x": x, "y": y, "y2": {"field": "y2"}}),
        *(_symbols([point for point in points if point.state == state], state, x, y, small=len(when) > MANY)
          for state in STATES),
        *(layer for change in changes for layer in _change(change, top, x, y)),
    ]  # fmt: skip
    shown = [layer for layer in layers if layer["data"]["values"]]
    return chart(title, subtitle, [], {"width": WIDTH, "height": HEIGHT, "layer": shown})


def _ticks(runs: int) -> list[int]:
    step = math.ceil(runs / MOST_TICKS)
    return list(range(1, runs + 1, step))


def _layer(values: Sequence[Spec], mark: Spec, encoding: Spec) -> Spec:
    return {"data": {"values": list(values)}, "mark": mark, "encoding": encoding}


def _symbols(points: Sequence[ChartPoint], state: str, x: Spec, y: Spec, *, small: bool) -> Spec:
    mark: Spec = {"type": "point", "size": 20 if small else 55, "shape": STATES[state]}
    mark["filled"] = state != "other environment"
    mark["color"] = {"counted": BLUE, "other environment": QUIET, "failed a check": RED}[state]
    return _layer([{"x": point.place, "y": point.value} for point in points], mark, {"x": x, "y": y})


def _change(change: ChangeMark, top: float, x: Spec, y: Spec) -> list[Spec]:
    colour = {"faster": BLUE, "slower": RED}.get(change.kind, QUIET)
    at = [{"x": change.place - 0.5, "y": top, "text": change.text}]
    return [
        _layer(at, {"type": "rule", "color": colour, "strokeDash": [5, 3], "strokeWidth": 2}, {"x": x}),
        _layer(at, {"type": "text", "color": INK, "align": "left", "baseline": "top", "dx": 5, "dy": 2,
                    "fontWeight": 600}, {"x": x, "y": y, "text": {"field": "text"}}),
    ]  # fmt: skip
