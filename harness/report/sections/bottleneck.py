"""What stood behind a scenario's figures: which part of the tier was saturated, and the course of hosts and database.

The phrase goes beside each throughput; the course is folded away until somebody asks for it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from harness.analysis.bottleneck import CPUS, Attribution, pool_wait
from harness.report.charts import telemetry
from harness.report.charts.select import picture
from harness.report.charts.telemetry_series import TelemetrySeries
from harness.report.formatting import NOTHING, number, whole_percent
from harness.report.page_model import Fold, Value, table
from harness.report.summary import ScenarioSummary
from harness.report.trial_data import TrialData

HEAD = "held back by"
NOTE = (
    "Held back by: what was saturated while the load ran, by telemetry (in how many of the trials, where they differ); "
    "the folded part below has every trial."
)
_PROCESSORS = (*CPUS.values(), "machine")


def held_back(readings: Sequence[TrialData], cell: str) -> Value:
    """What was saturated in the valid trials of a cell, in a phrase; or why that is not known."""
    mine = [reading for reading in readings if reading.row.cell.name == cell]
    if all(reading.row.figure("sent") is None for reading in mine):
        return Value(NOTHING)
    valid = [reading for reading in mine if reading.row.valid]
    known = [reading.attribution for reading in valid if not reading.attribution.unknown]
    if not known:
        return Value("not known", _unknown(valid))
    times = Counter(part for one in known for part in one.saturated)
    full = [f"{part} in {n} of {len(known)}" if n < len(known) else part for part, n in times.most_common()]
    return Value(", ".join(full)) if full else Value("nothing saturated", _busiest(known))


def _unknown(valid: Sequence[TrialData]) -> str:
    """Why; and what the service itself says of waiting, which needs no telemetry."""
    if not valid:
        return "because no trial is valid"
    waits = [told[0] / told[1] for reading in valid if (told := pool_wait(reading.row))]
    said = f"; {whole_percent(fmean(waits))} of it went by waiting for a connection" if waits else ""
    return f"because {valid[0].attribution.unknown}{said}"


def _busiest(known: Sequence[Attribution]) -> str:
    """The processor that was used most, in whichever trial."""
    used = {part: max(one.levels.get(part, 0.0) for one in known) for part in _PROCESSORS}
    part = max(used, key=lambda name: used[name])
    return f"{part} {whole_percent(used[part])} at most"


def behind(summary: ScenarioSummary, readings: Sequence[TrialData], drawn: TelemetrySeries | None) -> list[Fold]:
    """The course of hosts and database over a scenario, and its trials one by one; nothing without telemetry."""
    if drawn is None:
        return []
    spans = {band["order"]: band for band in drawn.trials}
    title = "Hosts and database, second by second"
    never = f" Zero all the time, and so not drawn: {', '.join(drawn.silent)}." if drawn.silent else ""
    chart = picture(
        telemetry.course(drawn.points, drawn.trials, title=title, subtitle="Grey bands are trials."),
        f"A point covers {number(drawn.bucket_s)} s: the strong line is the mean over it and over the hosts that "
        f"served, the faint line the highest single reading of any of them (over half a second at least).{never}",
        f"{title}, over {number(drawn.seconds)} s. The table below says what was saturated in each trial.",
        own=f"course-{zlib.crc32(summary.name.encode()):x}-",
    )
    rows = [
        [
            f"{order}",
            summary.labels.get(reading.row.cell.name) or summary.common,
            *(f"{spans[order][edge]:.1f}" if order in spans else NOTHING for edge in ("begin", "end")),
            reading.attribution.line,
        ]
        for reading in readings
        for order in [reading.row.trial.order]
    ]
    head = ("trial", "cell", "from, s", "to, s", "what was saturated")
    return [Fold(title="What hosts and database did meanwhile", blocks=(chart, table("Trial by trial", head, rows)))]
