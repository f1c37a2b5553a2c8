"""Draws charts as pictures of the page: checked, small, with ids that are unique on the page."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.report.charts.converter import convert
from harness.report.charts.shrinking import shrunk
from harness.report.charts.theme import NARROW, Spec, titles
from harness.report.page_model import Picture
from harness.text import printable

_TAGS = frozenset({"svg", "g", "path", "rect", "line", "text", "tspan", "defs", "clipPath", "title", "desc"})


class Forbidden(ValueError):
    """A drawing contains an element or attribute that the project's charts never have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A specification, its caption, and its text alternative; `name` as of a Picture."""

    name: str
    spec: Spec
    caption: str = ""
    alt: str


def svg(spec: Spec) -> str:
    """Returns the chart as SVG, drawn without a browser.

    Control characters become question marks: the renderer ends the whole process at one that XML does not allow.
    """
    return convert(json.dumps(_printable(spec), allow_nan=False))


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isprintable() else "\n".join(printable(line) for line in value.split("\n"))
    if isinstance(value, Mapping):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value


def drawn(scenario: str, charts: Iterable[Chart]) -> list[Picture]:
    """Returns the charts as pictures; their ids are unique on the page."""
    prefix = f"chart-{zlib.crc32(scenario.encode()):x}"
    return [
        picture(chart.name, chart.spec, chart.caption, chart.alt, prefix=f"{prefix}-{position}-")
        for position, chart in enumerate(charts, start=1)
    ]


def picture(name: str, spec: Spec, caption: str, alt: str, *, prefix: str) -> Picture:
    """Returns a specification drawn as SVG. Its ids begin with `prefix`, so several fit on one page.

    Title and subtitle become text of the page. Raises Forbidden for a drawing with anything but shapes and text.
    """
    title, subtitle = titles(spec)
    text = _widened(checked(shrunk(svg({name: value for name, value in spec.items() if name != "title"}))))
    text = re.sub(r'(<[^>]*\sid=")', rf"\1{prefix}", text).replace("url(#", f"url(#{prefix}")
    return Picture(name=name, title=title, subtitle=subtitle, caption=caption, svg=text, alt=alt)


def _widened(drawing: str) -> str:
    """Returns a narrow drawing with room to its right: the page shows all at one width, and would enlarge its text."""
    found = re.match(r'<svg[^>]*\swidth="([\d.]+)"', drawing)
    if not found or float(found[1]) >= NARROW:
        return drawing
    head, rest = drawing[: drawing.index(">")], drawing[drawing.index(">") :]
    head = re.sub(r'(\swidth=")[\d.]+', rf"\g<1>{NARROW}", head)
    return re.sub(r'(\sviewBox="0 0 )[\d.]+', rf"\g<1>{NARROW}", head) + rest


def checked(drawing: str) -> str:
    """Returns SVG text unchanged. Raises Forbidden if it has anything but shapes and text."""
    unexpected = set(re.findall(r"<\s*/?\s*([^\s>/]+)", drawing)) - _TAGS
    if unexpected or re.search(r"<[^>]*\s(?:on\w+|href|xlink:href|style)\s*=", drawing):
        raise Forbidden(f"a chart has {', '.join(sorted(unexpected)) or 'a link, a style or a handler'}")
    return drawing
