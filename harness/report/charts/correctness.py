"""The charts of correctness: acknowledged and stored increments, and the anomalies that occurred. Pure.

As in harness.report.charts.speed, `title` states the finding, and `because` is the reason if there is nothing to draw.
"""

from __future__ import annotations

from harness.report.charts.theme import (
    ALLOWED,
    BAD,
    BLUE,
    GOOD,
    INK,
    PALE,
    PAPER,
    RED,
    UNTRIED,
    WIDTH,
    Point,
    Row,
    Rows,
    Spec,
    axis,
    chart,
    in_order,
    nothing,
    numbers,
    room,
)  # fmt: skip

SHOWN_KEYS = 20
"""`convergence` shows at most this many keys: those with the largest difference."""

PREVENTED, POSSIBLE = "prevented", "possible"
FORBIDDEN, UNKNOWN = "occurred although documented as prevented", "not known"
PANELS = {
    "standard": ("standard", 29),
    "documented": ("manual", 29),
    "observed": ("observed here", 42),
}
PREVENTING = {"waited": "waited", "aborted": "aborted", "snapshot": "older"}
"""How an anomaly was prevented -> the word in its cell, which has 42 px."""
ISOLATION_TEXT = 12
"""Size of the text in the matrix of anomalies: 11 px in a card of half the page, 484 px, if it is 528 px wide."""
_SHORT_CASES = "datum.label === 'non-repeatable-read' ? 'non-repeat.' : datum.label"
"""The longest label would make the drawing wider and so its text smaller."""
INITIALS = {"READ UNCOMMITTED": "RU", "READ COMMITTED": "RC", "REPEATABLE READ": "RR", "SERIALIZABLE": "SER"}


def convergence(rows: Rows, *, title: str, subtitle: str = "", because: str = "no key was written") -> Spec:
    """Acknowledged increments and counters. Rows: `key`, `acknowledged`, `final` (change of the counter), `unknown`.

    Shows at most `SHOWN_KEYS` keys, the largest difference first; the subtitle has the number of all keys.
    """
    keys = numbers(rows, "acknowledged", "final")
    if not keys:
        return nothing(title, because)
    for row in keys:
        unknown = next(iter(numbers([row], "unknown")), {}).get("unknown", 0.0)
        lost, extra = row["acknowledged"] - row["final"], row["final"] - row["acknowledged"] - unknown
        row["off"] = max(lost, extra, 0.0)
        row["text"] = "equal"
        if lost > 0:
            row["text"] = f"{lost:,.0f} lost"
        elif extra > 0:
            row["text"] = f"{extra:,.0f} too many"
        row["sound"] = "as acknowledged" if not row["off"] else "not as acknowledged"
    shown = sorted(keys, key=lambda row: -row["off"])[:SHOWN_KEYS]
    if len(keys) > len(shown):
        subtitle = f"{subtitle} {len(shown)} of {len(keys)} keys, the largest difference first.".strip()
    y = axis("key", None, "nominal", sort=in_order(row["key"] for row in shown))
    extent = {"domain": [0, max(room(shown, "acknowledged"), room(shown, "final")) or 1]}
    x = axis("acknowledged", "increments: acknowledged (bar) and in the database (tick)", scale=extent)
    colours = {"domain": ["as acknowledged", "not as acknowledged"], "range": [BLUE, RED]}
    layers = [
        {"mark": {"type": "bar", "color": PALE, "height": {"band": 0.75}}, "encoding": {"y": y, "x": x}},
        {"mark": {"type": "tick", "thickness": 4, "size": 22, "opacity": 1},
         "encoding": {"y": y, "x": x | {"field": "final"}, "color": axis("sound", None, "nominal", scale=colours)}},
        {"transform": [{"calculate": "max(datum.acknowledged, datum.final)", "as": "end"}],
         "mark": {"type": "text", "align": "left", "dx": 8},
         "encoding": {"y": y, "x": x | {"field": "end"}, "text": {"field": "text"}}},
    ]  # fmt: skip
    return chart(title, subtitle, shown, {"width": WIDTH - 60, "height": {"step": 24}, "layer": layers})


def isolation(rows: Rows, *, title: str, subtitle: str = "", because: str = "no case was run") -> Spec:
    """Three matrices of anomalies by level: allowed by the standard, documented by the manual, observed.

    Rows of harness.isolation.matrix, of one database: `case`, `level`, `standard`, `documented`, `kind`, `code`. A star
    marks cells on which the standard is silent (`standard_silent`), so its later interpretation is shown.
    """
    cells = [_isolation_cell(row) for row in rows]
    if not cells:
        return nothing(title, because)
    sort = {"y": in_order(cell["case"] for cell in cells), "x": in_order(cell["level"] for cell in cells)}
    meanings = {PREVENTED: GOOD, POSSIBLE: ALLOWED, FORBIDDEN: BAD, UNKNOWN: UNTRIED}
    used = {cell[panel][1] for cell in cells for panel in PANELS}
    meanings = {meaning: fill for meaning, fill in meanings.items() if meaning in used}
    colour = axis("meaning", None, "nominal", scale={"domain": list(meanings), "range": list(meanings.values())})
    panels: list[Spec] = []
    level = {"orient": "top", "labelAngle": 0, "domain": False, "ticks": False, "labelFontSize": ISOLATION_TEXT}
    for name, (heading, width) in PANELS.items():
        values = [
            {"case": cell["case"], "level": cell["level"], "text": cell[name][0], "meaning": cell[name][1]}
            for cell in cells
        ]
        names = (
            None
            if panels
            else {"domain": False, "ticks": False, "labelFontSize": ISOLATION_TEXT, "labelExpr": _SHORT_CASES}
        )
        position = {
            "x": axis("level", None, "nominal", sort=sort["x"], axis=level),
            "y": axis("case", None, "nominal", sort=sort["y"], axis=names),
        }
        ink = {"condition": {"test": f"datum.meaning === '{FORBIDDEN}'", "value": PAPER}, "value": INK}
        panels.append({
            "width": {"step": width}, "height": {"step": 24}, "data": {"values": values},
            "title": {"text": heading, "fontSize": ISOLATION_TEXT, "offset": 4, "frame": "group"},
            "layer": [
                {"mark": {"type": "rect", "stroke": PAPER, "strokeWidth": 2},
                 "encoding": {**position, "color": colour}},
                {"mark": {"type": "text", "fontSize": ISOLATION_TEXT},
                 "encoding": {**position, "text": {"field": "text"}, "color": ink}},
            ],
        })  # fmt: skip
    return chart(title, subtitle, [], {"hconcat": panels, "spacing": 8})


def _isolation_cell(row: Row) -> Point:
    """Returns a row of the matrix as text and meaning of its three fields."""
    rules = {
        name: (("may", POSSIBLE) if row.get(name) == "possible" else ("no", PREVENTED))
        for name in ("standard", "documented")
    }
    if row.get("standard_silent"):
        rules["standard"] = (f"{rules['standard'][0]}*", rules["standard"][1])
    kind = row.get("kind")
    if kind == "occurred":
        observed = ("OCCURS", FORBIDDEN) if row.get("documented") == "prevented" else ("occurs", POSSIBLE)
    elif kind in PREVENTING:
        observed = (str(row.get("code") or kind) if kind == "aborted" else PREVENTING[str(kind)], PREVENTED)
    else:
        observed = ("?", UNKNOWN)
    level = str(row.get("level"))
    return {"case": str(row.get("case")), "level": INITIALS.get(level, level), "observed": observed, **rules}
