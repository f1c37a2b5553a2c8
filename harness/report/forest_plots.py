"""Forest plots of compared rows, with the numbers that `./run compare` prints. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.compare import table as comparison_table
from harness.compare.rows import Row
from harness.report.charts.drawing import picture
from harness.report.charts.forest import ForestRow, forest
from harness.report.comparison_words import LONGER, RIGHT_OF_ONE
from harness.report.page_model import Picture


def forest_picture(
    rows: Sequence[ForestRow], *, title: str, subtitle: str, metric: str, prefix: str, ratio: str
) -> Picture:
    """Returns the forest plot of a metric with its text alternative."""
    spec = forest(rows, title=title, subtitle=subtitle, ratio=ratio, means=RIGHT_OF_ONE.get(metric, LONGER))
    alt = "; ".join(f"{row.label}: {row.verdict}" for row in rows)
    return picture("forest", spec, "", f"{title}. {alt}.", prefix=prefix)


def forest_row(row: Row, label: str) -> ForestRow:
    """Returns a row of the plot. The interval is drawn where `./run compare` prints it."""
    *_, ratio, interval, _, _, _ = comparison_table.texts(row)
    verdict = comparison_table.verdict(row if row.ratio is None else replace(row, note=""))
    has_interval = interval != "-" and row.ratio is not None
    words = [verdict] if row.ratio is None else [f"{ratio} [{interval}]" if has_interval else ratio, verdict]
    return ForestRow(
        label=label,
        verdict="  ".join(words),
        kind=row.verdict,
        ratio=row.ratio.value if row.ratio else None,
        low=row.ratio.low if row.ratio and has_interval else None,
        high=row.ratio.high if row.ratio and has_interval else None,
        floor=row.floor,
    )
