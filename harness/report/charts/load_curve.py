"""The chart of latency by load: one point per trial and percentile, the limits, and the capacity. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.report.charts.theme import (
    GREEN,
    INK,
    PURPLE,
    QUIET,
    RED,
    SKY,
    WIDTH,
    Point,
    Rows,
    Spec,
    axis,
    chart,
    in_order,
    nothing,
    numbers,
)

COLOURS = {"p50": GREEN, "p95": PURPLE, "p99": INK, "p99.9": RED, "max": QUIET}
HELD, BROKEN, UNCOUNTED = "held", "did not hold", "does not count"
SHAPES = {HELD: "circle", BROKEN: "cross", UNCOUNTED: "triangle-up"}
WIDE = 8.0
"""Ratio of the rates above which their axis is logarithmic."""


def load_curve(
    rows: Rows,
    *,
    limits: Rows = (),
    interval: tuple[float, float, float] | None = None,
    title: str,
    subtitle: str = "",
    because: str = "no trial with an open load finished",
) -> Spec:
    """Latency by offered rate. Rows: `rate`, `percentile`, `ms`, `result`; `limits`: `percentile`, `ms`.

    The lines rise from rate to rate: the fit to the points under this condition (isotonic regression).
    `interval`: low end, capacity, high end.
    """
    points = [row for row in numbers(rows, "rate", "ms", above=0) if row.get("percentile") in COLOURS]
    if not points:
        return nothing(title, because)
    shown = [name for name in COLOURS if name in {row["percentile"] for row in points}]
    rates = [row["rate"] for row in points]
    kind = {"type": "log"} if max(rates) > WIDE * min(rates) else {"zero": False}
    words = " (log)" if "type" in kind else ""
    x = axis(
        "rate",
        f"offered requests/s{words}",
        scale=kind | {"nice": False, "padding": 12},
        axis={"format": ",~r", "tickCount": 7},
    )
    y = axis("ms", "latency from the due time (ms, log)", scale={"type": "log"}, axis={"tickCount": 6, "format": "~g"})
    colour = axis("percentile", None, "nominal", scale={"domain": shown, "range": [COLOURS[name] for name in shown]})
    results = [name for name in SHAPES if name in in_order(row.get("result") for row in points)]
    shape = axis("result", None, "nominal", legend={"symbolFillColor": INK, "symbolStrokeColor": INK},
                 scale={"domain": results, "range": [SHAPES[name] for name in results]})  # fmt: skip
    lines = [point for name in shown for point in _rising([p for p in points if p["percentile"] == name], name)]
    layers: list[Spec] = []
    if interval is not None:
        low, rate, high = interval
        layers += [
            {"mark": {"type": "rect", "color": SKY, "opacity": 0.25}, "data": {"values": [{"rate": low, "to": high}]},
             "encoding": {"x": x, "x2": {"field": "to"}}},
            {"mark": {"type": "rule", "color": INK, "strokeWidth": 1.5}, "data": {"values": [{"rate": rate}]},
             "encoding": {"x": x}},
        ]  # fmt: skip
    layers += [
        {"mark": {"type": "rule", "strokeDash": [5, 4], "strokeWidth": 1.5},
         "data": {"values": [bound for bound in numbers(limits, "ms", above=0) if bound["percentile"] in shown]},
         "encoding": {"y": y, "color": colour}},
        {"mark": {"type": "line", "opacity": 0.5}, "data": {"values": lines},
         "encoding": {"x": x, "y": y, "color": colour}},
        {"mark": {"type": "point", "filled": True, "size": 45, "opacity": 0.8},
         "encoding": {"x": x, "y": y, "color": colour, "shape": shape}},
    ]  # fmt: skip
    return chart(title, subtitle, points, {"width": WIDTH, "height": 320, "layer": layers})


def _rising(points: Sequence[Point], name: str) -> list[Point]:
    """Pool-adjacent-violators on log latency: the best fit that never falls (Barlow et al., 1972)."""
    blocks: list[tuple[float, list[float]]] = []
    for point in sorted(points, key=lambda row: row["rate"]):
        blocks.append((math.log(point["ms"]), [point["rate"]]))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (after, later), (before, earlier) = blocks.pop(), blocks.pop()
            mean = (after * len(later) + before * len(earlier)) / (len(later) + len(earlier))
            blocks.append((mean, earlier + later))
    return [{"rate": rate, "ms": math.exp(log), "percentile": name} for log, rates in blocks for rate in rates]
