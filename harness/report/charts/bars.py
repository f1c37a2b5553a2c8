"""One figure per cell as bars, each with its value at its end. Pure."""

from __future__ import annotations

from harness.report.charts.theme import BLUE, WIDTH, Rows, Spec, axis, chart, in_order, nothing, numbers, room

LABEL_PX = 150


def bars(rows: Rows, *, unit: str, title: str, subtitle: str = "", because: str = "no cell has the figure") -> Spec:
    """Rows: `cell`, `value`, `text` (the value as text); `unit` is the title of the axis."""
    shown = numbers(rows, "value", above=-1)
    if not shown:
        return nothing(title, because)
    label = {"labelLimit": LABEL_PX, "labelExpr": "split(datum.label, '\\n')", "domain": False, "ticks": False}
    y = axis("cell", None, "nominal", sort=in_order(row["cell"] for row in shown), axis=label)
    x = axis("value", unit, scale={"domain": [0, room(shown, "value") or 1], "nice": False})
    layers = [
        {"mark": {"type": "bar", "color": BLUE, "height": {"band": 0.62}}, "encoding": {"y": y, "x": x}},
        {"mark": {"type": "text", "align": "left", "dx": 5},
         "encoding": {"y": y, "x": x, "text": {"field": "text"}}},
    ]  # fmt: skip
    return chart(title, subtitle, shown, {"width": WIDTH - LABEL_PX + 70, "height": {"step": 34}, "layer": layers})
