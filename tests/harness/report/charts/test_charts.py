"""Every chart draws its figures, and shows the reason where it has none."""

from __future__ import annotations

import json
import math
import re

import pytest
import vl_convert

from harness.report.charts import (
    converter,
    correctness,
    outcomes,
    speed,
    speed_up,
    theme,
)
from tests.support.charts import CHARTS, LEVELS, draw, values


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
    vl_convert.vegalite_to_vega(spec, vl_version=converter.VEGA_LITE, show_warnings=True)
    assert "WARN" not in "".join(capfd.readouterr())


def test_check_for_warnings_notices_one(capfd: pytest.CaptureFixture[str]) -> None:
    spec = {"mark": "point", "encoding": {"x": {"value": 1}, "text": {"value": "a"}}, "data": {"values": [{}]}}
    vl_convert.vegalite_to_vega(json.dumps(spec), vl_version=converter.VEGA_LITE, show_warnings=True)
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


def test_a_bar_of_outcomes_has_the_width_of_all_requests() -> None:
    row = {"cell": "naive SQLite", "ok": 80, "fail": 915, "unknown": 5, "lost": 3, "note": "claimed: 30 %"}
    spec = outcomes.outcomes([row], title="t")
    parts = {part["kind"]: part["share"] for part in spec["layer"][0]["data"]["values"]}
    assert parts == {"acknowledged": 7.7, "refused": 91.5, "unknown": 0.5, "acknowledged, then lost": 0.3}
    assert "3 of them lost" in draw(spec)
    assert "claimed: 30 %" in draw(outcomes.outcomes([row | {"lost": 0}], title="t"))


def test_what_is_required_is_a_line_across() -> None:
    drawn = speed_up.speed_up([{"bound": "pool-bound", "hosts": n, "value": n, "wanted": n} for n in (1, 2)], title="t")
    (tick,) = [layer["mark"] for layer in drawn["layer"] if layer["mark"]["type"] == "tick"]
    assert tick["orient"] == "horizontal"
    assert speed_up.TIMES in draw(drawn)
