"""Speed-up over one host by the number of hosts, with the ideal line and intervals; one line per bound. Pure."""

from __future__ import annotations

from harness.report.charts.line_ends import ROOM, ends, labels
from harness.report.charts.theme import (
    BLUE,
    INK,
    ORANGE,
    QUIET,
    SERIES,
    WIDTH,
    Rows,
    Spec,
    axis,
    chart,
    in_order,
    nothing,
    numbers,
)  # fmt: skip

HEIGHT = 280
TIMES = "times the requests of one host"
IDEAL = "ideal: as many times as hosts"


def speed_up(rows: Rows, *, title: str, subtitle: str = "", because: str = "no trial with one host is valid") -> Spec:
    """Rows: `bound` (a line), `hosts`, `value`, `low` and `high` (the interval; absent without one), `wanted`."""
    rows = list(rows)
    points = numbers(rows, "hosts", "value", above=0)
    if not points:
        return nothing(title, because)
    counts = sorted(in_order(row["hosts"] for row in points))
    top = max(counts[-1], *(row["value"] for row in points))
    ideal = [{"bound": IDEAL, "hosts": n, "value": n} for n in (counts[0], counts[-1])]
    bounds = in_order(row["bound"] for row in points)
    colours = {"domain": [*bounds, IDEAL], "range": [*([BLUE, ORANGE, *SERIES[2:]][: len(bounds)]), QUIET]}
    colour = axis("bound", None, "nominal", scale=colours, legend=None)
    x_scale, y_scale = {"domain": [0, counts[-1]], "nice": False}, {"domain": [0, 1.06 * top], "nice": False}
    x = axis("hosts", "app hosts", axis={"values": counts, "format": "d"}, scale=x_scale)
    y = axis("value", TIMES, scale=y_scale)
    last = ends(
        [*points, *ideal], series="bound", x="hosts", y="value", ends_at=(0, 1.06 * top), height=HEIGHT, log=False
    )
    layers: list[Spec] = [
        {"data": {"values": ideal}, "mark": {"type": "line", "strokeDash": [5, 4]},
         "encoding": {"x": x, "y": y, "color": colour}},
        {"mark": {"type": "line"}, "encoding": {"x": x, "y": y, "color": colour}},
        {"mark": {"type": "point", "size": 60}, "encoding": {"x": x, "y": y, "color": colour}},
        {"data": {"values": numbers(rows, "hosts", "low", "high", above=0)},
         "mark": {"type": "rule", "strokeWidth": 2},
         "encoding": {"x": x, "y": axis("low", TIMES, scale=y_scale), "y2": {"field": "high"}, "color": colour}},
        {"data": {"values": numbers(rows, "hosts", "wanted", above=0)},
         "mark": {"type": "tick", "orient": "horizontal", "thickness": 2, "size": 22, "color": INK},
         "encoding": {"x": x, "y": axis("wanted", TIMES, scale=y_scale)}},
        labels(last, x="hosts", x_scale=x_scale, y_scale=y_scale, colour=colour),
    ]  # fmt: skip
    return chart(title, subtitle, points, {"width": WIDTH - ROOM, "height": HEIGHT, "layer": layers})
