"""The charts of speed: rows of figures in, Vega-Lite specifications out. Pure.

Each chart takes the `title` that states its finding, a `subtitle` that tells how it was measured, and `because`, the
reason that is shown if there is nothing to draw. Rows may come from a CSV file: text of a number is a number, and a
row without the figure is left out.
"""

from __future__ import annotations

import statistics

from harness.analysis.scaling_law import UslFit
from harness.report.charts.line_ends import ROOM, domain, ends, labels
from harness.report.charts.theme import (
    BLUE,
    INK,
    ORANGE,
    QUIET,
    RED,
    SERIES,
    WIDTH,
    Point,
    Rows,
    Spec,
    axis,
    chart,
    in_order,
    nothing,
    numbers,
    room,
)  # fmt: skip
from harness.report.formatting import spaced

LATENCY, SERVICE = "latency, from the due time", "service time, from the send"


def percentile_curve(rows: Rows, *, title: str, subtitle: str = "", because: str = "no samples were kept") -> Spec:
    """Latency by percentile. Rows: `series` (a cell), `kind` (`latency` or `service`), `percent`, `ms`.

    The x axis is logarithmic in the rest to 100 %: 90, 99 and 99.9 % are equally far apart.
    """
    names = {"latency": LATENCY, "service": SERVICE}
    points = [
        row | {"kind": names.get(row.get("kind", ""), LATENCY), "beyond": 1 - row["percent"] / 100}
        for row in numbers(rows, "percent", "ms", above=0)
        if row["percent"] < 100
    ]
    if not points:
        return nothing(title, because)
    ticks = [tick for tick in (0.5, 0.1, 0.05, 0.01, 0.001, 0.0001) if tick >= min(p["beyond"] for p in points)]
    series, kinds = in_order(p["series"] for p in points), in_order(p["kind"] for p in points)
    dash = {"domain": kinds, "range": [[1, 0], [5, 4]]}
    if len(kinds) == 1:
        subtitle = f"{subtitle} {kinds[0].capitalize()}.".strip()
    for point in points:
        point["line"] = point["series"] if len(kinds) == 1 else f"{point['kind'].split(',')[0]}"
    y_scale = {"type": "log", "domain": list(domain(points, "ms", log=True)), "nice": False}
    x_scale = {"type": "log", "reverse": True, "nice": False}
    shades = axis("series", None, "nominal", sort=series, scale={"range": list(SERIES)}, legend=None)
    encoding = {
        "x": axis("beyond", "percentile of requests (%)", scale=x_scale,
                  axis={"values": ticks, "labelExpr": "format(100 * (1 - datum.value), '.5~g')"}),
        "y": axis("ms", "milliseconds (log)", scale=y_scale, axis={"tickCount": 6}),
        "color": shades,
        "detail": [axis("line", None, "nominal")],
        "strokeDash": axis("kind", None, "nominal", scale=dash, legend=None),
    }  # fmt: skip
    for point in points:
        point["rank"] = -point["beyond"]
    last = ends(points, series="line", x="rank", y="ms", ends_at=domain(points, "ms", log=True), height=260, log=True)
    layers = [
        {"mark": "line", "encoding": encoding},
        labels(last, x="beyond", x_scale=x_scale, y_scale=y_scale, colour=shades),
    ]
    return chart(title, subtitle, points, {"width": WIDTH - ROOM, "height": 260, "layer": layers})


def spread(rows: Rows, *, title: str, subtitle: str = "", because: str = "no host answered") -> Spec:
    """Requests by host. Rows: `host`, `requests`. The line is the even share."""
    bars = numbers(rows, "requests", above=-1)
    total = sum(row["requests"] for row in bars)
    if not total:
        return nothing(title, because)
    for row in bars:
        row["text"] = spaced(f"{row['requests']:,.0f} ({row['requests'] / total:.1%})")
    hosts = in_order(row["host"] for row in bars)
    y = axis("host", None, "nominal", sort=hosts)
    layers = [
        {"mark": {"type": "bar", "color": BLUE, "height": {"band": 0.7}},
         "encoding": {"y": y, "x": axis("requests", "requests", scale={"domain": [0, room(bars, "requests")]})}},
        {"mark": {"type": "text", "align": "left", "dx": 10},
         "encoding": {"y": y, "x": axis("requests", "requests"), "text": {"field": "text"}}},
        {"mark": {"type": "rule", "strokeDash": [5, 4], "strokeWidth": 1.5, "color": INK},
         "data": {"values": [{"share": total / len(hosts)}]}, "encoding": {"x": axis("share", "requests")}},
    ]  # fmt: skip
    return chart(title, subtitle, bars, {"width": WIDTH - 60, "height": {"step": 30}, "layer": layers})


