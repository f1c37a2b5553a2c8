"""The charts of a scenario and their titles: figures in, specifications out. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from harness.checks import names
from harness.checks.required_evidence import COUNTERS
from harness.model import BACKEND_NAMES
from harness.report.charts import correctness, over_time, speed, theme
from harness.report.charts.drawing import Chart
from harness.report.charts.lead import where_waited
from harness.report.formatting import number, percent, whole_percent
from harness.report.section_input import SectionInput
from harness.report.trial_data import Second, TrialData
from harness.scenarios.pool_sweep import KNEE
from harness.text import plural

LEAST_SECONDS = 5
"""A shorter trial has no timeline."""
MOST_STEPS = 600
"""Steps of a timeline: more than there are pixels would only make the page larger."""


def charts(source: SectionInput) -> Iterator[Chart]:
    """Returns the charts that every scenario can have; one without data is left out."""
    yield from where_waited(source)
    yield from _spread(source)
    yield from _curves(source)
    yield from _timeline(source)


def convergence(source: SectionInput) -> Iterator[Chart]:
    """Returns the keys of the trial that lost most; if none lost any, of PostgreSQL's trial with the fewest keys."""
    trials = [
        trial
        for trial in source.trials
        if trial.evidence is not None and COUNTERS not in trial.evidence.unread and trial.acknowledged
    ]
    if not trials:
        return
    trial = max(trials, key=lambda t: (_lost(t), t.row.cell.backend == "postgres", -len(t.acknowledged)))
    rows, lost = list(_keys(trial)), _lost(trial)
    subtitle = f"Trial {trial.row.trial.order}: {source.summary.labels[trial.row.cell.name]}."
    title = (
        f"{lost:,} acknowledged writes are not in the database"
        if lost
        else "Every acknowledged write is in the database"
    )
    if not lost and trial.evidence is not None and trial.evidence.missing_hosts:
        title = "No loss is seen, but samples of a load host are missing"
    total = f"{sum(trial.acknowledged.values()):,} acknowledged over {plural(len(rows), 'key')}"
    yield Chart(
        name="final-values",
        spec=correctness.convergence(rows, title=title, subtitle=subtitle),
        alt=f"{title}: {total}.",
    )


def _change(trial: TrialData, key: str) -> int:
    evidence = trial.evidence
    return evidence.final.get(key, 0) - evidence.initial.get(key, 0) if evidence else 0


def _lost(trial: TrialData) -> int:
    return sum(max(0, ok - _change(trial, key)) for key, ok in trial.acknowledged.items())


def _keys(trial: TrialData) -> Iterator[theme.Row]:
    final = trial.evidence.final if trial.evidence else {}
    for key in dict.fromkeys([*trial.acknowledged, *trial.unknown, *final]):
        yield {
            "key": key,
            "acknowledged": trial.acknowledged.get(key, 0),
            "unknown": trial.unknown.get(key, 0),
            "final": _change(trial, key),
        }


ISOLATION_NOTE = (
    "RU, RC, RR, SER: the isolation levels, READ UNCOMMITTED to SERIALIZABLE. may, no: whether SQL-92 or the manual "
    "allows the anomaly (*: SQL-92 is silent; according to Berenson and Adya). Prevented by waiting, by an abort (its "
    "error code) or by a snapshot (older: an older version was read)."
)


def isolation(source: SectionInput) -> Iterator[Chart]:
    """Returns the matrix of anomalies for each trial that ran isolation cases."""
    for earlier, rows in enumerate(trial.matrix for trial in source.trials if trial.matrix):
        broken = sum(1 for row in rows if row["verdict"] == "fail")
        name = BACKEND_NAMES.get(rows[0]["backend"], "the database")
        count = plural(broken, "anomaly", "anomalies") if broken else "no anomaly"
        title = f"{name}: {count} occurred that is documented as prevented"
        yield Chart(
            name="anomalies",
            spec=correctness.isolation(rows, title=title),
            caption="" if earlier else ISOLATION_NOTE,
            alt=title,
        )


def pool_sweep(source: SectionInput) -> Iterator[Chart]:
    """Returns the time by pool size, with the knee where one was found."""
    rows = [
        {"pool": trial.row.cell.pool, "seconds": seconds}
        for trial in source.trials
        if trial.row.valid and (seconds := trial.row.figure("seconds")) is not None
    ]
    if rows:
        knee = next((f.numbers.get("knee") for f in source.summary.findings if f.check == names.KNEE), None)
        title = f"No knee up to {max(int(row['pool']) for row in rows)} connections"
        if knee:
            least = whole_percent(KNEE)
            title = f"Knee at {knee} connections: the first step that gains less than {least} of what its size allows"
        yield Chart(
            name="pool-sizes",
            spec=speed.pool_sweep(rows, knee=knee if isinstance(knee, int) else None, title=title),
            caption="One point per trial, valid trials only.",
            alt=f"{title}: see the table below.",
        )


