"""The look of charts: colours, contrast, titles and labels that can be read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping

import pytest
from markupsafe import escape

from harness.report.charts import (
    correctness,
    drawing,
    line_ends,
    requests,
    strategies,
    theme,
)
from tests.support.charts import CHARTS, LEVELS, draw, values


def test_long_titles_break_into_lines_of_about_equal_length() -> None:
    spec = theme.nothing("word " * 40, "x")
    lengths = [len(line) for line in spec["title"]["text"]]
    assert max(lengths) <= 66
    assert min(lengths) > 30


def test_colours_are_different() -> None:
    assert len(set(theme.SERIES)) == len(theme.SERIES) == 8


def colours_of(text: str) -> set[str]:
    return set(re.findall(r'(?:fill|stroke)="([^"]+)"', text)) - {"none", "transparent"}


@pytest.mark.parametrize("name", CHARTS)
def test_every_colour_of_a_drawing_has_one_for_the_dark_page(name: str) -> None:
    make, rows, more = CHARTS[name]
    known = {colour.lower() for colour in theme.DARK}
    for spec in (make(rows, title="t", **more), make([], title="t", **more)):
        assert {colour.lower() for colour in colours_of(draw(spec))} <= known


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("shade", [lambda colour: colour, lambda colour: theme.DARK[colour]], ids=["light", "dark"])
def test_text_of_drawings_has_contrast(shade: Callable[[str], str]) -> None:
    for ground in (theme.PAPER, theme.BOX):
        assert contrast(shade(theme.INK), shade(ground)) >= 4.5
        assert contrast(shade(theme.QUIET), shade(ground)) >= 4.5
    for ground in (theme.GOOD, theme.ALLOWED, theme.UNTRIED):
        assert contrast(shade(theme.INK), shade(ground)) >= 4.5
    assert contrast(shade(theme.PAPER), shade(theme.BAD)) >= 3


def test_labels_of_line_ends_do_not_overlap() -> None:
    points = [{"line": f"line {n}", "x": 1.0, "y": 10 + n / 100} for n in range(5)]
    rows = line_ends.ends(points, series="line", x="x", y="y", ends_at=(0, 20), height=200, log=False)
    places = sorted(200 * row["label_y"] / 20 for row in rows)
    assert min(after - before for before, after in itertools.pairwise(places)) >= line_ends.LINE_PX - 0.01
    assert places[-1] <= 200


def test_lines_of_a_label_have_places_of_their_own_around_that_of_the_label() -> None:
    points = [{"line": "500 requests/s, on another row", "x": 1.0, "y": 10.0}]
    rows = line_ends.ends(points, series="line", x="x", y="y", ends_at=(0, 20), height=200, log=False)
    assert [row["label"] for row in rows] == ["500 requests/s, on", "another row"]
    assert [200 * row["label_y"] / 20 for row in rows] == pytest.approx([107, 93])


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("upsert, 8 hosts", 20, "upsert, 8 hosts"),
        ("log_autovacuum_min_duration=1000", 20, "log_aut…uration=1000"),
        ("log_autovacuum_min_duration=250", 20, "log_auto…uration=250"),
        ("500 requests/s, idle_session_timeout=10 retention_seconds=200", 20,
         "500 requests/s, idle_ses…_timeout=10 retentio…seconds=200"),
        ("code=0123456789abcdef0123456789abcdef", 20, "code=01234…789abcdef"),
        ("x" * 30 + "y", 11, "xxxxx…xxxxy"),
    ],
)  # fmt: skip
def test_a_long_setting_is_cut_where_it_is_least_needed(text: str, most: int, short: str) -> None:
    assert theme.short_words(text, most) == short
    assert all(len(word) <= most for word in short.split())


def test_labels_of_strategies_are_moved_apart_at_the_top_too() -> None:
    rows = [{"strategy": f"s{n}", "keys": "hot", "rps": 1000, "ms": 100 + n / 100, "lost": 0} for n in range(6)]
    labels = strategies.strategies(rows, title="t")["layer"][1]["data"]["values"]
    most = strategies.strategies(rows, title="t")["layer"][0]["encoding"]["y"]["scale"]["domain"][1]
    places = sorted(strategies.HEIGHT * row["label_y"] / most for row in labels)
    assert min(after - before for before, after in itertools.pairwise(places)) >= line_ends.LINE_PX - 0.01
    assert places[-1] <= strategies.HEIGHT


def test_a_narrow_drawing_gets_room_instead_of_being_enlarged() -> None:
    rows = [{"cell": "direct", "pair": 0, "kind": requests.VICTIM}]
    drawn = drawing.picture("pairs", requests.pairs(rows, title="t"), "", "t", prefix="p-").svg
    assert re.match(rf'<svg[^>]* width="{theme.NARROW}" height="\d+" viewBox="0 0 {theme.NARROW} \d+"', drawn)


@pytest.mark.parametrize("name", CHARTS)
def test_the_titles_of_all_axes_are_drawn(name: str) -> None:
    """Layers share their axes: a title of None in one of them can win."""
    make, rows, more = CHARTS[name]
    spec = make(rows, title="t", **more)
    drawn = drawing.picture("c", spec, "", "", prefix="c-").svg
    for channel in ("x", "y"):
        for axis in values(spec, channel):
            if isinstance(axis, Mapping) and axis.get("axis", "") is not None and axis.get("title"):
                assert str(escape(axis["title"])).replace("&#39;", "'") in drawn, axis


@pytest.mark.parametrize("kind", ["snapshot", "occurred", "unknown"])
def test_the_text_of_the_whole_matrix_of_anomalies_can_be_read(kind: str) -> None:
    """12 px of a drawing of 528 px are 11 px in a card of half the page, which is 484 px wide inside."""
    from harness.isolation.cases import CASES
    from harness.isolation.matrix import matrix, read

    result = {"backend": "postgres", "version": "PostgreSQL 18", "cases": list(CASES), "levels": LEVELS, "cells": []}
    rows = [row | {"kind": kind} for row in matrix(read(result))]
    text = drawing.picture("anomalies", correctness.isolation(rows, title="t"), "", "t", prefix="p-").svg
    width = re.match(r'<svg[^>]* viewBox="[-\d.]+ [-\d.]+ ([\d.]+)', text)
    assert width
    sizes = [int(size) for size in re.findall(r'font-size="(\d+)px"', text)]
    assert min(sizes) * 484 / float(width[1]) >= 11
