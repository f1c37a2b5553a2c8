"""What hosts and database did while a scenario ran: readings of telemetry in, points of small multiples out. Pure.

A bucket keeps the mean of all its readings and the highest one, so thinning never drops a peak. App hosts that were
drained during a trial do not count in it. A curve that never left zero is named, not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.attribution import Metrics, Moment
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
class Course:
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


def course(moments: Sequence[Moment], roles: Mapping[str, str], serving: Mapping[int, int]) -> Course | None:
    """From the first trial to the last. `roles`: host -> role in the rig's order; `serving`: trial -> app hosts.

    None where there is no telemetry of these trials.
    """
    spans: dict[int, tuple[float, float]] = {}
    for one in moments:
        if one.order in serving and "host_seconds" in one.metrics:
            begin, end = spans.get(one.order, (one.second, one.second))
            spans[one.order] = min(begin, one.second - one.metrics["host_seconds"]), max(end, one.second)
    if not spans:
        return None
    begin, end = min(b for b, _ in spans.values()), max(e for _, e in spans.values())
    bucket_s = max(LEAST_S, (end - begin) / MOST_BUCKETS)
    apps = {name: place for place, name in enumerate(name for name, role in roles.items() if role == "app")}
    inside = [
        one
        for one in moments
        if begin <= one.second <= end and apps.get(one.host, -1) < serving.get(one.order, len(apps))
    ]
    points: list[dict[str, Any]] = []
    silent = []
    for curve in CURVES:
        mine = [one for one in inside if curve.role in (None, roles.get(one.host))]
        drawn = [
            {"panel": curve.panel, "name": curve.name, "second": round(begin + (bucket + 0.5) * bucket_s, 1), **figures}
            for bucket, figures in _thin(curve, mine, begin, bucket_s)
        ]
        if any(point["peak"] for point in drawn):
            points += drawn
        elif drawn:
            silent.append(curve.silent or curve.name)
    trials = [{"order": order, "begin": b, "end": e} for order, (b, e) in sorted(spans.items())]
    return Course(points=points, trials=trials, bucket_s=bucket_s, silent=silent)


def _thin(
    curve: Curve, moments: Iterable[Moment], begin: float, bucket_s: float
) -> Iterator[tuple[int, dict[str, float | None]]]:
    """Bucket by bucket `mean` and `peak`; None in an empty one between filled ones, which breaks the line."""
    of_host: dict[str, list[_Reading]] = {}
    for one in moments:
        value, covers = curve.value(one.metrics), one.metrics.get(curve.covers, 0.0)
        if value is not None and (covers > 0 or not curve.covers):
            of_host.setdefault(one.host, []).append(_Reading(value=value, covers=covers, end=one.second))
    buckets: dict[int, list[_Reading]] = {}
    for readings in of_host.values():
        for reading in _joined(readings) if curve.covers else readings:
            bucket = int((reading.end - reading.covers / 2 - begin) / bucket_s)
            buckets.setdefault(max(0, bucket), []).append(reading)
    for bucket in range(min(buckets), max(buckets) + 1) if buckets else ():
        if seen := buckets.get(bucket):
            weights = [reading.covers or 1.0 for reading in seen]
            mean = sum(r.value * w for r, w in zip(seen, weights, strict=True)) / sum(weights)
            yield bucket, {"mean": round(mean, 3), "peak": round(max(reading.value for reading in seen), 3)}
        else:
            yield bucket, {"mean": None, "peak": None}


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


def _joined(readings: Iterable[_Reading]) -> list[_Reading]:
    """Readings that are too short for a rate (a trial began or ended) joined with their neighbours on the host."""
    joined: list[_Reading] = []
    for reading in readings:
        short = joined and min(joined[-1].covers, reading.covers) < SHORTEST_S
        joined.append(joined.pop().and_then(reading) if short else reading)
    return joined
