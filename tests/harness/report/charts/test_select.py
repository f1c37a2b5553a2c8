"""Drawings as part of a page: their elements, their ids, the steps of a timeline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.checks.required_evidence import COUNTERS
from harness.model import Cell
from harness.record import Evidence
from harness.report.charts import drawing, select
from harness.report.page_model import Picture
from tests.support.builders import Made, concurrent, store
from tests.support.pages import blocks_of, page_of


def test_drawing_with_anything_but_shapes_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    for shapes in (
        "<svg><script>1</script></svg>",
        '<svg><a href="http://x"><text>x</text></a></svg>',
        '<svg onload="x"></svg>',
        "<svg><foreignObject/></svg>",
        '<svg><g style="fill:url(http://x)"/></svg>',
    ):
        monkeypatch.setattr("harness.report.charts.drawing.svg", lambda _, shapes=shapes: shapes)
        with pytest.raises(drawing.Forbidden):
            drawing.picture("x", {}, "", "", prefix="a-")


def test_ids_of_two_drawings_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = '<svg><defs><clipPath id="clip0"><rect/></clipPath></defs><g clip-path="url(#clip0)"/></svg>'
    monkeypatch.setattr("harness.report.charts.drawing.svg", lambda _: shapes)
    one, two = (drawing.picture("x", {}, "", "", prefix=prefix).svg for prefix in ("a-", "b-"))
    assert one != two
    for svg in (one, two):
        (own,) = re.findall(r'id="([^"]+)"', svg)
        assert f"url(#{own})" in svg


def test_timeline_of_a_long_trial_is_drawn_in_steps_that_keep_every_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store(tmp_path, [Made(cell=Cell(scenario="throughput"), ok=200, timeline_s=8)])
    drawn: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(select.over_time, "over_time", lambda rows, *_, **__: drawn.append(list(rows)) or {})
    monkeypatch.setattr(drawing, "svg", lambda _: "<svg></svg>")
    whole = page_of(run)
    monkeypatch.setattr(select, "MOST_STEPS", 3)
    (picture,) = [b for b in blocks_of(page_of(run).sections[0]) if isinstance(b, Picture) and "over time" in b.alt]
    assert [len(rows) for rows in drawn] == [8, 3]
    assert not any("A step is" in b.caption for b in blocks_of(whole.sections[0]) if isinstance(b, Picture))
    assert "A step is 3 s" in picture.caption
    assert [(int(row["second"]), row["ok"], row["p95_ms"]) for row in drawn[1]] == [
        (0, 901.0, 16.0), (3, 904.0, 19.0), (6, 906.5, 21.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("evidence", "titles"),
    [
        (Evidence(), ["Every acknowledged write is in the database"]),
        (Evidence(missing_hosts=("load-2: gone",)), ["No loss is seen, but samples of a load host are missing"]),
        (Evidence(unread={COUNTERS: "the database did not answer"}), []),
    ],
)
def test_final_values_that_are_not_known_are_not_said_to_be_complete(
    tmp_path: Path, evidence: Evidence, titles: list[str]
) -> None:
    page = page_of(store(tmp_path, [Made(cell=concurrent(), ok=20, evidence=evidence)]))
    pictures = [block for block in blocks_of(page.sections[0]) if isinstance(block, Picture)]
    assert [one.title for one in pictures if "acknowledged" in one.title or "loss" in one.title] == titles
