"""The common style of all charts, and the chart that is shown where there are no data.

The colours are those of Okabe & Ito (Color Universal Design, 2008), which readers with any colour vision can
distinguish; good and bad are never shown by colour alone. Sizes are for a card of 520 px, which a phone shows at two
thirds. The title of a chart is text of the page, so it wraps, can be selected, and follows the reader's font size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, object]
"""A row of a chart's data."""
Rows = Iterable[Row]
Point = dict[str, Any]
"""A row that a chart has checked and completes."""

Spec = dict[str, Any]
"""A Vega-Lite 5 specification: plain data, ready for JSON."""

BLUE, ORANGE, GREEN, RED, SKY, PURPLE, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442",
)  # fmt: skip
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#5C5C5C", "#8C6D1F")
INK, QUIET, FAINT = "#222222", "#595959", "#E3E3E3"
GOOD, BAD, ALLOWED, UNTRIED = "#A6CFE5", RED, "#F6D48F", "#EFEFEF"
PAPER, BOX, PALE = "#ffffff", "#F4F6F7", "#C9D6DF"

DARK: Mapping[str, str] = {
    INK: "#E4E8EA", QUIET: "#A3ADB4", FAINT: "#343C42", PAPER: "#1B2126", BOX: "#242C32", PALE: "#3D4A54",
    BLUE: "#56A8E0", ORANGE: "#F0B840", GREEN: "#3FCFA0", RED: "#FF8A50", SKY: "#8CCBF2", PURPLE: "#E3A0C4",
    YELLOW: "#D8CC40", "#5C5C5C": "#A9A9A9", "#8C6D1F": "#C9A24E",
    GOOD: "#2F5D7C", ALLOWED: "#6E551B", UNTRIED: "#30363B",
}  # fmt: skip
"""Colour of a drawing -> the one that replaces it on a dark page."""

CROSS = "M-.5,-.3L-.3,-.5L0,-.2L.3,-.5L.5,-.3L.2,0L.5,.3L.3,.5L0,.2L-.3,.5L-.5,.3L-.2,0Z"
"""A symbol that crosses out."""

WIDTH = 430
"""Width of the plotting area in px; with axis and labels the picture has at most `PICTURE`."""
PICTURE = 520
"""Width of a picture in px."""
NARROW = 400
"""Least width of a picture in px: the page shows it at up to 640 px, and its text of 12 px at 19."""
LEAST_NAME = 5
"""Characters that are left of the name of a setting."""

CONFIG: Spec = {
    "background": "transparent",
    "font": "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif",
    "padding": 4,
    "title": {
        "anchor": "start", "frame": "bounds", "fontSize": 13, "fontWeight": 600, "color": INK, "offset": 12,
        "subtitleFontSize": 12, "subtitleColor": QUIET, "subtitlePadding": 5, "limit": 510,
    },
    "axis": {
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelColor": INK, "titleColor": INK,
        "gridColor": FAINT, "domainColor": QUIET, "tickColor": QUIET, "titlePadding": 8, "labelLimit": 170,
        "labelFlush": False, "tickCount": 6,
    },
    "axisQuantitative": {"labelLimit": 0},
    "axisDiscrete": {"labelPadding": 5},
    "legend": {
        "orient": "bottom", "labelFontSize": 12, "title": None, "symbolStrokeWidth": 2.5, "labelLimit": 230,
        "columns": 2, "symbolSize": 90, "labelColor": INK,
    },
    "header": {"labelFontSize": 12, "labelFontWeight": 600, "labelColor": INK, "title": None},
    "view": {"stroke": None},
    "range": {"category": list(SERIES)},
    "line": {"strokeWidth": 2},
    "point": {"size": 45, "filled": True, "opacity": 1},
    "text": {"fontSize": 12, "color": INK},
    "rule": {"color": QUIET},
}  # fmt: skip


def chart(title: str, subtitle: str, rows: Rows, body: Spec) -> Spec:
    """Returns a whole specification: `title` states the finding, `subtitle` how it was measured (`titles`)."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": lines(title, 66)} | ({"subtitle": lines(subtitle, 80)} if subtitle else {}),
        "data": {"values": list(rows)},
        "config": CONFIG,
        **body,
    }


def titles(spec: Spec) -> tuple[str, str]:
    """Returns title and subtitle of a specification, each as one line; empty where it has none."""
    title = spec.get("title") or {}
    return " ".join(title.get("text", ())), " ".join(title.get("subtitle", ()))


def nothing(title: str, because: str) -> Spec:
    """Returns the chart that replaces one without data and shows the reason."""
    mark = {"type": "text", "fontSize": 13, "color": QUIET, "text": lines(f"No data: {because}", 60)}
    return chart(title, "", [{}], {"width": WIDTH, "height": 60, "mark": mark})


def numbers(rows: Rows, *names: str, above: float = -math.inf) -> list[Point]:
    """Returns the rows in which all of `names` are finite numbers greater than `above`.

    Numbers may be text, as in a CSV file. Other rows cannot be drawn; with `above=0`, rows that a logarithmic axis
    cannot show are left out too.
    """
    kept = []
    for row in rows:
        values = {name: number(row.get(name)) for name in names}
        if all(value is not None and value > above for value in values.values()):
            kept.append({str(key): value for key, value in row.items() if isinstance(value, str | int)} | values)
    return kept


def number(value: object) -> float | None:
    """Returns a finite number, or None for everything else."""
    try:
        parsed = float(value)  # type: ignore[arg-type]  # or it raises
    except (TypeError, ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def axis(field: str, title: str | None, kind: str = "quantitative", **more: Any) -> Spec:
    """Returns an encoding channel with its axis title, which has the unit."""
    return {"field": field, "type": kind, "title": title, **more}


def in_order(values: Iterable[Any]) -> list[Any]:
    """Returns the different values in the order of their first occurrence: the order of legends and bars."""
    return list(dict.fromkeys(values))


def room(rows: Iterable[Point], name: str) -> float:
    """Returns the end of an axis of bars: the longest bar leaves space for the text at its end."""
    return 1.22 * max((row[name] for row in rows), default=0.0)


def shortened(text: str, most: int) -> str:
    """Returns the text with its end left out where it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def inside_cut(text: str, most: int) -> str:
    """Returns the text with its middle left out where it is longer than `most` characters: settings begin alike and
    differ in their values, at the end."""
    tail = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def short_words(text: str, most: int) -> str:
    """Returns the text with words of at most `most` characters. Of `name=value` the name is cut, inside."""
    short = []
    for word in text.split():
        name, equals, value = word.partition("=")
        room = most - len(equals + value)
        short.append(f"{inside_cut(name, room)}{equals}{value}" if room >= LEAST_NAME else inside_cut(word, most))
    return " ".join(short)


def lines(text: str, width: int) -> list[str]:
    """Breaks `text` into as few lines of at most `width` characters as possible, of about equal length."""
    if len(text) > width:
        width = min(width, math.ceil(len(text) / math.ceil(len(text) / width)) + 6)
    broken = [""]
    for word in text.split():
        if broken[-1] and len(broken[-1]) + 1 + len(word) > width:
            broken.append(word)
        else:
            broken[-1] = f"{broken[-1]} {word}".strip()
    return broken