def _spread(source: SectionInput) -> Iterator[Chart]:
    """Returns the requests by host, over all trials on the most hosts, if a check is about an even spread."""
    if not any(finding.check == names.SPREAD for finding in source.summary.findings):
        return
    most = max((t.row.cell.hosts for t in source.trials if t.evidence and t.evidence.servers), default=0)
    served: Counter[str] = Counter()
    for trial in source.trials:
        if trial.evidence and trial.row.cell.hosts == most:
            served.update(trial.evidence.servers)
    shares = {host: requests for host, requests in sorted(served.items()) if requests}
    if most < 2 or not shares:
        return
    total = sum(shares.values())
    low, high = percent(min(shares.values()) / total), percent(max(shares.values()) / total)
    each = low if low == high else f"between {low} and {high}"
    title = f"Each of {plural(len(shares), 'app host')} served {each} of the requests"
    rows = [{"host": host, "requests": requests} for host, requests in shares.items()]
    yield Chart(
        name="spread-over-hosts",
        spec=speed.spread(rows, title=title, subtitle="The dashed line is the even share."),
        caption="Counted by HAProxy.",
        alt=f"{title}: " + ", ".join(f"{host} {requests:,}" for host, requests in shares.items()),
    )


def _curves(source: SectionInput) -> Iterator[Chart]:
    """Returns the percentile curves: one per cell, of its first valid trial."""
    first: dict[str, TrialData] = {}
    for trial in source.trials:
        if trial.row.times_valid and trial.curves.get("latency"):
            first.setdefault(trial.row.cell.name, trial)
    if not first:
        return
    rows = [
        {"series": source.summary.labels[cell], "kind": kind, "percent": percent, "ms": ms}
        for cell, trial in first.items()
        for kind in (("latency", "service") if len(first) == 1 else ("latency",))
        for percent, ms in trial.curves.get(kind, ())
    ]
    slowest = max(first.values(), key=lambda trial: trial.curves["latency"][-1][1])
    percent, ms = slowest.curves["latency"][-1]
    title = f"Latency by percentile, up to {number(ms)} ms at p{percent:g}"
    closed = any(trial.row.cell.omits_stalls for trial in first.values())
    yield Chart(
        name="latency-by-percentile",
        spec=speed.percentile_curve(rows, title=title, subtitle="The first trial of each cell whose times hold."),
        caption="Both axes are logarithmic: 90, 99 and 99.9 % are equally far apart, and so are 1, 10 and 100 ms."
        + (" Closed loops omit the stalls that their clients wait through." if closed else ""),
        alt=f"{title}; p50, p95 and p99 of each cell are in the table below.",
    )


def _timeline(source: SectionInput) -> Iterator[Chart]:
    """Returns the course of the longest valid trial, if it is long enough, with telemetry on the same axis."""
    longest = max((t for t in source.trials if t.row.times_valid), key=lambda t: len(t.seconds), default=None)
    if longest is None or len(longest.seconds) < LEAST_SECONDS:
        return
    each = math.ceil(len(longest.seconds) / MOST_STEPS)
    steps = [_step(longest.seconds[n : n + each]) for n in range(0, len(longest.seconds), each)]
    errors = sum(longest.errors.values())
    refused = f"{errors:,} requests not acknowledged" if errors else "every request acknowledged"
    title = f"Trial {longest.row.trial.order} over time, {refused}"
    subtitle = source.summary.labels[longest.row.cell.name]
    below = _telemetry_of(source, longest)
    caption = f"A step is {each} s: mean rates, and the highest second of each percentile. " if each > 1 else ""
    if below:
        caption += "Hosts and database are read every 1 to 2 s, so their curves may be off by as much."
    yield Chart(
        name="over-time",
        spec=over_time.over_time(steps, below, title=title, subtitle=subtitle),
        caption=caption.strip(),
        alt=f"{title}, {subtitle}.",
    )


def _telemetry_of(source: SectionInput, trial: TrialData) -> list[theme.Row]:
    """Returns the points of the telemetry while a trial ran; seconds since it began."""
    series = source.series
    span = next((one for one in series.trials if one.order == trial.row.trial.order), None) if series else None
    if series is None or span is None:
        return []
    return [
        {**point, "second": second - span.begin}
        for point in series.points
        if (second := theme.number(point.get("second"))) is not None and span.begin <= second <= span.end
    ]


def _step(seconds: Sequence[Second]) -> Second:
    """Joins seconds: the mean of each count, and the highest of each time, so that no peak is lost."""
    if len(seconds) == 1:
        return seconds[0]
    step: dict[str, str | float] = {"second": seconds[0]["second"]}
    for name in ("ok", "fail", "unknown", "p50_ms", "p95_ms", "p99_ms"):
        values = [value for one in seconds if (value := theme.number(one.get(name))) is not None]
        if values:
            step[name] = max(values) if name.endswith("_ms") else fmean(values)
    return step
