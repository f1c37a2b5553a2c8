"""Charts of a trial with faults: each fault as a band over rate, errors and latency, and the story of one request."""

from __future__ import annotations

from harness.report.charts import theme
from harness.report.charts.theme import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
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

BAND = theme.YELLOW
"""Drawn pale; the name is above the band, so no information is in the colour alone."""
PANEL = 105
LATENCIES = {"p50_ms": "median", "max_ms": "longest"}
SHADES = {"median": PURPLE, "longest": INK}
STORY_ROW = 34


def over_time(rows: Rows, bands: Rows, *, title: str, subtitle: str = "", because: str = "no request was sent") -> Spec:
    """Acknowledged and failed requests per second, and latency, with a band from each injection to its heal.

    Rows: `at_s`, `ok`, `fail`, `unknown` (per second) and `p50_ms`, `max_ms` (absent where too few were answered).
    Bands: `fault`, `from_s`, `to_s`.
    """
    rows = [row for row in rows if theme.number(row.get("at_s")) is not None]
    steps = numbers(rows, "at_s")
    if not steps:
        return nothing(title, because)
    end = max(row["at_s"] for row in steps)
    x = axis("at_s", None, scale={"domain": [0, end], "nice": False})
    marked = numbers(bands, "from_s", "to_s")
    ok = [{"at_s": row["at_s"], "rate": row["ok"]} for row in numbers(rows, "at_s", "ok")]
    errors = [
        {"at_s": row["at_s"], "outcome": name, "rate": row[name]}
        for name in ("fail", "unknown")
        for row in numbers(rows, "at_s", name)
    ]
    times = [
        {"at_s": row["at_s"], "percentile": LATENCIES[name], "ms": theme.number(row.get(name))}
        for name in LATENCIES
        if any(theme.number(row.get(name)) is not None for row in rows)
        for row in rows
    ]
    drawn = in_order(row["percentile"] for row in times)
    named = [row | {"middle": (row["from_s"] + row["to_s"]) / 2} for row in marked]
    names = {
        "width": WIDTH,
        "height": 16,
        "data": {"values": named},
        "mark": {"type": "text", "fontSize": 11, "color": INK},
        "encoding": {
            "x": axis("middle", None, axis=None, scale=x["scale"]),
            "text": axis("fault", None, "nominal"),
        },
    }  # fmt: skip
    rate = _panel(
        ok, {"type": "area", "interpolate": "step-after", "color": BLUE}, x, axis("rate", "acknowledged/s"), marked
    )
    failed = _panel(
        errors,
        {"type": "area", "interpolate": "step-after"},
        x,
        axis("rate", "errors/s", stack="zero", scale={"domainMin": 0}),
        marked,
        color=axis("outcome", None, "nominal", scale={"domain": ["fail", "unknown"], "range": [ORANGE, RED]}),
    )
    latency = _panel(
        times,
        {"type": "line", "interpolate": "step-after", "invalid": "break-paths-filter-domains"},
        x | {"title": "seconds since the load began"},
        axis("ms", "latency (ms, log)", scale={"type": "log"}, axis={"tickCount": 4, "format": ",~g"}),
        marked,
        color=axis("percentile", None, "nominal", scale={"domain": drawn, "range": [SHADES[name] for name in drawn]}),
    )
    body = {"vconcat": [names, rate, failed, latency], "spacing": 8, "resolve": {"scale": {"color": "independent"}}}
    return chart(title, subtitle, [], body)


def _panel(rows: list[Point], mark: Spec, x: Spec, y: Spec, bands: list[Point], **channels: Spec) -> Spec:
    band = {
        "data": {"values": bands},
        "mark": {"type": "rect", "color": BAND, "opacity": 0.35},
        "encoding": {"x": axis("from_s", x["title"]), "x2": {"field": "to_s"}},
    }
    drawn = {"data": {"values": rows}, "mark": mark, "encoding": {"x": x, "y": y, **channels}}
    return {"width": WIDTH, "height": PANEL, "layer": [band, drawn]}


def story(events: Rows, *, title: str, subtitle: str = "") -> Spec:
    """What happened to one request, in order. Rows: `at_ms` (from its send), `where` (a part of the rig), `what`."""
    points = [row | {"order": order} for order, row in enumerate(numbers(events, "at_ms"))]
    if not points:
        return nothing(title, "nothing was recorded about it")
    lanes = in_order(str(row["where"]) for row in points)
    for row in points:
        row["time"] = f"{row['at_ms']:+,.1f} ms"
        row["text"] = theme.shortened(str(row["what"]), 78)
    y = axis("order", None, "ordinal", axis=None)
    colour = axis("where", None, "nominal", sort=lanes, legend=None)
    time: Spec = {
        "mark": {"type": "text", "align": "right", "x": 88, "color": QUIET},
        "encoding": {"text": axis("time", None, "nominal"), "y": y},
    }
    dot: Spec = {"mark": {"type": "point", "x": 104}, "encoding": {"y": y, "color": colour}}
    line: Spec = {"mark": {"type": "rule", "x": 104, "color": FAINT}, "encoding": {}}
    where: Spec = {
        "mark": {"type": "text", "align": "left", "x": 118, "fontWeight": 600, "dy": -6},
        "encoding": {"text": axis("where", None, "nominal"), "y": y},
    }
    what: Spec = {
        "mark": {"type": "text", "align": "left", "x": 118, "dy": 8},
        "encoding": {"text": axis("text", None, "nominal"), "y": y},
    }
    return chart(
        title,
        subtitle,
        points,
        {"width": WIDTH, "height": {"step": STORY_ROW}, "layer": [line, time, dot, where, what]},
    )
