"""Bars of what became of the requests of each cell: acknowledged, refused, unknown, lost. Pure.

A bar has the width of all requests, so a set-up that refuses most of them never looks fast.
"""

from __future__ import annotations

from harness.report.charts.theme import (
    BLUE,
    ORANGE,
    PURPLE,
    RED,
    WIDTH,
    Point,
    Rows,
    Spec,
    axis,
    chart,
    in_order,
    lines,
    nothing,
    numbers,
    short_words,
)

KINDS = {
    "acknowledged": BLUE,
    "refused": ORANGE,
    "unknown": PURPLE,
    "acknowledged, then lost": RED,
}
"""Part of a bar -> its colour, in the order of the bar."""
LABEL_PX, TEXT_PX = 140, 128


def outcomes(rows: Rows, *, title: str, subtitle: str = "", because: str = "no request was counted") -> Spec:
    """One bar per cell, as shares of its requests. Rows: `cell`, `ok`, `fail`, `unknown`, `lost`, `note` (claimed)."""
    cells = [row for row in numbers(rows, "ok", "fail", "unknown", "lost") if _sent(row)]
    if not cells:
        return nothing(title, because)
    parts = [part | {"order": order} for row in cells for order, part in enumerate(_parts(row)) if part["share"] > 0]
    used = [kind for kind in KINDS if any(part["kind"] == kind for part in parts)]
    ends = [{"cell": row["cell"], "text": _text(row)} for row in cells]
    names = in_order(row["cell"] for row in cells)
    labels = {"limit": LABEL_PX, "labelLimit": LABEL_PX, "labelExpr": "split(datum.label, '\\n')"}
    y = axis("cell", None, "nominal", sort=names, axis={"labelLimit": LABEL_PX, "labelExpr": labels["labelExpr"],
                                                       "domain": False, "ticks": False})  # fmt: skip
    colour = axis("kind", None, "nominal", scale={"domain": used, "range": [KINDS[kind] for kind in used]})
    layers = [
        {
            "data": {"values": parts},
            "mark": {"type": "bar", "height": {"band": 0.62}},
            "encoding": {
                "y": y,
                "x": axis("share", "% of the requests", scale={"domain": [0, 100]}, stack="zero"),
                "color": colour,
                "order": {"field": "order", "type": "quantitative"},
            },
        },
        {
            "data": {"values": ends},
            "mark": {"type": "text", "align": "left", "x": WIDTH - LABEL_PX - TEXT_PX + 78, "lineBreak": "\n"},
            "encoding": {"y": y, "text": {"field": "text"}},
        },
    ]
    width = WIDTH - LABEL_PX - TEXT_PX + 70
    return chart(title, subtitle, [], {"width": width, "height": {"step": 40}, "layer": layers})


def wrapped(label: str) -> str:
    """Returns a label in lines that fit beside the bars."""
    return "\n".join(lines(short_words(label, 22), 22))


def _sent(row: Point) -> float:
    return float(row["ok"] + row["fail"] + row["unknown"])


def _parts(row: Point) -> list[Point]:
    lost = min(row["lost"], row["ok"])
    counts = dict(zip(KINDS, (row["ok"] - lost, row["fail"], row["unknown"], lost), strict=True))
    return [{"cell": row["cell"], "kind": kind, "share": 100 * n / _sent(row)} for kind, n in counts.items()]


def _text(row: Point) -> str:
    """Returns `81 of 1,000`, then what is lost or claimed."""
    first = f"{row['ok']:,.0f} of {_sent(row):,.0f}"
    second = f"{row['lost']:,.0f} of them lost" if row["lost"] else str(row.get("note") or "")
    return f"{first}\n{second}" if second else first
