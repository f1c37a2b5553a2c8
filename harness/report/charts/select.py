"""Which charts a scenario shows, and what they say: figures in, pictures out. Pure but for the drawing."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

from harness.checks.names import SPREAD
from harness.model import BACKEND_NAMES
from harness.report.charts import correctness, speed, theme
from harness.report.charts.theme import Spec
from harness.report.formatting import number, percent
from harness.report.page_model import Picture
from harness.report.sections.scaling import scaling_charts
from harness.report.summary import CellSummary, ScenarioSummary
from harness.report.trial_data import TrialData
from harness.text import plural

LEAST_SECONDS = 5
"""A shorter trial has no course to show."""
MOST_STEPS = 600
"""Of a course: more than there are pixels would only make the page larger."""

_TAGS = frozenset({"svg", "g", "path", "rect", "line", "text", "tspan", "defs", "clipPath", "title", "desc"})


class Forbidden(ValueError):
    """A drawing holds something that a drawing of ours never does."""


def pictures(summary: ScenarioSummary, readings: Sequence[TrialData], *, shared_cores: bool) -> list[Picture]:
    """The charts of a scenario. What has nothing to show is not drawn."""
    specs = [*SPECIAL[summary.name](summary, readings)] if summary.name in SPECIAL else []
    if summary.name == "scaling":
        specs += scaling_charts(summary, readings, shared_cores=shared_cores)
    specs += [
        *_strategies(summary),
        *_spread(summary, readings),
        *_curves(summary, readings),
        *_timeline(summary, readings),
    ]
    own = f"chart-{zlib.crc32(summary.name.encode()):x}"
    return [picture(*chart, own=f"{own}-{number}-") for number, chart in enumerate(specs, start=1)]


_Chart = tuple[Spec, str, str]
"""A specification, a caption, and the sentence that stands for the picture."""


def picture(spec: Spec, caption: str, alt: str, *, own: str) -> Picture:
    """A specification drawn as SVG that may stand in a page beside others: its ids begin with `own`."""
    svg = speed.svg(spec)
    strange = set(re.findall(r"<\s*/?\s*([^\s>/]+)", svg)) - _TAGS
    if strange or re.search(r"<[^>]*\s(?:on\w+|href|xlink:href|style)\s*=", svg):
        raise Forbidden(f"a chart holds {', '.join(sorted(strange)) or 'a link, a style or a handler'}")
    svg = re.sub(r'(<[^>]*\sid=")', rf"\1{own}", svg).replace("url(#", f"url(#{own}")
    return Picture(caption=caption, svg=_slim(svg), alt=alt)


def _slim(svg: str) -> str:
    """Without what nobody sees: words for screen readers inside a picture that has its own, hundredths of a px."""
    svg = re.sub(r' (?:aria-\w+|role|class|pointer-events)="[^"]*"', "", svg)
    svg = re.sub(r'<path d="(?:M0,0h0v0h0Z)?"[^>]*/>', "", svg)
    return re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), svg)


def _convergence(summary: ScenarioSummary, readings: Sequence[TrialData]) -> Iterator[_Chart]:
    """Key by key for the trial that lost most; if none did, for PostgreSQL's with fewest keys."""
    told = [r for r in readings if r.evidence is not None and r.acknowledged]
    if not told:
        return
    rows = {r.row.trial.order: list(_keys(r)) for r in told}
    lost = {r.row.trial.order: _lost(r) for r in told}
    shown = max(told, key=lambda r: (lost[r.row.trial.order], r.row.cell.backend == "postgres", -len(r.acknowledged)))
    order = shown.row.trial.order
    about = f"Trial {order}: {summary.labels.get(shown.row.cell.name) or summary.common}."
    title = (
        f"{lost[order]:,} acknowledged writes are not in the database"
        if lost[order]
        else "Every acknowledged write is in the database"
    )
    yield (
        correctness.convergence(rows[order], title=title, subtitle=about),
        "",
        f"{title}: {sum(shown.acknowledged.values()):,} acknowledged over {plural(len(rows[order]), 'key')}.",
    )


def _grown(reading: TrialData, key: str) -> int:
    evidence = reading.evidence
    return evidence.final.get(key, 0) - evidence.initial.get(key, 0) if evidence else 0


def _lost(reading: TrialData) -> int:
    return sum(max(0, ok - _grown(reading, key)) for key, ok in reading.acknowledged.items())


