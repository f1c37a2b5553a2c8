"""Telemetry of hosts and database while a scenario ran: readings in, points of small multiples out. Pure.

A bucket keeps the mean and the highest of its readings, so thinning never drops a peak. App hosts that were drained
during a trial do not count in it. A curve that is zero all the time is named instead of drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.telemetry_totals import Metrics, TelemetryReading, TelemetryTotals
from harness.model import Role
from harness.report.charts.theme import Row

MOST_BUCKETS = 120
"""Most points of a curve: one every four pixels."""
SHORTEST_S = 0.5
"""A count over less time gives no rate: the database reports in batches, CPU time is granted in periods."""
LEAST_S = 2.0
"""Telemetry is read every 1 to 1.5 seconds, so a shorter bucket may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line of a panel: its value in a reading (None: not in this one), the time that covers, and its hosts."""

    panel: str
    name: str
    value: Callable[[Metrics], float | None]
    covers: str = "host_seconds"
    """The metric with the seconds that the reading covers; empty for a value at one instant."""
    role: Role | None = None
    zero_name: str = ""
    """Its name in the list of curves that are zero all the time; empty: `name`."""


def _of(*names: str, scale: float = 1.0) -> Callable[[Metrics], float | None]:
    """Returns the first of these metrics that the reading has."""
    return lambda metrics: next((metrics[name] * scale for name in names if name in metrics), None)


def _cpu(metrics: Metrics) -> float | None:
    used, cap = metrics.get("cpu_used_cores"), metrics.get("cpu_cap_cores")
    return None if used is None or not cap else 100 * used / cap


def _waiting(metrics: Metrics) -> float | None:
    """Returns the requests that wait for a connection in one worker."""
    return next((value for name, value in metrics.items() if name.startswith("pool_waiting")), None)


HOSTS: Mapping[Role, str] = {"load": "load", "lb": "HAProxy", "app": "app", "db": "database"}
CPU, PRESSURE, MEMORY = (
    "CPU used, % of the host's cap",
    "pressure: some task waited, % of the time",
    "memory, MiB a host",
)
COMMITS, EVENTS, WAL = "database: commits/s", "database: events/s", "database: WAL written, bytes/s"
SESSIONS, REQUESTS = "database: sessions that wait", "requests that wait, a host"

CURVES: tuple[Curve, ...] = (
    *(Curve(panel=CPU, name=name, value=_cpu, role=role) for role, name in HOSTS.items()),
    Curve(panel=CPU, name="whole machine", value=_of("machine_cpu_share", scale=100)),
    *(
        Curve(
            panel=PRESSURE,
            name=f"for {what}",
            zero_name=f"pressure for {what}",
            value=_of(f"psi_{kind}_some", f"machine_psi_{kind}_some", scale=100),
        )
        for kind, what in (("cpu", "CPU"), ("io", "I/O"), ("memory", "memory"))
    ),
    *(
        Curve(panel=MEMORY, name=name, value=_of("memory_used_bytes", scale=2**-20), role=role)
        for role, name in HOSTS.items()
    ),
    Curve(panel=COMMITS, name="commits", value=_of("pg_commits"), covers="pg_seconds"),
    Curve(panel=EVENTS, name="rollbacks", value=_of("pg_rollbacks"), covers="pg_seconds"),
    Curve(panel=EVENTS, name="deadlocks", value=_of("pg_deadlocks"), covers="pg_seconds"),
    Curve(panel=EVENTS, name="checkpoints", value=_of("pg_checkpoints"), covers="pg_seconds"),
    Curve(panel=WAL, name="WAL", value=_of("pg_wal_bytes"), covers="pg_seconds"),
    Curve(
        panel=SESSIONS,
        name="for a lock",
        zero_name="sessions that wait for a lock",
        value=_of("pg_wait_lock"),
        covers="",
    ),
    Curve(panel=SESSIONS, name="for I/O", zero_name="sessions that wait for I/O", value=_of("pg_wait_io"), covers=""),
    Curve(
        panel=REQUESTS,
        name="in the app, for a connection",
        zero_name="requests that wait for a connection",
        value=_waiting,
        covers="",
    ),
    Curve(
        panel=REQUESTS,
        name="in HAProxy",
        zero_name="requests that wait in HAProxy",
        value=_of("haproxy_queued"),
        covers="",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpan:
    """The time of a trial for which there is telemetry, in seconds since the run began."""

    order: int
    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySeries:
    """The content of a chart: `points` have `panel`, `name`, `second` (middle of the bucket), `mean`, `peak`.

    Mean and peak are None in a bucket without readings. `bucket_s`: seconds per point; `zero`: names of the curves
    that are zero all the time.
    """

    points: Sequence[Row]
    trials: Sequence[TrialSpan]
    bucket_s: float
    zero: Sequence[str]

    @property
    def bands(self) -> Sequence[Row]:
        """The trials as rows of a chart: `order`, `begin`, `end`."""
        return [{"order": span.order, "begin": span.begin, "end": span.end} for span in self.trials]

    @property
    def seconds(self) -> float:
        """The time from the begin of the first trial to the end of the last."""
        return max(span.end for span in self.trials) - min(span.begin for span in self.trials)


def spans_of(telemetry: Mapping[int, Mapping[str, TelemetryTotals]], orders: Iterable[int]) -> list[TrialSpan]:
    """Returns the spans of these trials in their order, without trials that have no telemetry."""
    spans = []
    for order in sorted(orders):
        hosts = [host for host in telemetry.get(order, {}).values() if not host.silent]
        if hosts:
            begin, end = min(host.begin for host in hosts), max(host.end for host in hosts)
            spans.append(TrialSpan(order=order, begin=begin, end=end))
    return spans


CurveValue = tuple[int, float, float]
"""Position in CURVES, value, and the seconds that it covers (0: an instant)."""


def curve_values(one: TelemetryReading, roles: Mapping[str, str]) -> list[CurveValue]:
    """Returns what a reading adds to curves: the same for all builders of a run; nothing of other hosts."""
    role, metrics = roles.get(one.host), one.metrics
    if role is None:
        return []
    values: list[CurveValue] = []
    for position, curve in enumerate(CURVES):
        if curve.role is None or curve.role == role:
            value, covers = curve.value(metrics), metrics.get(curve.covers, 0.0)
            if value is not None and (covers > 0 or not curve.covers):
                values.append((position, value, covers))
    return values


class SeriesBuilder:
    """Builds a TelemetrySeries over `spans` from one reading at a time; it keeps buckets, not readings.

    `roles`: host -> role in the rig's order; `serving`: trial -> number of app hosts.
    """

    def __init__(self, spans: Sequence[TrialSpan], roles: Mapping[str, str], serving: Mapping[int, int]) -> None:
        self._spans, self._roles, self._serving = spans, roles, serving
        self._begin, self._end = min(span.begin for span in spans), max(span.end for span in spans)
        self._bucket_s = max(LEAST_S, (self._end - self._begin) / MOST_BUCKETS)
        self._apps = {name: position for position, name in enumerate(n for n, role in roles.items() if role == "app")}
        self._lines = [_Line(curve, self._begin, self._bucket_s) for curve in CURVES]

    def add(self, one: TelemetryReading, values: Sequence[CurveValue] | None = None) -> None:
        """Adds the next reading; readings come in the order of time. `values`: its `curve_values`, if known."""
        serves = self._apps.get(one.host, -1) < self._serving.get(one.order, len(self._apps))
        if self._begin <= one.second <= self._end and serves:
            for position, value, covers in curve_values(one, self._roles) if values is None else values:
                self._lines[position].add(one.host, _IntervalValue(value=value, covers=covers, end=one.second))

    def series(self) -> TelemetrySeries:
        """Returns the series; no reading can be added afterwards."""
        points: list[Row] = []
        zero = []
        for line in self._lines:
            curve = line.curve
            of_curve = [
                {
                    "panel": curve.panel,
                    "name": curve.name,
                    "second": round(self._begin + (bucket + 0.5) * self._bucket_s, 1),
                    **figures,
                }
                for bucket, figures in line.points()
            ]
            if any(point["peak"] for point in of_curve):
                points += of_curve
            elif of_curve:
                zero.append(curve.zero_name or curve.name)
        return TelemetrySeries(points=points, trials=self._spans, bucket_s=self._bucket_s, zero=zero)


class _Line:
    """Builds one curve.

    A reading that is too short for a rate (a trial began or ended) is joined with its neighbour on the host, so the
    last reading of each host is kept back until the next one.
    """

    def __init__(self, curve: Curve, begin: float, bucket_s: float) -> None:
        self.curve, self._begin, self._bucket_s = curve, begin, bucket_s
        self._last: dict[str, _IntervalValue] = {}
        self._buckets: dict[int, _Bucket] = {}

    def add(self, host: str, reading: _IntervalValue) -> None:
        last = self._last.get(host)
        if not self.curve.covers:
            self._keep(reading)
        elif last and min(last.covers, reading.covers) < SHORTEST_S:
            self._last[host] = last.joined(reading)
        else:
            self._last[host] = reading
            if last:
                self._keep(last)

    def _keep(self, reading: _IntervalValue) -> None:
        bucket = int((reading.end - reading.covers / 2 - self._begin) / self._bucket_s)
        self._buckets.setdefault(max(0, bucket), _Bucket()).add(reading)

    def points(self) -> Iterator[tuple[int, dict[str, float | None]]]:
        """Returns `mean` and `peak` by bucket. In an empty bucket between others they are None: the line breaks."""
        for reading in self._last.values():
            self._keep(reading)
        buckets = self._buckets
        for number in range(min(buckets), max(buckets) + 1) if buckets else ():
            if bucket := buckets.get(number):
                mean = bucket.total / bucket.weight
                yield number, {"mean": round(mean, 3), "peak": round(bucket.peak, 3)}
            else:
                yield number, {"mean": None, "peak": None}


@dataclass(slots=True)
class _Bucket:
    """The sum of its readings, each weighted by the time it covers."""

    total: float = 0.0
    weight: float = 0.0
    peak: float = -math.inf

    def add(self, reading: _IntervalValue) -> None:
        weight = reading.covers or 1.0
        self.total += reading.value * weight
        self.weight += weight
        self.peak = max(self.peak, reading.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _IntervalValue:
    """A value over the `covers` seconds before second `end`."""

    value: float
    covers: float
    end: float

    def joined(self, later: _IntervalValue) -> _IntervalValue:
        """Returns both readings as one."""
        covers = self.covers + later.covers
        value = (self.value * self.covers + later.value * later.covers) / covers
        return _IntervalValue(value=value, covers=covers, end=later.end)
