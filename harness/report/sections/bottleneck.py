"""The bottleneck of a scenario's cells, and the telemetry of hosts and database while it ran. Pure but for drawing.

The saturated parts are shown beside each throughput; the telemetry is folded away until the reader opens it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from harness.analysis.bottleneck import CPUS, Attribution, pool_wait
from harness.checks import names
from harness.model import Finding
from harness.report.charts import telemetry
from harness.report.charts.drawing import picture
from harness.report.charts.telemetry_series import TelemetrySeries
from harness.report.charts.theme import shortened
from harness.report.formatting import NOTHING, number, whole_percent
from harness.report.page_model import Fold, Table, Value, table
from harness.report.summary import ScenarioSummary
from harness.report.trial_data import TrialData

HEAD = "saturated"
NOTE = (
    "Saturated: the parts that telemetry shows as saturated while the load ran (and in how many trials, where trials "
    "differ); the folded part below has every trial."
)
SLOWEST_NOTE = (
    "The slowest 1 % of the requests of one trial (at least ten), and the shares of their time. Queue: before the "
    "send. Pool: waiting for a connection in the service. While they held a session of the database, their time is "
    "divided like 20 samples per second of what these sessions waited for. The rest is outside of the service: the "
    "network, or the CPU that was saturated. Shares below 5 % are left out."
)
LEAST_SHARE = 0.05
MOST_REASON = 60
"""Characters of a reason in a column of figures; the table of trials has it whole."""
_PROCESSORS = (*CPUS.values(), "machine")


def saturated_parts(trials: Sequence[TrialData], cell: str) -> Value:
    """Returns the parts that were saturated in the valid trials of a cell, or why that is not known."""
    of_cell = [trial for trial in trials if trial.row.cell.name == cell]
    if all(trial.row.figure("sent") is None for trial in of_cell):
        return Value(NOTHING)
    valid = [trial for trial in of_cell if trial.row.valid]
    known = [trial.attribution for trial in valid if not trial.attribution.unknown]
    if not known:
        return Value("not known", _unknown(valid))
    times = Counter(part for one in known for part in one.saturated)
    parts = [f"{part} in {n} of {len(known)}" if n < len(known) else part for part, n in times.most_common()]
    return Value(", ".join(parts)) if parts else Value("nothing saturated", _busiest(known))


def _unknown(valid: Sequence[TrialData]) -> str:
    """Returns the reason, and the share of waiting for a connection as the service reports it without telemetry."""
    if not valid:
        return "because no trial is valid"
    waits = [wait[0] / wait[1] for trial in valid if (wait := pool_wait(trial.row))]
    share = f"; {whole_percent(fmean(waits))} of the service time was waiting for a connection" if waits else ""
    return f"because {shortened(valid[0].attribution.unknown, MOST_REASON)}{share}"


def _busiest(known: Sequence[Attribution]) -> str:
    """Returns the processor with the highest use in any trial."""
    used = {part: max(one.levels.get(part, 0.0) for one in known) for part in _PROCESSORS}
    part = max(used, key=lambda name: used[name])
    return f"{part} {whole_percent(used[part])} at most"


def slowest_table(summary: ScenarioSummary) -> list[Table]:
    """Returns where the slowest requests of each cell waited; nothing where sessions were not sampled."""
    rows = []
    for one in summary.findings:
        shares = one.numbers.get("shares")
        if not is_about_slowest(one) or not isinstance(shares, Mapping):
            continue
        first, *rest = [f"{cause} {whole_percent(share)}" for cause, share in shares.items() if share >= LEAST_SHARE]
        rows.append(
            [
                summary.labels.get(one.cell, one.cell),
                number(one.numbers.get("from_ms")),
                first,
                ", ".join(rest) or NOTHING,
                str(one.numbers.get("blocker") or NOTHING),
            ]
        )
    if not rows:
        return []
    head = ("cell", "slower than, ms", "first cause", "other causes", "row lock held by")
    return [table("Where the slowest requests waited", head, rows, note=SLOWEST_NOTE)]


def is_about_slowest(one: Finding) -> bool:
    """Whether a finding is a row of `slowest_table`."""
    return one.check == names.SLOWEST and one.verdict == "shown" and bool(one.numbers.get("shares"))


def telemetry_fold(
    summary: ScenarioSummary, trials: Sequence[TrialData], series: TelemetrySeries | None
) -> tuple[Fold, ...]:
    """Returns the telemetry chart of a scenario and a table of its trials; nothing without telemetry."""
    if series is None:
        return ()
    spans = {span.order: span for span in series.trials}
    title = "Hosts and database over time"
    zero = f" Not drawn, because zero all the time: {', '.join(series.zero)}." if series.zero else ""
    chart = picture(
        "telemetry",
        telemetry.small_multiples(series.points, series.bands, title=title, subtitle="Grey bands are trials."),
        f"A point covers {number(series.bucket_s)} s. The strong line is the mean over this time and over the hosts "
        f"that served, the faint line the highest single reading of a host (over at least half a second).{zero}",
        f"{title}, over {number(series.seconds)} s. The table below names the saturated parts of each trial.",
        prefix=f"telemetry-{zlib.crc32(summary.name.encode()):x}-",
    )
    rows = []
    for trial in sorted(trials, key=lambda trial: trial.row.trial.order):
        order = trial.row.trial.order
        span = spans.get(order)
        edges = (f"{span.begin:.1f}", f"{span.end:.1f}") if span else (NOTHING, NOTHING)
        rows.append([f"{order}", summary.labels[trial.row.cell.name], *edges, trial.attribution.line])
    head = ("trial", "cell", "from, s", "to, s", "saturated")
    return (Fold(title="Telemetry", blocks=(chart, table("Trials", head, rows))),)