def _keys(reading: TrialData) -> Iterator[dict[str, str | int]]:
    final = reading.evidence.final if reading.evidence else {}
    for key in dict.fromkeys([*reading.acknowledged, *reading.unknown, *final]):
        yield {
            "key": key,
            "acknowledged": reading.acknowledged.get(key, 0),
            "unknown": reading.unknown.get(key, 0),
            "final": _grown(reading, key),
        }


ISOLATION_NOTE = (
    "Standard: what SQL-92 says, or where it is silent (*) how Berenson and Adya read it. Documented: what the "
    "database's manual promises. Observed: whether it occurred, or by which means it was prevented: by waiting (as "
    "long as the schedule held the lock), by an abort (with its code) or by showing an older snapshot. A fail is an "
    "anomaly that occurred although it is documented as prevented. RU, RC, RR, SER: READ UNCOMMITTED, READ COMMITTED, "
    "REPEATABLE READ, SERIALIZABLE."
)


def _isolation(_summary: ScenarioSummary, readings: Sequence[TrialData]) -> Iterator[_Chart]:
    for earlier, reading in enumerate(reading for reading in readings if reading.matrix):
        rows = reading.matrix
        broken = sum(1 for row in rows if row["verdict"] == "fail")
        name = BACKEND_NAMES.get(str(rows[0]["backend"]), "the database")
        what = plural(broken, "anomaly", "anomalies") if broken else "nothing"
        title = f"{name}: {what} occurred that is documented as prevented"
        yield correctness.isolation(rows, title=title), "" if earlier else ISOLATION_NOTE, title


def _backends(summary: ScenarioSummary, _readings: Sequence[TrialData]) -> Iterator[_Chart]:
    loads: dict[tuple[object, ...], list[CellSummary]] = {}
    for cell in summary.cells:
        c = cell.cell
        loads.setdefault((c.hosts, c.clients, c.rate, c.requests, str(sorted(c.params.items()))), []).append(cell)
    for cells in loads.values():
        if len({cell.cell.backend for cell in cells}) < 2:
            continue
        rows = [
            {"measure": measure, "unit": unit, "backend": BACKEND_NAMES[cell.cell.backend], "value": value}
            for measure, unit, figure in _MEASURES
            for cell in cells
            if (value := figure(cell)) is not None
        ]
        load = cells[0].cell
        words = [part for part in cells[0].label.split(", ") if part != BACKEND_NAMES[load.backend]]
        title = ", ".join(["The same load on each backend", *words])
        about = f"{plural(load.clients, 'client')} over {plural(load.hosts, 'app host')}; median of valid trials"
        yield (
            speed.backends(rows, title=title, subtitle=about),
            "",
            "The table of cells below holds the same figures.",
        )


def _median(name: str) -> Callable[[CellSummary], float | None]:
    return lambda cell: cell.medians.get(name)


def _acknowledged(cell: CellSummary) -> float | None:
    return 100 * cell.ok / cell.sent if cell.sent and cell.ok is not None else None


_MEASURES: Sequence[tuple[str, str, Callable[[CellSummary], float | None]]] = (
    ("acknowledged", "%", _acknowledged),
    ("throughput", "acknowledged requests/s", _median("rps")),
    ("mean latency, all answers", "ms", _median("mean_ms")),
    ("p99 latency", "ms", _median("p99_ms")),
)


def _pool_sweep(summary: ScenarioSummary, readings: Sequence[TrialData]) -> Iterator[_Chart]:
    rows = [
        {"pool": r.row.cell.pool, "seconds": seconds}
        for r in readings
        if r.row.valid and (seconds := r.row.figure("seconds")) is not None
    ]
    if rows:
        title = "Time for the same work by pool size"
        knee = next((f.numbers.get("knee") for f in summary.findings if f.check == "knee"), None)
        yield (
            speed.pool_sweep(rows, knee=knee if isinstance(knee, int) else None, title=title),
            "One point a trial, valid trials only.",
            f"{title}: see the table below.",
        )


def _strategies(summary: ScenarioSummary) -> Iterator[_Chart]:
    cells = [c for c in summary.cells if c.cell.backend == "postgres" and c.cell.strategy and "rps" in c.medians]
    names = list(dict.fromkeys(cell.cell.strategy for cell in cells))
    if len(names) < 2:
        return
    rows = [
        {
            "strategy": cell.cell.strategy,
            "keys": ", ".join(p for p in cell.label.split(", ") if p != cell.cell.strategy) or summary.common,
            "rps": cell.medians["rps"],
            "lost": cell.lost or 0,
        }
        for cell in cells
    ]
    title = f"Throughput of {plural(len(names), 'strategy', 'strategies')}"
    yield (
        speed.strategies(rows, title=title),
        "Median of valid trials.",
        f"{title}: see the table of strategies below.",
    )


