"""Whether a row of trials.csv has the figures that the summaries of its trial give. Pure.

A row that has others was edited, or belongs to another trial because the table was sorted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.analysis.figures import figures
from harness.load.results.merge import window_over_lanes
from harness.load.results.summary import LaneSummary
from harness.record import TrialResult
from harness.store.csv_rows import COUNTS

BINDING = (*COUNTS, "mean_ms", "max_ms")
"""A row without any of these is not that of a trial with requests."""

Figures = Mapping[str, float | None]


def has_figures_of(row: TrialResult, summaries: Sequence[LaneSummary]) -> bool:
    """Whether the row has the figures of all lanes together, or of one lane, as those of older runs have.

    Percentiles over several lanes need their histograms and are not compared.
    """
    lanes: list[Figures] = [figures(summary) for summary in summaries]
    measured = [*lanes, _over_lanes(summaries, lanes)] if len(lanes) > 1 else lanes
    known = any(row.figure(name) is not None for name in BINDING)
    return known and any(_same(row, of) for of in measured)


def _same(row: TrialResult, measured: Figures) -> bool:
    return all(
        math.isclose(stored, value or 0.0, rel_tol=1e-6, abs_tol=1e-6)
        for name, value in measured.items()
        if (stored := row.figure(name)) is not None and (value is not None or name in BINDING)
    )


def _over_lanes(summaries: Sequence[LaneSummary], lanes: Sequence[Figures]) -> Figures:
    """The figures of all requests but their percentiles: sums, the window of all lanes, the mean and the maximum."""
    together = figures(window_over_lanes(summaries))
    sent = sum(lane["sent"] or 0.0 for lane in lanes)
    total_ms = sum((lane["sent"] or 0.0) * (lane["mean_ms"] or 0.0) for lane in lanes)
    return {
        **together,
        "mean_ms": total_ms / sent if sent else 0.0,
        "max_ms": max(lane["max_ms"] or 0.0 for lane in lanes),
    }
