"""What hosts and database said while trials ran, out of telemetry.csv, added up as it is read. Pure.

A day of telemetry has millions of rows, so nothing here keeps them: what a trial's judgement needs is sums.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from math import inf, isfinite
from operator import itemgetter

MAX_METRICS = 1000
"""Of one host at one instant; a run of ours has about thirty."""

Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryReading:
    """What one host said at one instant: `second` since the run began, `order` of the trial (0: between trials)."""

    second: float
    order: int
    host: str
    metrics: Metrics


def readings(rows: Iterable[Mapping[str, str]]) -> Iterator[TelemetryReading]:
    """Rows of telemetry.csv by instant and host, one by one: the rows of one reading stand together in the file.

    Raises ValueError, KeyError or TypeError for what is no such row.
    """
    for (second, order, host), reading in groupby(rows, key=itemgetter("second", "order", "host")):
        metrics: dict[str, float] = {}
        for row in reading:
            metrics[row["metric"]] = float(row["value"])
            if len(metrics) > MAX_METRICS:
                raise ValueError(f"more than {MAX_METRICS:,} metrics of one host at one instant")
        if not all(map(isfinite, (float(second), *metrics.values()))):
            raise ValueError("a reading is no number")
        yield TelemetryReading(second=float(second), order=int(order or 0), host=host, metrics=metrics)


@dataclass(slots=True)
class Occurrences:
    """What was seen by looking now and then, added up: how often one looked, how often something was there."""

    number: int = 0
    some: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        """One more look."""
        self.number += 1
        self.some += value > 0
        self.total += value


_CPU = ("cpu_used_cores", "cpu_cap_cores", "machine_cpu_share")
_WAITS = ("pg_wait_lock", "pg_wait_io")


@dataclass(slots=True)
class TelemetryTotals:
    """What one host said while one trial ran, added up as it is read: as small after a day as after a second.

    `begin`, `end`, `seconds`: what its readings cover. `cpu`: metric -> its integral over `cpu_seconds`; `limited`:
    whether each reading told of a quota. `pools`: by the name of the metric; `waits`: metric -> looks at the sessions
    that waited, and at those that were active then.
    """

    begin: float = inf
    end: float = -inf
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*_CPU, "cpu_throttled_share"), 0.0))
    limited: bool = True
    pools: dict[str, Occurrences] = field(default_factory=dict)
    waits: dict[str, tuple[Occurrences, Occurrences]] = field(default_factory=dict)

    def add(self, moment: TelemetryReading) -> None:
        """One more reading."""
        metrics = moment.metrics
        if (seconds := metrics.get("host_seconds")) is not None:
            self.begin, self.end = min(self.begin, moment.second - seconds), max(self.end, moment.second)
            self.seconds += seconds
            if seconds > 0 and metrics.get("cpu_cap_cores", 0.0) > 0 and all(name in metrics for name in _CPU):
                self.cpu_seconds += seconds
                self.limited = self.limited and "cpu_throttled_share" in metrics
                for name in self.cpu:
                    self.cpu[name] += metrics.get(name, 0.0) * seconds
        for name, value in metrics.items():
            if name.startswith("pool_waiting") and (name in self.pools or len(self.pools) < MAX_METRICS):
                self.pools.setdefault(name, Occurrences()).add(value)
        for name in _WAITS:
            if name in metrics and "pg_active" in metrics:
                waiting, active = self.waits.setdefault(name, (Occurrences(), Occurrences()))
                waiting.add(metrics[name])
                active.add(metrics["pg_active"])

    @property
    def silent(self) -> bool:
        """Whether it never said how it was."""
        return self.end == -inf


def aggregate(
    said: Iterable[TelemetryReading], hosts: Container[str], orders: Container[int]
) -> dict[int, dict[str, TelemetryTotals]]:
    """Trial -> host -> what it said, of these hosts and trials; whatever else is said is passed over."""
    heard: dict[int, dict[str, TelemetryTotals]] = {}
    for moment in said:
        if moment.order in orders and moment.host in hosts:
            heard.setdefault(moment.order, {}).setdefault(moment.host, TelemetryTotals()).add(moment)
    return heard