def _spread(summary: ScenarioSummary, readings: Sequence[TrialData]) -> Iterator[_Chart]:
    """Which host served how much, over all trials on the most hosts, where an even spread is asked for."""
    if not any(finding.check == SPREAD for finding in summary.findings):
        return
    most = max((r.row.cell.hosts for r in readings if r.evidence and r.evidence.servers), default=0)
    served: Counter[str] = Counter()
    for reading in readings:
        if reading.evidence and reading.row.cell.hosts == most:
            served.update(reading.evidence.servers)
    shares = {host: requests for host, requests in sorted(served.items()) if requests}
    if most < 2 or not shares:
        return
    total = sum(shares.values())
    low, high = percent(min(shares.values()) / total), percent(max(shares.values()) / total)
    each = low if low == high else f"between {low} and {high}"
    title = f"{plural(len(shares), 'app host')} served {each} of the requests each"
    rows = [{"host": host, "requests": requests} for host, requests in shares.items()]
    yield (
        speed.spread(rows, title=title, subtitle="The dashed line is the even share."),
        "As HAProxy counted them.",
        f"{title}: " + ", ".join(f"{host} {requests:,}" for host, requests in shares.items()),
    )


def _curves(summary: ScenarioSummary, readings: Sequence[TrialData]) -> Iterator[_Chart]:
    """The percentile curve of each cell's first valid trial."""
    first: dict[str, TrialData] = {}
    for reading in readings:
        if reading.row.valid and reading.curves.get("latency"):
            first.setdefault(reading.row.cell.name, reading)
    if not first:
        return
    rows = [
        {"series": summary.labels.get(cell) or "all", "kind": kind, "percent": percent, "ms": ms}
        for cell, reading in first.items()
        for kind in (("latency", "service") if len(first) == 1 else ("latency",))
        for percent, ms in reading.curves.get(kind, ())
    ]
    worst = max(first.values(), key=lambda reading: reading.curves["latency"][-1][1])
    percent, ms = worst.curves["latency"][-1]
    title = f"Latency by percentile, up to {number(ms)} ms at p{percent:g}"
    yield (
        speed.percentile_curve(rows, title=title, subtitle="The first valid trial of each cell."),
        "Both axes are stretched: 90, 99 and 99.9 % are equally far apart, and so are 1, 10 and 100 ms.",
        f"{title}; p50, p95 and p99 of each cell are in the table below.",
    )


def _timeline(summary: ScenarioSummary, readings: Sequence[TrialData]) -> Iterator[_Chart]:
    """The course of the longest valid trial, where it is long enough to have one."""
    longest = max((r for r in readings if r.row.valid), key=lambda r: len(r.seconds), default=None)
    if longest is None or len(longest.seconds) < LEAST_SECONDS:
        return
    order = longest.row.trial.order
    title = f"Second by second: trial {order}"
    about = summary.labels.get(longest.row.cell.name) or summary.common
    each = math.ceil(len(longest.seconds) / MOST_STEPS)
    caption = f"A step is {each} s: mean rates, and of each percentile the highest second." if each > 1 else ""
    drawn = [_step(longest.seconds[n : n + each]) for n in range(0, len(longest.seconds), each)]
    yield speed.timeline(drawn, title=title, subtitle=about), caption, f"{title}, {about}."


def _step(seconds: Sequence[Mapping[str, str | float]]) -> Mapping[str, str | float]:
    """Some seconds as one: counts as their mean, times as their highest, so that no peak is lost."""
    if len(seconds) == 1:
        return seconds[0]
    step: dict[str, str | float] = {"second": seconds[0]["second"]}
    for name in ("ok", "fail", "unknown", "p50_ms", "p95_ms", "p99_ms"):
        known = [value for one in seconds if (value := theme.number(one.get(name))) is not None]
        if known:
            step[name] = max(known) if name.endswith("_ms") else fmean(known)
    return step


SPECIAL: Mapping[str, Callable[[ScenarioSummary, Sequence[TrialData]], Iterator[_Chart]]] = {
    "concurrent-writes": _convergence,
    "isolation": _isolation,
    "pool-sweep": _pool_sweep,
    "sqlite-vs-postgres": _backends,
}
