"""Single requests as pictures: a long transaction over the quick ones, and the pairs of deadlocks. Pure."""

from __future__ import annotations

from harness.report.charts.theme import (
    ALLOWED,
    BLUE,
    CROSS,
    GREEN,
    INK,
    ORANGE,
    QUIET,
    RED,
    UNTRIED,
    WIDTH,
    Rows,
    Spec,
    axis,
    chart,
    in_order,
    nothing,
    numbers,
)  # fmt: skip

PANEL = 66
COLUMNS = 20
"""Pairs in a row of the grid."""
VICTIM, COMMIT, RETRIED, ODD = "one victim, one commit", "both commit", "both commit after a retry", "another outcome"
PAIRS = {VICTIM: (ORANGE, "x"), RETRIED: (BLUE, "r"), COMMIT: (GREEN, "="), ODD: (RED, "?")}


def over_the_quick(rows: Rows, *, title: str, subtitle: str = "", because: str = "no samples were kept") -> Spec:
    """The long transaction as a bar, below it each quick one as a point. Rows: `cell`, `lane` (`long` or `quick`),
    `from_s`, `to_s` (since the first was due), `ms` (latency)."""
    points = numbers(rows, "from_s", "to_s", "ms")
    quick = [row for row in points if row["lane"] == "quick" and row["ms"] > 0]
    if not quick:
        return nothing(title, because)
    end = max(row["to_s"] for row in points)
    most = max(row["ms"] for row in quick)
    x_scale = {"domain": [0, end], "nice": False}
    y_scale = {"type": "log", "domain": [min(1.0, *(row["ms"] for row in quick)), 1.3 * most], "nice": False}
    views: list[Spec] = []
    cells = in_order(row["cell"] for row in quick)
    for cell in cells:
        last = cell == cells[-1]
        x = axis("from_s", "seconds since the first was due" if last else None, scale=x_scale,
                 axis={} if last else {"labels": False, "ticks": False})  # fmt: skip
        long = [row for row in points if row["lane"] == "long" and row["cell"] == cell]
        bars = [row | {"text": f"long transaction, {row['to_s'] - row['from_s']:.1f} s"} for row in long]
        bar: Spec = {
            "data": {"values": bars},
            "layer": [
                {"mark": {"type": "rect", "color": ALLOWED, "y": -16, "y2": -2},
                 "encoding": {"x": x, "x2": {"field": "to_s"}}},
                {"mark": {"type": "text", "align": "left", "dx": 4, "y": -9, "color": INK, "fontSize": 11},
                 "encoding": {"x": x, "text": {"field": "text"}}},
            ],
        }  # fmt: skip
        dots: Spec = {
            "data": {
                "values": [{name: row[name] for name in ("from_s", "ms")} for row in quick if row["cell"] == cell]
            },
            "mark": {"type": "point", "size": 22, "color": BLUE},
            "encoding": {"x": x, "y": axis("ms", "ms (log)", scale=y_scale, axis={"tickCount": 3})},
        }
        head = {"text": cell, "fontSize": 12, "offset": 22 if long else 4, "frame": "group"}
        views.append({"width": WIDTH, "height": PANEL, "title": head, "layer": [*([bar] if long else []), dots]})
    return chart(title, subtitle, [], {"vconcat": views, "spacing": 12})


def pairs(rows: Rows, *, title: str, subtitle: str = "", because: str = "no pair was sent") -> Spec:
    """One square per pair. Rows: `cell`, `pair` (from 0), `kind` (a key of PAIRS)."""
    squares = [
        row | {"column": int(row["pair"]) % COLUMNS, "row": int(row["pair"]) // COLUMNS}
        for row in numbers(rows, "pair", above=-1)
        if row.get("kind") in PAIRS
    ]
    if not squares:
        return nothing(title, because)
    used = [kind for kind in PAIRS if any(row["kind"] == kind for row in squares)]
    scale = {"domain": used, "range": [PAIRS[kind][0] for kind in used]}
    shapes = {VICTIM: CROSS, RETRIED: "diamond", COMMIT: "circle", ODD: "triangle-up"}
    views: list[Spec] = []
    for cell in in_order(row["cell"] for row in squares):
        of_cell = [row for row in squares if row["cell"] == cell]
        encoding = {
            "x": axis("column", None, "ordinal", axis=None),
            "y": axis("row", None, "ordinal", axis=None),
            "color": axis("kind", None, "nominal", scale=scale),
            "shape": axis("kind", None, "nominal", scale={"domain": used, "range": [shapes[kind] for kind in used]}),
        }
        views.append({
            "width": {"step": 22}, "height": {"step": 22}, "data": {"values": of_cell},
            "title": {"text": cell, "fontSize": 12, "offset": 4, "frame": "group"},
            "view": {"fill": UNTRIED, "stroke": QUIET, "strokeWidth": 0},
            "mark": {"type": "point", "size": 130, "filled": True}, "encoding": encoding,
        })  # fmt: skip
    return chart(title, subtitle, [], {"vconcat": views, "spacing": 12})
