"""The table of the numbers in findings."""

from __future__ import annotations

from pathlib import Path

from harness.model import Cell
from tests.support.builders import Made, found, store
from tests.support.pages import only_section, rows_of

DASH = "\N{EN DASH}"


def test_numbers_of_a_check_have_a_table(tmp_path: Path) -> None:
    cells = [Cell(scenario="bulk-insert", strategy="", params={"rows": rows}) for rows in (10, 1)]
    findings = [
        found(cell, "all or nothing", rows_per_s=rate) for cell, rate in zip(cells, (5000.0, None), strict=True)
    ]
    rows = rows_of(
        only_section(store(tmp_path, [Made(cell=cell, ok=9) for cell in cells], findings)), "Rows per second"
    )
    assert [(row["cell"].text, row["rows/s"].text) for row in rows] == [
        ("1 row per request", DASH), ("10 rows per request", "5,000"),
    ]  # fmt: skip
