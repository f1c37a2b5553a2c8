"""Every chart draws its figures, and shows the reason where it has none."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import vl_convert
from markupsafe import escape

from harness.analysis.scaling_law import UslFit, fit_usl
from harness.report.charts import (
    bars,
    correctness,
    drawing,
    faults,
    line_ends,
    outcomes,
    over_time,
    requests,
    slowest,
    speed,
    speed_up,
    strategies,
    telemetry,
    theme,
)

LEVELS = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
FIT = fit_usl([(n, 100 * n / (1 + 0.05 * (n - 1))) for n in (1, 2, 3, 4, 6, 8)], shared_cores=True, resamples=50)
assert isinstance(FIT, UslFit)

Rows = Sequence[Mapping[str, Any]]
CHARTS: dict[str, tuple[Callable[..., theme.Spec], Rows, dict[str, Any]]] = {
    "percentile_curve": (
        speed.percentile_curve,
        [
            {"series": series, "kind": kind, "percent": percent, "ms": 100 / (100 - percent)}
            for series in ("upsert", "coalesce")
            for kind in ("latency", "service")
            for percent in (50, 90, 99, 99.9)
        ],
        {},
    ),
    "over_time": (
        over_time.over_time,
        [
            {"second": str(n), "ok": "300", "fail": "1", "unknown": "0", "p50_ms": "5", "p95_ms": "9.5", "p99_ms": ""}
            for n in range(9)
        ],
        {
            "below": [
                {"panel": panel, "name": name, "second": n, "mean": 10.0 * n}
                for panel in over_time.BELOW
                for name in ("app", "database")
                for n in range(9)
            ]
        },
    ),
    "spread": (speed.spread, [{"host": f"app-{n}", "requests": 250 + n} for n in range(4)], {}),
    "scaling": (speed.scaling, [{"hosts": n, "rps": 100.0 * n} for n in (1, 1, 2, 4)], {}),
    "scaling with its law": (speed.scaling, [{"hosts": n, "rps": 99.0 * n} for n in (1, 2, 3, 4, 6, 8)], {"fit": FIT}),
    "strategies": (
        strategies.strategies,
        [
            {"strategy": name, "keys": keys, "rps": 900, "ms": 12.5, "lost": lost}
            for name, lost in (("upsert", 0), ("unsafe", 412))
            for keys in ("hot key", "1,000 keys")
        ],
        {},
    ),
    "outcomes": (
        outcomes.outcomes,
        [
            {
                "cell": outcomes.wrapped(f"{name}, burst of 1,000 clients"),
                "ok": 310,
                "fail": 680,
                "unknown": 10,
                "lost": lost,
            }
            for name, lost in (("naive SQLite", 0), ("PostgreSQL", 4))
        ],
        {},
    ),
    "fault_course": (
        faults.over_time,
        [{"at_s": s, "ok": 9, "fail": 1, "unknown": 0, "p50_ms": 5.0, "max_ms": 9.0} for s in range(4)],
        {"bands": [{"fault": "db-crash", "from_s": 1.0, "to_s": 2.0}]},
    ),
    "speed_up": (
        speed_up.speed_up,
        [
            {"bound": bound, "hosts": n, "value": 0.9 * n, "low": 0.8 * n, "high": n, "wanted": 0.85 * n}
            for bound in ("pool-bound", "CPU-bound upsert")
            for n in (1, 2, 4, 8)
        ],
        {},
    ),
    "bars": (bars.bars, [{"cell": f"{n} rows", "value": n, "text": str(n)} for n in (1, 100)], {"unit": "rows/s"}),
    "slowest": (
        slowest.slowest,
        [{"cell": cell, "cause": cause, "share": 0.5} for cell in ("a", "b") for cause in ("row lock", "pool")],
        {},
    ),
    "over_the_quick": (
        requests.over_the_quick,
        [
            {"cell": cell, "lane": lane, "from_s": begin, "to_s": begin + seconds, "ms": 1e3 * seconds}
            for cell in ("same row", "other row")
            for lane, begin, seconds in (("quick", 0.5, 0.2), ("quick", 1.5, 0.1), ("long", 0, 5.0))
        ],
        {},
    ),
    "pairs": (
        requests.pairs,
        [{"cell": "through the service", "pair": n, "kind": kind} for n, kind in enumerate(requests.PAIRS)],
        {},
    ),
    "pool_sweep": (speed.pool_sweep, [{"pool": n, "seconds": 2 / n} for n in (1, 5, 10, 20, 50)], {"knee": 20}),
    "convergence": (
        correctness.convergence,
        [{"key": f"key-{n}", "acknowledged": 100, "final": 100 - n % 3, "unknown": 0} for n in range(30)],
        {},
    ),
    "small_multiples": (
        telemetry.small_multiples,
        [
            {"panel": panel, "name": f"{panel} {n}", "second": s, "mean": None if s == 4 else s, "peak": 2 * s}
            for panel in ("CPU used, % of the host's cap", "memory, MiB a host")
            for n in (1, 2)
            for s in range(9)
        ],
        {"trials": [{"order": 1, "begin": 0.5, "end": 3.0}, {"order": 2, "begin": 5.0, "end": 9.0}]},
    ),
    "isolation": (
        correctness.isolation,
        [
            {"case": case, "level": level, "standard": "possible", "documented": "prevented", "kind": "waited"}
            for case in ("G0", "P4")
            for level in LEVELS
        ],
        {},
    ),
}


def draw(spec: theme.Spec) -> str:
    text = drawing.svg(spec)
    assert text.startswith("<svg")
    return text


def values(spec: Any, key: str) -> Iterator[Any]:
    """Returns all values stored under `key` anywhere in a specification."""
    if isinstance(spec, Mapping):
        for name, value in spec.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(spec, list):
        for item in spec:
            yield from values(item, key)


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_draws_with_its_title_and_fits_the_page(name: str) -> None:
    make, rows, more = CHARTS[name]
    spec = make(rows, title="It is 3 times as fast", subtitle="5 trials", **more)
    text = draw(spec)
    title, subtitle = theme.titles(spec)
    assert title == "It is 3 times as fast"
    assert subtitle.startswith("5 trials")
    width = re.match(r'<svg[^>]* width="(\d+)', text)
    assert width
    assert 300 < int(width[1]) <= theme.PICTURE
    assert spec["config"] is theme.CONFIG


@pytest.mark.parametrize("name", CHARTS)
def test_no_chart_makes_vega_lite_warn(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, rows, more = CHARTS[name]
    spec = json.dumps(make(rows, title="t", **more))
    vl_convert.vegalite_to_vega(spec, vl_version=drawing.VEGA_LITE, show_warnings=True)
    assert "WARN" not in "".join(capfd.readouterr())


def test_check_for_warnings_notices_one(capfd: pytest.CaptureFixture[str]) -> None:
    spec = {"mark": "point", "encoding": {"x": {"value": 1}, "text": {"value": "a"}}, "data": {"values": [{}]}}
    vl_convert.vegalite_to_vega(json.dumps(spec), vl_version=drawing.VEGA_LITE, show_warnings=True)
    assert "WARN" in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", CHARTS)
def test_chart_without_data_shows_the_reason(name: str) -> None:
    make, _, more = CHARTS[name]
    assert "No data: the run was stopped" in draw(make([], title="t", because="the run was stopped", **more))
    assert "No data: " in draw(make(iter(()), title="t", **more))


@pytest.mark.parametrize("name", [name for name in CHARTS if name != "isolation"])
@pytest.mark.parametrize("damage", [math.nan, math.inf, -math.inf, "abc", "", None, [1], "nan", 10**400])
def test_rows_without_a_number_are_left_out(name: str, damage: object) -> None:
    """A valid row and a row with damaged figures give the chart of the valid row."""
    make, rows, more = CHARTS[name]
    figures = {
        "percent", "ms", "second", "requests", "hosts", "rps", "pool", "seconds", "value", "acknowledged", "final",
        "ok", "share", "pair", "from_s", "at_s",
    }  # fmt: skip
    damaged = {key: damage if key in figures else value for key, value in rows[0].items()}
    good = make([rows[0]], title="t", **more)
    assert make([rows[0], damaged], title="t", **more) == good
    draw(good)
    assert "No data" in draw(make([damaged], title="t", **more))


def test_logarithmic_axis_leaves_out_zero() -> None:
    zero = {"pool": 0, "seconds": 1}
    assert speed.pool_sweep([zero], title="t")["mark"]["text"][0].startswith("No data")
    spec = speed.pool_sweep([zero, {"pool": 5, "seconds": 1}], title="t")
    assert spec["data"]["values"] == [{"pool": 5.0, "seconds": 1.0}]


def test_names_from_files_stay_text() -> None:
    script = "</text><script>alert(1)</script>"
    text = draw(speed.spread([{"host": script, "requests": 1}], title=script))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_control_characters_do_not_end_the_process() -> None:
    """The renderer aborts Python where it measures a text with such a character."""
    row = {"cell": outcomes.wrapped("a \x1b[31m \u202e \x00 b"), "ok": 3, "fail": 1, "unknown": 0, "lost": 0}
    assert "?[31m" in draw(outcomes.outcomes([row], title="t"))


def test_specifications_fetch_nothing() -> None:
    for make, rows, more in CHARTS.values():
        spec = make(rows, title="t", **more)
        assert not list(values(spec, "url"))
        json.dumps(spec, allow_nan=False)


def test_ideal_line_begins_at_the_median_of_the_fewest_hosts() -> None:
    rows = [{"hosts": 2, "rps": rps} for rps in (100, 200, 240)] + [{"hosts": 8, "rps": 500}]
    layers = speed.scaling(rows, title="t")["layer"]
    assert [(row["hosts"], row["rps"]) for row in layers[0]["data"]["values"]] == [(2, 200), (8, 800)]
    assert layers[1]["data"]["values"] == [], "no law was fitted"


def test_pool_sweep_marks_a_knee_only_where_one_was_measured() -> None:
    rows = [{"pool": n, "seconds": 1 / n} for n in (1, 2)]
    assert "knee: 2" in draw(speed.pool_sweep(rows, knee=2, title="t"))
    assert "knee" not in draw(speed.pool_sweep(rows, knee=7, title="t"))
    assert "knee" not in draw(speed.pool_sweep(rows, title="t"))


def test_the_even_share_counts_hosts_without_requests() -> None:
    spec = speed.spread([{"host": "a", "requests": 90}, {"host": "b", "requests": 0}], title="t")
    assert spec["layer"][2]["data"]["values"] == [{"share": 45}]
    assert "0 (0.0 %)" in draw(spec)


def test_a_strategy_that_lost_updates_is_crossed_out() -> None:
    make, rows, _ = CHARTS["strategies"]
    text = draw(make(rows, title="t"))
    assert re.findall(r">unsafe: (\d+) updates lost</text>", text) == ["412", "412"]
    assert ">lost updates</text>" in text


@pytest.mark.parametrize(
    ("final", "unknown", "text"),
    [(100, 0, "equal"), (97, 0, "3 lost"), (97, 5, "3 lost"), (104, 5, "equal"), (104, 1, "3 too many")],
)
def test_convergence_agrees_with_the_oracle(final: int, unknown: int, text: str) -> None:
    row = {"key": "k", "acknowledged": 100, "final": final, "unknown": unknown}
    (value,) = correctness.convergence([row], title="t")["data"]["values"]
    assert value["text"] == text
    assert (value["off"] == 0) == (text == "equal")


def test_convergence_shows_the_worst_keys_first_and_the_number_of_keys() -> None:
    make, rows, _ = CHARTS["convergence"]
    spec = make(rows, title="t", subtitle="4 hosts.")
    assert [row["text"] for row in spec["data"]["values"]] == ["2 lost"] * 10 + ["1 lost"] * 10
    assert spec["title"]["subtitle"] == ["4 hosts. 20 of 30 keys, the largest difference first."]


@pytest.mark.parametrize(
    ("kind", "documented", "shown", "meaning"),
    [
        ("occurred", "prevented", "OCCURS", correctness.FORBIDDEN),
        ("occurred", "possible", "occurs", correctness.POSSIBLE),
        ("aborted", "possible", "40001", correctness.PREVENTED),
        ("snapshot", "prevented", "older", correctness.PREVENTED),
        ("unknown", "prevented", "?", correctness.UNKNOWN),
        (None, "prevented", "?", correctness.UNKNOWN),
    ],
)
def test_isolation_cell_distinguishes_a_violation_from_a_documented_anomaly(
    kind: str, documented: str, shown: str, meaning: str
) -> None:
    row = {"case": "G2", "level": "SERIALIZABLE", "standard": "prevented", "standard_silent": True}
    spec = correctness.isolation([row | {"kind": kind, "documented": documented, "code": "40001"}], title="t")
    panels = [panel["data"]["values"][0] for panel in spec["hconcat"]]
    assert (panels[2]["text"], panels[2]["meaning"]) == (shown, meaning)
    assert panels[0]["text"] == "no*"
    assert meaning in draw(spec)


def test_isolation_takes_the_rows_of_the_matrix() -> None:
    from harness.isolation.matrix import matrix, read

    rows = matrix(
        read({"backend": "postgres", "version": "PostgreSQL 18", "cases": ["G0"], "levels": LEVELS, "cells": []})
    )
    assert "not known" in draw(correctness.isolation(rows, title="t"))


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


def test_a_bar_of_outcomes_has_the_width_of_all_requests() -> None:
    row = {"cell": "naive SQLite", "ok": 80, "fail": 915, "unknown": 5, "lost": 3, "note": "claimed: 30 %"}
    spec = outcomes.outcomes([row], title="t")
    parts = {part["kind"]: part["share"] for part in spec["layer"][0]["data"]["values"]}
    assert parts == {"acknowledged": 7.7, "refused": 91.5, "unknown": 0.5, "acknowledged, then lost": 0.3}
    assert "3 of them lost" in draw(spec)
    assert "claimed: 30 %" in draw(outcomes.outcomes([row | {"lost": 0}], title="t"))


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


def test_what_is_required_is_a_line_across() -> None:
    drawn = speed_up.speed_up([{"bound": "pool-bound", "hosts": n, "value": n, "wanted": n} for n in (1, 2)], title="t")
    (tick,) = [layer["mark"] for layer in drawn["layer"] if layer["mark"]["type"] == "tick"]
    assert tick["orient"] == "horizontal"
    assert speed_up.TIMES in draw(drawn)


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
