"""A trial over time on one axis: load and errors, percentiles, and what hosts and database did meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.charts.line_ends import ROOM, domain, ends, labels
from harness.report.charts.telemetry_series import CPU, REQUESTS, SESSIONS
from harness.report.charts.theme import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SERIES,
    Point,
    Rows,
    Spec,
    axis,
    chart,
    in_order,
    nothing,
    numbers,
)  # fmt: skip

WIDTH, HEIGHT, LOW = 430 - ROOM, 110, 60
"""Width of all panels, height of those of the load, height of those of telemetry, in px."""
BELOW: Sequence[str] = (CPU, SESSIONS, REQUESTS)
"""Panels of telemetry that are shown under the load: what requests wait for."""


def over_time(
    rows: Rows, below: Rows = (), *, title: str, subtitle: str = "", because: str = "no second was recorded"
) -> Spec:
    """Rows of timeline.csv of one trial; `below`: points of telemetry (`panel`, `name`, `second`, `mean`)."""
    seconds = numbers(rows, "second")
    if not seconds:
        return nothing(title, because)
    outcomes = [
        {"second": row["second"], "what": name, "value": row[name]}
        for name in ("ok", "fail", "unknown")
        for row in _with_end(numbers(seconds, "second", name))
    ]
    tails = [
        {"second": row["second"], "what": name.removesuffix("_ms"), "value": row[name]}
        for name in ("p50_ms", "p95_ms", "p99_ms")
        for row in _with_end([row for row in numbers(seconds, "second", name) if row[name] > 0])
    ]
    read = [row | {"value": row["mean"], "what": row["name"]} for row in numbers(below, "second", "mean")]
    panels = [name for name in BELOW if any(row.get("panel") == name for row in read)]
    time = {"domain": [0, max(row["second"] for row in seconds) + 1], "nice": False}
    views = [_rates(outcomes, time)]
    if tails:
        views.append(_lines(tails, time, "latency, ms (log)", {"p50": GREEN, "p95": PURPLE, "p99": INK}, log=True))
    for panel in panels:
        of_panel = [row for row in read if row["panel"] == panel]
        names = in_order(row["what"] for row in of_panel)
        views.append(_lines(of_panel, time, panel, dict(zip(names, SERIES, strict=False)), log=False))
    views[-1]["layer"][0]["encoding"]["x"] = axis("second", "seconds since the trial began", scale=time)
    return chart(title, subtitle, [], {"vconcat": views, "spacing": 10, "resolve": {"scale": {"color": "independent"}}})


def _with_end(rows: list[Point]) -> list[Point]:
    """Returns the rows of a stepped line with one more, which gives the last second a width."""
    return [*rows, rows[-1] | {"second": rows[-1]["second"] + 1}] if rows else []


def _x(scale: Spec) -> Spec:
    return axis("second", None, scale=scale, axis={"labels": False, "ticks": False})


def _rates(rows: list[Point], time: Spec) -> Spec:
    names = {"ok": BLUE, "fail": ORANGE, "unknown": RED}
    used = [name for name in names if any(row["what"] == name and row["value"] for row in rows)] or ["ok"]
    colour = axis("what", None, "nominal", scale={"domain": used, "range": [names[name] for name in used]},
                  legend={"orient": "right", "columns": 1, "symbolType": "square"})  # fmt: skip
    area: Spec = {
        "mark": {"type": "area", "interpolate": "step-after"},
        "encoding": {
            "x": _x(time), "y": axis("value", None, stack="zero", axis={"tickCount": 3}), "color": colour,
            "order": {"field": "what", "sort": "ascending"},
        },
    }  # fmt: skip
    shown = [row for row in rows if row["what"] in used]
    return _panel("requests/s", {"height": HEIGHT, "data": {"values": shown}, "layer": [area]})


def _lines(rows: list[Point], time: Spec, title: str, colours: dict[str, str], *, log: bool) -> Spec:
    height = HEIGHT if log else LOW
    at = domain(rows, "value", log=log, zero=not log)
    y_scale: Spec = {"domain": list(at), "nice": False} | ({"type": "log"} if log else {})
    colour = axis("what", None, "nominal", legend=None,
                  scale={"domain": list(colours), "range": list(colours.values())})  # fmt: skip
    line: Spec = {
        "mark": {"type": "line", "interpolate": "step-after" if log else "linear"},
        "encoding": {"x": _x(time), "y": axis("value", None, scale=y_scale, axis={"tickCount": 3}), "color": colour},
    }
    last = ends(rows, series="what", x="second", y="value", ends_at=at, height=height, log=log)
    texts = labels(last, x="second", x_scale=time, y_scale=y_scale, colour=colour)
    return _panel(title, {"height": height, "data": {"values": rows}, "layer": [line, texts]})


def _panel(title: str, body: Spec) -> Spec:
    head = {"text": title, "fontSize": 12, "fontWeight": "normal", "offset": 4, "frame": "group"}
    return {"width": WIDTH, "title": head, **body}
