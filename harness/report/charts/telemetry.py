"""The telemetry chart: small multiples over one time axis, with trials as bands. Pure."""

from __future__ import annotations

from harness.report.charts.theme import FAINT, SERIES, Rows, Spec, axis, chart, in_order, nothing, number, numbers

WIDTH, HEIGHT = 320, 54
"""Size of one panel in px; its legend is to its right."""
FIELDS = ("name", "second", "mean", "peak")
"""What a panel draws of a point."""
SHORT = "datum.value ? format(datum.value, '~s') : '0'"


def small_multiples(
    rows: Rows, trials: Rows, *, title: str, subtitle: str = "", because: str = "no telemetry was recorded"
) -> Spec:
    """Returns one panel per kind of metric.

    Rows: `panel` (its title, with the unit), `name`, `second`, `mean`, `peak`; trials: `order`, `begin`, `end`. The
    strong line is the mean, the faint line the peak. A point without figures breaks the line.
    """
    points = [
        row | {name: number(row.get(name)) for name in ("mean", "peak")}
        for row in map(dict, rows)
        if number(row.get("second")) is not None
    ]
    bands = numbers(trials, "order", "begin", "end")
    if not any(numbers(points, "second", "mean")) or not bands:
        return nothing(title, because)
    panels = in_order(row["panel"] for row in points)
    domain = [min(row["begin"] for row in bands), max(row["end"] for row in bands)]
    x = axis("second", None, scale={"domain": domain, "nice": False}, axis={"labels": False, "ticks": False})
    views: list[Spec] = []
    for panel in panels:
        of_panel = [{name: row[name] for name in FIELDS} for row in points if row["panel"] == panel]
        names = in_order(row["name"] for row in of_panel)
        colour = axis("name", None, "nominal", sort=names, scale={"domain": names, "range": list(SERIES)},
                      legend={"orient": "right", "columns": 1, "labelLimit": 120, "symbolType": "stroke",
                              "symbolOpacity": 1, "offset": 8})  # fmt: skip
        last = panel == panels[-1]
        time = x | ({"title": "seconds since the run began", "axis": {"tickCount": 8}} if last else {})
        band: Spec = {
            "data": {"values": bands}, "mark": {"type": "rect", "color": FAINT, "opacity": 0.6},
            "encoding": {"x": time | {"field": "begin"}, "x2": {"field": "end"}},
        }  # fmt: skip
        lines: list[Spec] = [
            {
                "mark": {"type": "line", "strokeWidth": width, "opacity": opacity, "strokeCap": "round"},
                "encoding": {
                    "x": time,
                    "y": axis(name, None, axis={"tickCount": 3, "labelExpr": SHORT}, scale={"zero": True}),
                    "color": colour,
                },
            }
            for name, width, opacity in (("peak", 1, 0.45), ("mean", 1.6, 1))
        ]
        head = {"text": str(panel), "fontSize": 11, "fontWeight": "normal", "offset": 4, "frame": "group"}
        views.append({
            "width": WIDTH, "height": HEIGHT, "title": head, "data": {"values": of_panel}, "layer": [band, *lines],
        })  # fmt: skip
    return chart(title, subtitle, [], {"vconcat": views, "spacing": 10, "resolve": {"scale": {"color": "independent"}}})