def _medians(points: list[Point], by: str, of: str) -> list[Point]:
    """Returns the median of `of` for each value of `by`, in ascending order."""
    return [
        {by: value, of: statistics.median(row[of] for row in points if row[by] == value), "what": "median"}
        for value in sorted(in_order(row[by] for row in points))
    ]


def scaling(
    rows: Rows, fit: UslFit | None = None, *, title: str, subtitle: str = "", because: str = "no trial finished"
) -> Spec:
    """Throughput by hosts. Rows: `hosts`, `rps`, one per trial. The ideal line begins at the fewest hosts' median."""
    points = numbers(rows, "hosts", "rps", above=0)
    if not points:
        return nothing(title, because)
    counts = sorted(in_order(row["hosts"] for row in points))
    medians = _medians(points, "hosts", "rps")
    first = medians[0]["rps"] / counts[0]
    ideal = [{"hosts": n, "rps": first * n, "what": "ideal"} for n in counts]
    steps = [counts[0] + (counts[-1] - counts[0]) * step / 60 for step in range(61)]
    law = [{"hosts": n, "rps": fit.at(n), "what": "scaling law (USL)"} for n in steps] if fit else []
    position = {
        "x": axis("hosts", "app hosts", axis={"values": counts, "format": "d"}, scale={"domain": [0, counts[-1]]}),
        "y": axis("rps", "acknowledged requests/s"),
    }
    names = ["median", "ideal", *(["scaling law (USL)"] if law else [])]
    colour = axis("what", None, "nominal", legend={"symbolType": "stroke"},
                  scale={"domain": names, "range": [BLUE, QUIET, ORANGE][: len(names)]})  # fmt: skip
    layers: list[Spec] = [
        {"mark": {"type": "line", "strokeDash": [5, 4]}, "data": {"values": ideal},
         "encoding": position | {"color": colour}},
        {"mark": "line", "data": {"values": law}, "encoding": position | {"color": colour}},
        {"mark": {"type": "point", "color": BLUE, "opacity": 0.35, "size": 40}, "encoding": position},
        {"mark": {"type": "point", "size": 90}, "data": {"values": medians}, "encoding": position | {
            "color": colour, "tooltip": [axis("hosts", "hosts"), axis("rps", "median requests/s")]}},
    ]  # fmt: skip
    return chart(title, subtitle, points, {"width": WIDTH, "height": 320, "layer": layers})


def pool_sweep(
    rows: Rows, *, knee: int | None = None, title: str, subtitle: str = "", because: str = "no pool was measured"
) -> Spec:
    """Time for the same work by pool size. Rows: `pool`, `seconds`, one per trial. Both axes are logarithmic."""
    points = numbers(rows, "pool", "seconds", above=0)
    if not points:
        return nothing(title, because)
    pools = sorted(in_order(row["pool"] for row in points))
    medians = _medians(points, "pool", "seconds")
    start = medians[0]["pool"] * medians[0]["seconds"]
    ideal = [{"pool": p, "seconds": start / p, "what": "ideal: twice the connections, half the time"} for p in pools]
    x = axis(
        "pool",
        "connections in the pool (log)",
        scale={"type": "log", "nice": False},
        axis={"values": pools, "format": "d"},
    )
    y = axis("seconds", "seconds (log)", scale={"type": "log"}, axis={"tickCount": 5, "format": "~g"})
    domain = [medians[0]["what"], ideal[0]["what"]]
    dashes = {"domain": domain, "range": [[1, 0], [5, 4]]}
    layers: list[Spec] = [
        {"mark": {"type": "line", "point": False}, "data": {"values": [*medians, *ideal]},
         "encoding": {"x": x, "y": y,
                      "color": axis("what", None, "nominal", scale={"domain": domain, "range": [BLUE, QUIET]}),
                      "strokeDash": axis("what", None, "nominal", scale=dashes)}},
        {"mark": {"type": "point", "color": BLUE, "opacity": 0.5}, "encoding": {"x": x, "y": y}},
    ]  # fmt: skip
    at_knee = [row | {"text": f"knee: {knee}"} for row in medians if row["pool"] == knee]
    if at_knee:
        layers += [
            {"mark": {"type": "point", "color": RED, "size": 220, "filled": False, "strokeWidth": 2.5},
             "data": {"values": at_knee}, "encoding": {"x": x, "y": y}},
            {"mark": {"type": "text", "color": RED, "dx": 14, "dy": -12, "align": "left", "fontWeight": 600},
             "data": {"values": at_knee}, "encoding": {"x": x, "y": y, "text": {"field": "text"}}},
        ]  # fmt: skip
    return chart(title, subtitle, points, {"width": WIDTH, "height": 300, "layer": layers})
