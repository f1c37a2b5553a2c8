"""Smaller drawings look the same: shapes by table, and paths whose coordinates are read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.charts.shrinking import shrunk

CIRCLE = 'd="M2.345,0A2.345,2.345,0,1,1,-2.345,0A2.345,2.345,0,1,1,2.345,0" fill="#0072B2" stroke-width="2"'


def line(x: float, look: str = 'stroke="#E3E3E3" stroke-width="1"') -> str:
    return f'<line transform="translate({x},-66)" x2="0" y2="66" {look}/>'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<g><g><text>a</text></g></g>", "<text>a</text>"),
        ('<g fill="none"><g ><text>a</text></g></g>', '<g fill="none"><text>a</text></g>'),
        ('<g transform="translate(0,0)"><text>a</text></g>', "<text>a</text>"),
        ('<path d="M0,0h5v5h-5Z"/>', ""),
        ('<clipPath id="c"><path d="M0,0h5v5"/></clipPath>', '<clipPath id="c"><path d="M0,0h5v5"/></clipPath>'),
        ('<path d="M0,0h5v5h-5Z" fill="#222222"/>', '<path d="M0,0h5v5h-5Z" fill="#222222"/>'),
        (
            line(0) + line(48.7654),
            '<path d="M0,-66v66M48.8,-66v66" stroke="#E3E3E3" stroke-width="1"/>',
        ),
        (
            line(0) + line(5) + line(9, 'stroke="#595959"'),
            '<path d="M0,-66v66M5,-66v66" stroke="#E3E3E3" stroke-width="1"/><path d="M9,-66v66" stroke="#595959"/>',
        ),
        (line(7), line(7)),
        (
            f'<path transform="translate(1,2.04)" {CIRCLE}/><path transform="translate(3.5,4)" {CIRCLE}/>'
            f'<path transform="translate(1,2)" {CIRCLE}/>',
            '<path d="M1,2h0M3.5,4h0" stroke="#0072B2" stroke-width="4.7" stroke-linecap="round"/>',
        ),
        (
            2 * f'<path transform="translate(1,2)" {CIRCLE} opacity="0.5"/>',
            2 * f'<path transform="translate(1,2)" {CIRCLE.replace("2.345", "2.3")} opacity="0.5"/>',
        ),
        ('<path d="M0,0L10.04,0L20,0L20,5L21,6.06" stroke="#0072B2"/>', '<path d="M0,0h20v5l1,1.1" stroke="#0072B2"/>'),
        ('<path d="M0,0L10,0L5,0" stroke="#0072B2"/>', '<path d="M0,0h10h-5" stroke="#0072B2"/>'),
        ('<path d="M5,5L6,6L7,5ZL6,4" fill="#0072B2"/>', '<path d="M5,5l1,1l1,-1Zl1,-1" fill="#0072B2"/>'),
        ('<path d="M1.239,0C2,1,3,3,4,4" fill="none"/>', '<path d="M1.2,0C2,1,3,3,4,4" fill="none"/>'),
        ('<g transform="translate(-3.02,1) rotate(-90)">a</g>', '<g transform="translate(-3,1) rotate(-90)">a</g>'),
    ],
)  # fmt: skip
def test_shapes(before: str, after: str) -> None:
    assert shrunk(before) == after


NUMBERS = st.floats(-600, 600).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=40))
def test_a_relative_path_ends_where_the_absolute_one_does(points: list[tuple[float, float]]) -> None:
    begin, *rest = points
    path = f"M{begin[0]},{begin[1]}" + "".join(f"L{x},{y}" for x, y in rest)
    text = shrunk(f'<path d="{path}" stroke="#0072B2"/>')
    x, y = 0.0, 0.0
    corners = set()
    for command, across, down in re.findall(r"([Mlhv])(-?[\d.]+)(?:,(-?[\d.]+))?", text.split('"')[1]):
        if command == "M":
            x, y = float(across), float(down)
        else:
            x += float(across) if command in "lh" else 0.0
            y += float(down) if command == "l" else float(across) if command == "v" else 0.0
        corners.add((round(x, 1), round(y, 1)))
    assert (x, y) == pytest.approx(points[-1], abs=0.051)
    wanted = {(round(px * 10) / 10, round(py * 10) / 10) for px, py in points}
    assert all(min(abs(cx - px) + abs(cy - py) for px, py in wanted) < 0.01 for cx, cy in corners)
