"""Strategies as points: throughput against a percentile, those that lost updates crossed out. Pure."""

from __future__ import annotations

from harness.report.charts.line_ends import LINE_PX
from harness.report.charts.theme import (
    BLUE,
    CROSS,
    ORANGE,
    RED,
    WIDTH,
    Point,
    Rows,
    Spec,
    axis,
    chart,
    in_order,
    nothing,
    numbers,
)  # fmt: skip

HEIGHT = 280
LOST = "lost updates"


def strategies(
    rows: Rows, *, percentile: str = "p99", title: str, subtitle: str = "", because: str = "no strategy was measured"
) -> Spec:
    """Points by strategy. Rows: `strategy`, `keys` (`1 hot key` …), `rps`, `ms` (that percentile), `lost` (updates)."""
    points = numbers(rows, "rps", "ms", above=0)
    if not points:
        return nothing(title, because)
    for row in points:
        lost = int(next(iter(numbers([row], "lost")), {}).get("lost", 0))
        row["kind"] = LOST if lost else row["keys"]
        row["text"] = f"{row['strategy']}: {lost:,} updates lost" if lost else str(row["strategy"])
    keys = in_order(row["keys"] for row in points)
    kinds = [
        *(key for key in keys if any(row["kind"] == key for row in points)),
        *([LOST] if _any_lost(points) else []),
    ]
    shapes = {LOST: CROSS} | dict(zip(keys, ("circle", "square", "diamond"), strict=False))
    colours = {LOST: RED} | dict(zip(keys, (BLUE, ORANGE, BLUE), strict=False))
    most = max(row["rps"] for row in points)
    y_most = max(row["ms"] for row in points)
    x = axis("rps", "acknowledged requests/s", scale={"domain": [0, 1.3 * most], "nice": False})
    y_scale = {"domain": [0, 1.12 * y_most], "nice": False}
    scale = {"domain": kinds, "range": [colours.get(kind, BLUE) for kind in kinds]}
    layers = [
        {"mark": {"type": "point", "size": 110, "filled": True},
         "encoding": {"x": x, "y": axis("ms", f"{percentile} latency, ms", scale=y_scale),
                      "color": axis("kind", None, "nominal", scale=scale),
                      "shape": axis("kind", None, "nominal",
                                    scale={"domain": kinds, "range": [shapes.get(k, "circle") for k in kinds]})}},
        {"data": {"values": _placed(points, 1.3 * most, 1.12 * y_most)},
         "mark": {"type": "text", "align": "left", "dx": 9, "baseline": "middle"},
         "encoding": {"x": x, "y": {"field": "label_y", "type": "quantitative", "scale": y_scale},
                      "text": {"field": "text"}}},
    ]  # fmt: skip
    return chart(title, subtitle, points, {"width": WIDTH - 6, "height": HEIGHT, "layer": layers})


def _any_lost(points: list[Point]) -> bool:
    return any(row["kind"] == LOST for row in points)


def _placed(points: list[Point], x_most: float, y_most: float) -> list[Point]:
    """Returns the points with `label_y`: labels move up where they would be over the label of another point,
    then down where that is above the drawing."""
    boxes: list[list[float]] = []
    rows = sorted(points, key=lambda row: row["ms"])
    for row in rows:
        left, width = WIDTH * row["rps"] / x_most, 7.0 * len(row["text"]) + 12
        y = HEIGHT * row["ms"] / y_most
        for other in sorted(boxes, key=lambda box: box[2]):
            if _over([left, left + width, y], other):
                y = other[2] + LINE_PX
        boxes.append([left, left + width, y])
    placed: list[list[float]] = []
    for box in sorted(boxes, key=lambda box: -box[2]):
        box[2] = min(box[2], HEIGHT - 6)
        for other in placed:
            if _over(box, other):
                box[2] = other[2] - LINE_PX
        placed.append(box)
    return [row | {"label_y": y_most * box[2] / HEIGHT} for row, box in zip(rows, boxes, strict=True)]


def _over(one: list[float], other: list[float]) -> bool:
    """Whether two labels, each its left and right end and its height in px, are over each other."""
    return one[0] <= other[1] and other[0] <= one[1] and abs(one[2] - other[2]) < LINE_PX
