"""The picture of a cycle of transactions: each precedes the next one, so no serial order exists. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.report.charts.theme import BLUE, ORANGE, QUIET, RED, WIDTH, Spec, axis, chart

MAX_TXNS = 12
"""A longer cycle is only shown as text."""
_OPS_LENGTH = 100
_KINDS = {"ww": BLUE, "wr": ORANGE, "rw": RED, "rt": QUIET}
"""Kind of an edge -> its colour; the kind is also written beside it."""
_APART, _GAP = 0.08, 0.22
"""How far an edge lies beside the straight line, and its distance from the transactions, in units of the plot."""
_LEFT, _RIGHT, _TOP, _BOTTOM = -2.2, 2.2, 0.9, -0.9
_UNIT_PX, _LINE_PX = 110, 17
"""Height of a unit of the plot, and of a line of text."""


def cycle(txns: Sequence[tuple[str, str]], kinds: Sequence[str], *, title: str, subtitle: str = "") -> Spec:
    """Transactions as (name, operations) in the order of the cycle; `kinds[n]`: of the edge from n to the next one."""
    count = len(txns)
    turns = [math.pi - 2 * math.pi * number / count for number in range(count)]
    places = [(1.5 * math.cos(turn), 0.66 * math.sin(turn)) for turn in turns]
    nodes = [{"x": x, "y": y, "name": name} for (x, y), (name, _) in zip(places, txns, strict=True)]
    line = _LINE_PX / _UNIT_PX
    texts = [
        {"x": _LEFT, "y": _BOTTOM - line * number, "text": _shortened(f"{name}: {ops}")}
        for number, (name, ops) in enumerate(txns)
    ]
    edges = [_edge(places[number], places[(number + 1) % count], kind) for number, kind in enumerate(kinds[:count])]
    used = [kind for kind in _KINDS if kind in kinds]
    colours = {"domain": used, "range": [_KINDS[kind] for kind in used]}
    colour = axis("kind", None, "nominal", scale=colours, legend=None)
    bottom = _BOTTOM - line * count
    x = axis("x", None, scale={"domain": [_LEFT, _RIGHT]}, axis=None)
    y = axis("y", None, scale={"domain": [bottom, _TOP]}, axis=None)
    layers = [
        {"data": {"values": edges}, "mark": {"type": "rule", "strokeWidth": 2},
         "encoding": {"x": x, "y": y, "x2": {"field": "x2"}, "y2": {"field": "y2"}, "color": colour}},
        {"data": {"values": edges}, "mark": {"type": "point", "shape": "triangle-right", "size": 70, "filled": True},
         "encoding": {"x": {**x, "field": "x2"}, "y": {**y, "field": "y2"}, "color": colour,
                      "angle": {"field": "angle", "type": "quantitative", "scale": None}}},
        {"data": {"values": edges}, "mark": {"type": "text", "fontWeight": 600},
         "encoding": {"x": {**x, "field": "middle_x"}, "y": {**y, "field": "middle_y"}, "color": colour,
                      "text": {"field": "kind"}}},
        {"mark": {"type": "text", "fontSize": 13, "fontWeight": 600},
         "encoding": {"x": x, "y": y, "text": {"field": "name"}}},
        {"data": {"values": texts}, "mark": {"type": "text", "align": "left"},
         "encoding": {"x": x, "y": y, "text": {"field": "text"}}},
    ]  # fmt: skip
    return chart(title, subtitle, nodes, {"width": WIDTH, "height": (_TOP - bottom) * _UNIT_PX, "layer": layers})


def _shortened(text: str) -> str:
    return text if len(text) <= _OPS_LENGTH else f"{text[: _OPS_LENGTH - 1]}…"


def _edge(start: tuple[float, float], end: tuple[float, float], kind: str) -> dict[str, object]:
    """An arrow beside the line between two transactions, so that those of both directions do not cover each other."""
    scale = WIDTH / (_RIGHT - _LEFT) / _UNIT_PX
    dx, dy = (end[0] - start[0]) * scale, end[1] - start[1]
    length = math.hypot(dx, dy)
    ux, uy = dx / length, dy / length
    gap = min(_GAP, length / 4)

    def place(x: float, y: float, along: float, aside: float) -> tuple[float, float]:
        return x + (ux * along + uy * aside) / scale, y + uy * along - ux * aside

    (x, y), (x2, y2) = place(*start, gap, _APART), place(*end, -gap, _APART)
    middle_x, middle_y = place((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, 0, _APART + 0.12)
    angle = -math.degrees(math.atan2(uy, ux))
    return {
        "x": x,
        "y": y,
        "x2": x2,
        "y2": y2,
        "middle_x": middle_x,
        "middle_y": middle_y,
        "angle": angle,
        "kind": kind,
    }
