"""Makes drawings small without a visible change: equal marks become one path, lines have relative coordinates. Pure.

The page has some fifty charts, and a renderer writes each tick, grid line and point as a separate element.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?"
_PLACE = rf'transform="translate\(({_NUMBER}),({_NUMBER})\)"'
_POINT = re.compile(rf'<path {_PLACE} d="(M[^"]*)"([^>]*)/>')
_LINE = re.compile(rf'<line {_PLACE} x2="({_NUMBER})" y2="({_NUMBER})"([^>]*)/>')
_CIRCLE = re.compile(rf"M({_NUMBER}),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0Z?")
_FILLED = re.compile(r' fill="(#[0-9A-Fa-f]{6})"(?: stroke-width="[\d.]+")?')
_STEPS = re.compile(rf"([ML])({_NUMBER}),({_NUMBER})|(Z)")
_TENTHS = 10


def shrunk(drawing: str) -> str:
    """Returns SVG text of the project's renderer with less of what is not seen, and tenths of a px."""
    text = re.sub(r' (?:aria-\w+|role|class|pointer-events|font-family|xmlns:xlink|version)="[^"]*"', "", drawing)
    text = re.sub(r' (?:opacity|fill-opacity|stroke-opacity|stroke-miterlimit)="1?0?"', "", text)
    text = re.sub(r'transform="translate\(0,0\)"| text-anchor="start"', "", text)
    text = re.sub(r'<path d="(?:M0,0h0v0h0Z)?"[^>]*/>', "", text)
    text = re.sub(r'(<clipPath[^>]*>)?<path d="[^"]*" ?/>', lambda path: path[0] if path[1] else "", text)
    text = _without_plain_groups(text)
    text = _merged(text, _LINE, _ticks)
    text = _merged(text, _POINT, _circles)
    text = re.sub(r'(?<= d=")[^"]*', lambda path: _relative(path[0]), text)
    return re.sub(r"translate\([^)]*\)", lambda place: _rounded(place[0]), text)


def _rounded(text: str) -> str:
    return re.sub(r"-?\d+\.\d\d+", lambda number: _short(float(number[0])), text)


def _without_plain_groups(text: str) -> str:
    """Removes groups without attributes."""
    kept: list[bool] = []

    def tag(found: re.Match[str]) -> str:
        if found[0] == "</g>":
            return "</g>" if kept.pop() else ""
        kept.append(found[0].rstrip("> ") != "<g")
        return re.sub(r"\s+>", ">", found[0]) if kept[-1] else ""

    return re.sub(r"<g\b[^>]*>|</g>", tag, text)


def _merged(text: str, element: re.Pattern[str], joined: Callable[[list[re.Match[str]]], str]) -> str:
    """Replaces neighbouring elements of a kind; `joined` gets a run of them."""
    run = rf"(?:{element.pattern}){{2,}}"
    return re.sub(run, lambda found: joined(list(element.finditer(found[0]))), text)


def _ticks(run: list[re.Match[str]]) -> str:
    """Returns lines as one path for each look: `Mx,yh430` or `Mx,yv66`."""
    shapes = []
    for look, lines in groupby(run, key=lambda line: line[5]):
        steps = []
        for line in lines:
            x, y, across, down = (_short(float(number)) for number in line.groups()[:4])
            end = f"l{across},{down}"
            if down == "0":
                end = f"h{across}"
            elif across == "0":
                end = f"v{down}"
            steps.append(f"M{x},{y}{end}")
        shapes.append(f'<path d="{"".join(steps)}"{look}/>')
    return "".join(shapes)


def _circles(run: list[re.Match[str]]) -> str:
    """Returns filled circles of one size and colour as one path: round ends of lines without length."""
    shapes = []
    for (shape, look), points in groupby(run, key=lambda point: (point[3], point[4])):
        circle, filled = _CIRCLE.fullmatch(shape), _FILLED.fullmatch(look)
        if not circle or not filled:
            shapes += [point[0] for point in points]
            continue
        places = dict.fromkeys((_short(float(point[1])), _short(float(point[2]))) for point in points)
        steps = "".join(f"M{x},{y}h0" for x, y in places)
        shapes.append(
            f'<path d="{steps}" stroke="{filled[1]}" stroke-width="{_short(2 * float(circle[1]))}" '
            'stroke-linecap="round"/>'
        )
    return "".join(shapes)


def _relative(path: str) -> str:
    """Returns a path of straight lines with relative coordinates in tenths of a px; other paths are rounded."""
    if not re.fullmatch(rf"(?:{_STEPS.pattern})+", path):
        return re.sub(r"(\.\d)\d+", r"\1", path)
    text: list[str] = []
    start = here = (0, 0)
    last, length = "", 0

    def end() -> None:
        if last:
            text.append(f"{last}{_short(length / _TENTHS)}")

    for step in _STEPS.finditer(path):
        if step[4]:
            end()
            last = ""
            text.append("Z")
            here = start
            continue
        place = (round(float(step[2]) * _TENTHS), round(float(step[3]) * _TENTHS))
        across, down = place[0] - here[0], place[1] - here[1]
        here = place
        if step[1] == "M":
            end()
            last, start = "", place
            text.append(f"M{_short(place[0] / _TENTHS)},{_short(place[1] / _TENTHS)}")
        elif across and down:
            end()
            last = ""
            text.append(f"l{_short(across / _TENTHS)},{_short(down / _TENTHS)}")
        else:
            command, by = ("v", down) if down else ("h", across)
            if command == last and (by > 0) == (length > 0) and length:
                length += by
            else:
                end()
                last, length = command, by
    end()
    return "".join(text)


def _short(number: float) -> str:
    """Returns a number in as few characters as possible: `.5`, `-3`, `12.4`."""
    text = f"{number:.1f}".removesuffix(".0")
    return re.sub(r"^(-?)0\.", r"\1.", "0" if text == "-0" else text)
