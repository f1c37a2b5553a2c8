"""Aggregates telemetry.csv into totals per trial and host, in one streaming pass. Pure.

A day of telemetry has millions of rows, so none are kept: the analysis of a trial needs sums only.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from math import inf, isfinite
from operator import itemgetter

MAX_METRICS = 1000
"""Limit for one host at one instant; a run has about thirty."""

Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryReading:
    """The metrics of one host at one instant: `second` of the run, `order` of the trial (0: between trials)."""

    second: float
    order: int
    host: str
    metrics: Metrics


def readings(rows: Iterable[Mapping[str, str]]) -> Iterator[TelemetryReading]:
    """Groups the rows of telemetry.csv by instant and host; the rows of one reading are adjacent in the file.

    Raises ValueError, KeyError or TypeError for a damaged row.
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
    """Totals of a sampled quantity: the number of readings, how many were above 0, and their sum."""

    number: int = 0
    some: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        """Adds one reading."""
        self.number += 1
        self.some += value > 0
        self.total += value


_CPU = ("cpu_used_cores", "cpu_cap_cores", "machine_cpu_share")
_MACHINE = ("machine_cores", "machine_steal_cores", "machine_psi_cpu_some", "rig_cpu_cores")
_WAITS = ("pg_wait_lock", "pg_wait_io")


@dataclass(slots=True)
class TelemetryTotals:
    """The telemetry of one host during one trial, in constant memory.

    `begin`, `end`, `seconds`: the time that its readings cover. `cpu`: metric -> its integral over `cpu_seconds`;
    `machine`: the same of metrics that not every host, or older run, has. `limited`: whether each reading has a CPU
    quota. `pools`: by the name of the metric; `waits`: metric -> sessions that waited, and sessions that were active at
    the same time.
    """

    begin: float = inf
    end: float = -inf
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*_CPU, "cpu_throttled_share"), 0.0))
    machine: dict[str, float] = field(default_factory=dict)
    limited: bool = True
    pools: dict[str, Occurrences] = field(default_factory=dict)
    waits: dict[str, tuple[Occurrences, Occurrences]] = field(default_factory=dict)

    def add(self, reading: TelemetryReading) -> None:
        """Adds one reading."""
        metrics = reading.metrics
        if (seconds := metrics.get("host_seconds")) is not None:
            self.begin, self.end = min(self.begin, reading.second - seconds), max(self.end, reading.second)
            self.seconds += seconds
            if seconds > 0 and metrics.get("cpu_cap_cores", 0.0) > 0 and all(name in metrics for name in _CPU):
                self.cpu_seconds += seconds
                self.limited = self.limited and "cpu_throttled_share" in metrics
                for name in self.cpu:
                    self.cpu[name] += metrics.get(name, 0.0) * seconds
                for name in metrics.keys() & _MACHINE:
                    self.machine[name] = self.machine.get(name, 0.0) + metrics[name] * seconds
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
        """Whether there is no reading of the host itself."""
        return self.end == -inf


def aggregate(
    all_readings: Iterable[TelemetryReading], hosts: Container[str], orders: Container[int]
) -> dict[int, dict[str, TelemetryTotals]]:
    """Trial -> host -> totals, for these hosts and trials only."""
    totals: dict[int, dict[str, TelemetryTotals]] = {}
    for reading in all_readings:
        if reading.order in orders and reading.host in hosts:
            totals.setdefault(reading.order, {}).setdefault(reading.host, TelemetryTotals()).add(reading)
    return totals
