"""Summaries of lanes and histograms, as load agents count them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.load.results import histogram
from harness.load.results.process_usage import ProcessUsage
from harness.load.results.summary import (
    Clock,
    ConnectionTotals,
    LaneSummary,
    OutcomeTotals,
    Percentiles,
    PhaseTotals,
)

EMPTY = PhaseTotals(sent=0, ok=0, fail=0, unknown=0, errors={})


def histogram_of(values_us: Iterable[int]) -> histogram.Counts:
    """The histogram of these values."""
    counts: histogram.Counts = {}
    for value in values_us:
        index = histogram.slot(min(max(value, 0), histogram.HIGHEST_US))
        counts[index] = counts.get(index, 0) + 1
    return counts


def phase(ok: int = 0, *, fail: int = 0, unknown: int = 0, errors: dict[str, int] | None = None) -> PhaseTotals:
    """A phase in which every request has its outcome."""
    return PhaseTotals(sent=ok + fail + unknown, ok=ok, fail=fail, unknown=unknown, errors=errors or {})


def window(ok: int = 0, *, fail: int = 0, unknown: int = 0) -> OutcomeTotals:
    return OutcomeTotals(ok=ok, fail=fail, unknown=unknown)


def process(**changes: Any) -> ProcessUsage:
    """A load process that was observed for 10 s and had CPU to spare, with `changes`."""
    values: dict[str, Any] = {
        "load_host": "load-1", "looks": 1000, "cores": 2.0, "throttled": 0.0, "cpu": 0.5, "cpu_wait": 0.0,
        "stalled": 0.01, "longest_stall_ms": 9.0, "in_flight": 20.0,
    }  # fmt: skip
    return ProcessUsage(**values | changes)


def lane_summary(**changes: Any) -> LaneSummary:
    """An open load of 2,000 requests/s at 10 ms for 10 s, not limited by the generator, with `changes`."""
    values: dict[str, Any] = {
        "format": 1,
        "load_host": "load-1",
        "run_tag": "t",
        "seed": 0,
        "mode": "open",
        "clients": 100,
        "offered_rate": 2000.0,
        "clock": Clock(boot_id="kernel", t0_monotonic_us=0),
        "measure_from_us": 0,
        "measure_to_us": 10_000_000,
        "window": window(20_000),
        "busy_us": 200_000_000,
        "warmup": EMPTY,
        "measure": phase(20_000),
        "last_due_us": 9_999_500,
        "last_sent_us": 9_999_900,
        "last_done_us": 9_999_990,
        "peak_in_flight": 21,
        "late": 0,
        "not_sent": 0,
        "connections": ConnectionTotals(opened=100, reopened=0, out_of_step=0),
        "watch": (process(),),
        "interrupted": False,
        "lag_ms": Percentiles(p95_ms=0.1, p99_ms=0.3, count=20_000),
        "service_ms": Percentiles(p95_ms=20.0, p99_ms=30.0, count=20_000),
    }
    return LaneSummary(**values | changes)
