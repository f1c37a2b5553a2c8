"""Where the slowest requests of each cell waited, as parts of their time. Pure."""

from __future__ import annotations

from harness.report.charts.theme import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    QUIET,
    RED,
    SKY,
    WIDTH,
    YELLOW,
    Rows,
    Spec,
    axis,
    chart,
    in_order,
    nothing,
    numbers,
)

LABEL_PX = 150
COLOURS = (BLUE, ORANGE, GREEN, RED, SKY, PURPLE, YELLOW, QUIET)


def slowest(rows: Rows, *, title: str, subtitle: str = "", because: str = "no session was sampled") -> Spec:
    """One bar per cell. Rows: `cell`, `cause`, `share` (of 1), in the order of the parts."""
    parts = [row | {"percent": 100 * row["share"], "order": n} for n, row in enumerate(numbers(rows, "share", above=0))]
    if not parts:
        return nothing(title, because)
    causes = in_order(row["cause"] for row in parts)
    for row in parts:
        row["order"] = causes.index(row["cause"])
    scale = {"domain": causes, "range": [COLOURS[n % len(COLOURS)] for n in range(len(causes))]}
    label = {"labelLimit": LABEL_PX, "labelExpr": "split(datum.label, '\\n')", "domain": False, "ticks": False}
    encoding = {
        "y": axis("cell", None, "nominal", sort=in_order(row["cell"] for row in parts), axis=label),
        "x": axis("percent", "% of the time of the slowest 1 %", scale={"domain": [0, 100]}, stack="zero"),
        "color": axis("cause", None, "nominal", scale=scale),
        "order": {"field": "order", "type": "quantitative"},
    }
    body = {"width": WIDTH - LABEL_PX + 70, "height": {"step": 36}, "mark": {"type": "bar", "height": {"band": 0.62}}}
    return chart(title, subtitle, parts, {**body, "encoding": encoding})
