"""The section of list-append: counts by level, a picture of a cycle, and the anomalies as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.checks.transactions import check_list_append
from harness.model import Cell
from harness.report.page_model import Fold, Picture, Prose
from harness.scenarios.list_append import DRAWN
from tests.harness.scenarios.test_list_append import record
from tests.support.builders import Made, found, store
from tests.support.pages import blocks_of, only_section, page_of, rows_of

CAPTION = "Transactions and anomalies by isolation level"


def cell(level: str) -> Cell:
    return Cell(scenario="list-append", strategy="", hosts=4, params={"level": level})


def numbers(level: str, *, judged_as: str = "") -> dict[str, Any]:
    """What the check of a trial has stored."""
    return dict(check_list_append(record(level, 600), judged_as or level, DRAWN)[0].numbers)


def section(tmp_path: Path, level: str, verdict: Any, stored: dict[str, Any]) -> Any:
    of = cell(level)
    return only_section(store(tmp_path, [Made(cell=of, ok=9)], [found(of, "no forbidden anomaly", verdict, **stored)]))


def test_counts_and_anomalies_have_a_table_and_the_allowed_ones_are_folded(tmp_path: Path) -> None:
    made = section(tmp_path, "repeatable-read", "pass", numbers("REPEATABLE READ"))
    (row,) = rows_of(made, CAPTION)
    assert row["cell"].text == "REPEATABLE READ, 4 hosts"
    assert (row["sent"].text, row["anomalies"].text, row["verdict"].mark) == ("600", "G2-item", "pass")
    (picture,) = [block for block in blocks_of(made) if isinstance(block, Picture) and "G2-item" in block.alt]
    assert picture.alt.startswith("G2-item, which REPEATABLE READ allows: no serial order exists: T")
    assert ">rw</text>" in picture.svg
    (fold,) = [block for block in blocks_of(made) if isinstance(block, Fold) and "allow" in block.title]
    text = str(fold.blocks)
    assert "G2-item: REPEATABLE READ, 4 hosts" in text
    assert "-rw->" in text


def test_an_excluded_anomaly_is_shown_unfolded(tmp_path: Path) -> None:
    made = section(tmp_path, "serializable", "fail", numbers("REPEATABLE READ", judged_as="SERIALIZABLE"))
    assert [block.title for block in blocks_of(made) if isinstance(block, Prose) and "G2-item" in block.title] == [
        "G2-item: SERIALIZABLE, 4 hosts"
    ]
    assert "which SERIALIZABLE excludes" in "".join(b.alt for b in blocks_of(made) if isinstance(b, Picture))


def test_no_anomaly_has_no_picture(tmp_path: Path) -> None:
    made = section(tmp_path, "serializable", "pass", numbers("SERIALIZABLE"))
    assert rows_of(made, CAPTION)[0]["anomalies"].text == "none"
    assert not any(isinstance(block, Picture) and "serial order" in block.alt for block in blocks_of(made))


def test_foreign_numbers_do_not_break_the_page(tmp_path: Path) -> None:
    of = cell("serializable")
    flawed = [None, 3, "x", [1], [{"kind": "G0"}], [{"kind": "G0", "lines": 1, "txns": 2, "steps": 3}],
              [{"kind": "G0", "lines": [1], "txns": [1, 2], "steps": [1]}]]  # fmt: skip
    for position, witness in enumerate(flawed):
        stored = found(of, "no forbidden anomaly", "fail", witness=witness, anomalies=[1], forbidden=3)
        assert page_of(store(tmp_path / str(position), [Made(cell=of, ok=9)], [stored]))
