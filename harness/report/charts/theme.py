"""One look for all charts, and what a chart is where there are no data.

Colours are those of Okabe & Ito (Color Universal Design, 2008), told apart by readers of every colour vision; what is
good or bad is never said by colour alone. Sizes are for a column of 700 px.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

Rows = Iterable[Mapping[str, Any]]

Spec = dict[str, Any]
"""A Vega-Lite 5 specification: plain data, ready for JSON."""

BLUE, ORANGE, GREEN, RED, SKY, PURPLE, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442",
)  # fmt: skip
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#5C5C5C", "#8C6D1F")
INK, QUIET, FAINT = "#222222", "#595959", "#E3E3E3"
GOOD, BAD, ALLOWED, UNTRIED = "#A6CFE5", RED, "#F6D48F", "#EFEFEF"

WIDTH = 600
"""Of the plotting area, in px: with axis and labels the picture stays within 700."""

CONFIG: Spec = {
    "background": "white",
    "font": "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif",
    "padding": 8,
    "title": {
        "anchor": "start", "frame": "bounds", "fontSize": 15, "fontWeight": 600, "color": INK, "offset": 12,
        "subtitleFontSize": 12, "subtitleColor": QUIET, "subtitlePadding": 5, "limit": 690,
    },
    "axis": {
        "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "labelColor": INK, "titleColor": INK,
        "gridColor": FAINT, "domainColor": QUIET, "tickColor": QUIET, "titlePadding": 8, "labelLimit": 190,
        "labelFlush": False, "tickCount": 6,
    },
    "legend": {
        "orient": "bottom", "labelFontSize": 11, "title": None, "symbolStrokeWidth": 2.5, "labelLimit": 320,
        "columns": 3, "symbolSize": 90,
    },
    "header": {"labelFontSize": 12, "labelFontWeight": 600, "labelColor": INK, "title": None},
    "view": {"stroke": None},
    "range": {"category": list(SERIES)},
    "line": {"strokeWidth": 2},
    "point": {"size": 45, "filled": True, "opacity": 1},
    "text": {"fontSize": 11, "color": INK},
    "rule": {"color": QUIET},
}  # fmt: skip


def chart(title: str, subtitle: str, rows: Rows, body: Mapping[str, Any]) -> Spec:
    """A whole specification: `title` states the finding, `subtitle` how it was measured."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": _lines(title, 88)} | ({"subtitle": _lines(subtitle, 112)} if subtitle else {}),
        "data": {"values": list(rows)},
        "config": CONFIG,
        **body,
    }


def nothing(title: str, because: str) -> Spec:
    """The chart that stands where there is nothing to draw, and says why."""
    mark = {"type": "text", "fontSize": 13, "color": QUIET, "text": _lines(f"No data: {because}", 84)}
    return chart(title, "", [{}], {"width": WIDTH, "height": 60, "mark": mark})


def numbers(rows: Rows, *names: str, above: float = -math.inf) -> list[dict[str, Any]]:
    """The rows whose `names` are all finite numbers (or text of one, as a CSV file has it) greater than `above`.

    A row that lacks one cannot be drawn; with `above=0`, one that a logarithmic axis cannot show.
    """
    kept = []
    for row in rows:
        values = {name: number(row.get(name)) for name in names}
        if all(value is not None and value > above for value in values.values()):
            kept.append({str(key): value for key, value in row.items() if isinstance(value, str | int)} | values)
    return kept


def number(value: object) -> float | None:
    """A finite number, or None for everything else."""
    try:
        found = float(value)  # type: ignore[arg-type]  # or it raises
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def axis(field: str, title: str | None, kind: str = "quantitative", **more: Any) -> Spec:
    """An encoding channel with its axis title, which carries the unit."""
    return {"field": field, "type": kind, "title": title, **more}


def in_order(values: Iterable[Any]) -> list[Any]:
    """The different values in the order in which they come: the order of legends and bars."""
    return list(dict.fromkeys(values))


def room(rows: Rows, name: str) -> float:
    """Where an axis of bars ends, so that the longest leaves space for the text at its end."""
    return 1.22 * max((row[name] for row in rows), default=0.0)


def _lines(text: str, width: int) -> list[str]:
    """`text` broken into as few lines as fit `width` characters, of about equal length."""
    if len(text) > width:
        width = min(width, math.ceil(len(text) / math.ceil(len(text) / width)) + 6)
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
