"""What hosts and database did while a scenario ran: readings of telemetry in, points of small multiples out. Pure.

A bucket keeps the mean of all its readings and the highest one, so thinning never drops a peak. App hosts that were
drained during a trial do not count in it. A curve that never left zero is named, not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.telemetry_totals import Metrics, TelemetryReading, TelemetryTotals
from harness.model import Role

MOST_BUCKETS = 120
"""Points of a curve at most: one every four pixels."""
SHORTEST_S = 0.5
"""What is counted over less time gives no rate: the database reports in lumps, CPU is granted in periods."""
LEAST_S = 2.0
"""Telemetry reads once in 1 to 1.5 seconds, so no shorter bucket is sure to hold a reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line of a panel: what it reads off a moment (None: not said there), how long that covers, on which hosts."""

    panel: str
    name: str
    value: Callable[[Metrics], float | None]
    covers: str = "host_seconds"
    """The metric that says how many seconds the reading covers; empty for what was seen at one instant."""
    role: Role | None = None
    silent: str = ""
    """What to call it where it never left zero; empty: its name."""


def _of(*names: str, scale: float = 1.0) -> Callable[[Metrics], float | None]:
    """The first of these metrics that is there."""
    return lambda metrics: next((metrics[name] * scale for name in names if name in metrics), None)


def _cpu(metrics: Metrics) -> float | None:
    used, cap = metrics.get("cpu_used_cores"), metrics.get("cpu_cap_cores")
    return None if used is None or not cap else 100 * used / cap


def _waiting(metrics: Metrics) -> float | None:
    """Requests that wait for a connection in one worker."""
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
            silent=f"pressure for {what}",
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
        panel=SESSIONS, name="for a lock", silent="sessions that wait for a lock", value=_of("pg_wait_lock"), covers=""
    ),
    Curve(panel=SESSIONS, name="for I/O", silent="sessions that wait for I/O", value=_of("pg_wait_io"), covers=""),
    Curve(
        panel=REQUESTS,
        name="in the app, for a connection",
        silent="requests that wait for a connection",
        value=_waiting,
        covers="",
    ),
    Curve(
        panel=REQUESTS,
        name="in HAProxy",
        silent="requests that wait in HAProxy",
        value=_of("haproxy_queued"),
        covers="",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySeries:
    """What a chart shows: `points` with `panel`, `name`, `second` (middle of the bucket), `mean` and `peak` (None where
    nothing was said), `trials` with `order`, `begin` and `end`; `bucket_s`: seconds a point; `silent`: curves at zero.
    """

    points: Sequence[Mapping[str, Any]]
    trials: Sequence[Mapping[str, float]]
    bucket_s: float
    silent: Sequence[str]

    @property
    def seconds(self) -> float:
        """From the begin of the first trial to the end of the last."""
        return max(band["end"] for band in self.trials) - min(band["begin"] for band in self.trials)


Span = tuple[float, float]


def spans_of(heard: Mapping[int, Mapping[str, TelemetryTotals]], orders: Iterable[int]) -> dict[int, Span]:
    """Trial -> from when to when there is telemetry of it, of these trials; none of those without."""
    spans = {}
    for order in orders:
        said = [host for host in heard.get(order, {}).values() if not host.silent]
        if said:
            spans[order] = min(host.begin for host in said), max(host.end for host in said)
    return spans


class SeriesBuilder:
    """A course in the making, from the first of `spans` to the last: takes what was said as it is read and keeps
    buckets. `roles`: host -> role in the rig's order; `serving`: trial -> app hosts.
    """

    def __init__(self, spans: Mapping[int, Span], roles: Mapping[str, str], serving: Mapping[int, int]) -> None:
        self._spans, self._roles, self._serving = spans, roles, serving
        self._begin, self._end = min(b for b, _ in spans.values()), max(e for _, e in spans.values())
        self._bucket_s = max(LEAST_S, (self._end - self._begin) / MOST_BUCKETS)
        self._apps = {name: place for place, name in enumerate(n for n, role in roles.items() if role == "app")}
        self._lines = [_Line(curve, self._begin, self._bucket_s) for curve in CURVES]

    def add(self, one: TelemetryReading) -> None:
        """What a host said next, in the order of time."""
        serves = self._apps.get(one.host, -1) < self._serving.get(one.order, len(self._apps))
        if one.host in self._roles and self._begin <= one.second <= self._end and serves:
            for line in self._lines:
                if line.curve.role in (None, self._roles[one.host]):
                    line.add(one)

    def course(self) -> TelemetrySeries:
        """What was drawn; nothing can be added afterwards."""
        points: list[dict[str, Any]] = []
        silent = []
        for line in self._lines:
            curve = line.curve
            drawn = [
                {
                    "panel": curve.panel,
                    "name": curve.name,
                    "second": round(self._begin + (bucket + 0.5) * self._bucket_s, 1),
                    **figures,
                }
                for bucket, figures in line.points()
            ]
            if any(point["peak"] for point in drawn):
                points += drawn
            elif drawn:
                silent.append(curve.silent or curve.name)
        trials = [{"order": order, "begin": b, "end": e} for order, (b, e) in sorted(self._spans.items())]
        return TelemetrySeries(points=points, trials=trials, bucket_s=self._bucket_s, silent=silent)


class _Line:
    """A curve in the making. Readings that are too short for a rate (a trial began or ended) are joined with their
    neighbours on the host, so the last one of each host waits for the next."""

    def __init__(self, curve: Curve, begin: float, bucket_s: float) -> None:
        self.curve, self._begin, self._bucket_s = curve, begin, bucket_s
        self._last: dict[str, _Reading] = {}
        self._buckets: dict[int, _Bucket] = {}

    def add(self, one: TelemetryReading) -> None:
        value, covers = self.curve.value(one.metrics), one.metrics.get(self.curve.covers, 0.0)
        if value is None or (self.curve.covers and covers <= 0):
            return
        reading = _Reading(value=value, covers=covers, end=one.second)
        last = self._last.get(one.host)
        if not self.curve.covers:
            self._keep(reading)
        elif last and min(last.covers, reading.covers) < SHORTEST_S:
            self._last[one.host] = last.and_then(reading)
        else:
            self._last[one.host] = reading
            if last:
                self._keep(last)

    def _keep(self, reading: _Reading) -> None:
        bucket = int((reading.end - reading.covers / 2 - self._begin) / self._bucket_s)
        self._buckets.setdefault(max(0, bucket), _Bucket()).add(reading)

    def points(self) -> Iterator[tuple[int, dict[str, float | None]]]:
        """Bucket by bucket `mean` and `peak`; None in an empty one between filled ones, which breaks the line."""
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
    """Readings added up, each weighing as long as it lasted."""

    total: float = 0.0
    weight: float = 0.0
    peak: float = -math.inf

    def add(self, reading: _Reading) -> None:
        weight = reading.covers or 1.0
        self.total += reading.value * weight
        self.weight += weight
        self.peak = max(self.peak, reading.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """A value up to second `end`, over the `covers` seconds before it."""

    value: float
    covers: float
    end: float

    def and_then(self, later: _Reading) -> _Reading:
        """Both as one."""
        covers = self.covers + later.covers
        value = (self.value * self.covers + later.value * later.covers) / covers
        return _Reading(value=value, covers=covers, end=later.end)
