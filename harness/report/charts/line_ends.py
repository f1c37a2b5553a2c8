"""Labels at the ends of lines, moved apart where they would overlap. Pure.

A label beside its line needs no legend, so colour is not what tells the lines apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from harness.report.charts.theme import Point, Spec, lines, short_words

LINE_PX = 14
"""Height of a line of a label in px."""
WRAP = 20
"""Characters of a line of a label."""
ROOM = 140
"""Width that labels need to the right of the plotting area in px."""


def domain(points: Sequence[Point], name: str, *, log: bool, zero: bool = False) -> tuple[float, float]:
    """Returns the ends of an axis, so that the places of labels are known before it is drawn."""
    values = [point[name] for point in points]
    low, high = (0.0 if zero else min(values)), max(values)
    if low == high:
        return (low / 2, high * 2) if log else (low - 1, high + 1)
    return (low, high * (1.05 if log else 1.02))


def ends(
    points: Sequence[Point], *, series: str, x: str, y: str, ends_at: tuple[float, float], height: float, log: bool
) -> list[Point]:
    """Returns the last point of each series, once for each line of its label, with `label` and `label_y`: where that
    line is, in the unit of the axis. The lines of a label are around its place.

    `ends_at`: the ends of the y axis, `height` its length in px.
    """
    last: dict[object, Point] = {}
    for point in points:
        if point[series] not in last or point[x] >= last[point[series]][x]:
            last[point[series]] = point
    low, high = (math.log(end) for end in ends_at) if log else ends_at
    place = {
        key: height * ((math.log(point[y]) if log else point[y]) - low) / (high - low) for key, point in last.items()
    }
    texts = {key: lines(short_words(str(key), WRAP), WRAP) for key in last}
    moved = _apart(place, {key: LINE_PX * len(text) for key, text in texts.items()}, height)
    placed = []
    for key, point in last.items():
        for number, text in enumerate(texts[key]):
            px = moved[key] + LINE_PX * ((len(texts[key]) - 1) / 2 - number)
            value = low + (high - low) * px / height
            placed.append(point | {"label_y": math.exp(value) if log else value, "label": text})
    return placed


def labels(rows: Sequence[Point], *, x: str, x_scale: Spec, y_scale: Spec, colour: Spec) -> Spec:
    """Returns the layer of text to the right of the lines."""
    return {
        "data": {"values": list(rows)},
        "mark": {"type": "text", "align": "left", "baseline": "middle", "dx": 6, "limit": ROOM - 8},
        "encoding": {
            "x": {"field": x, "type": "quantitative", "scale": x_scale},
            "y": {"field": "label_y", "type": "quantitative", "scale": y_scale},
            "text": {"field": "label"},
            "color": colour,
        },
    }


def _apart(place: dict[object, float], tall: dict[object, float], height: float) -> dict[object, float]:
    """Moves places apart by their heights, from the bottom up, then down again where they left the axis."""
    order = sorted(place, key=lambda key: place[key])
    moved = dict(place)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + (tall[below] + tall[above]) / 2)
    limit = height
    for key in reversed(order):
        moved[key] = min(moved[key], limit - tall[key] / 2)
        limit = moved[key] - tall[key] / 2
    return moved
