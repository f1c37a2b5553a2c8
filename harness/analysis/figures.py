"""The figures of a trial, the measured columns of trials.csv, from its load summary. Pure.

Latency counts from the instant a request was due, service time from the send. Failed requests count like any other.
Only the measured phase counts, not the warm-up.
"""

from __future__ import annotations

from harness.analysis.stats import samples_needed
from harness.load.results.summary import LaneSummary

MACHINE = ("foreign_cpu", "stolen_cpu", "cpu_pressure")
"""Of the machines; harness/analysis/foreign_load.py."""
CAPTURED = ("retries", "transactions", "pool_wait_ms")
FIGURES = (
    "sent", "ok", "fail", "unknown", "seconds", "rps",
    "mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms",
    "service_mean_ms", "service_p50_ms", "service_p95_ms", "service_p99_ms", "lag_p99_ms",
    *CAPTURED,
)  # fmt: skip
"""The measured columns of trials.csv that all runs have."""
BY_OUTCOME = ("ok_p50_ms", "ok_p95_ms", "ok_p99_ms", "refused_p50_ms", "refused_p95_ms", "refused_p99_ms")
"""Latency of the requests that were acknowledged, and of those that were not (`fail` and `unknown`)."""
LATER_FIGURES = (*BY_OUTCOME, "stall_ms", *MACHINE)
"""Columns that older runs do not have."""
PERCENTS = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
"""Part of a column's name -> its percentile."""


def figures(summary: LaneSummary) -> dict[str, float | None]:
    """The figures of a trial from the summary over its lanes (harness/load/results/merge.py), without samples.

    Percentiles come from the histograms (three significant digits; None with too few samples). `rps` is acknowledged
    requests per second of the measured window. `stall_ms` is the longest time in the window in which requests were in
    flight and none was answered. `transactions` and `pool_wait_ms` are means over the responses that
    report them, rejected ones included. `retries` is the total reported per acknowledged request: the cost of a commit.
    The figures of the machines are None.
    """
    measure, latency, service = summary.measure, summary.latency_ms, summary.service_ms
    row: dict[str, float | None] = {
        "sent": float(measure.sent),
        "ok": float(measure.ok),
        "fail": float(measure.fail),
        "unknown": float(measure.unknown),
        "seconds": summary.seconds,
        "rps": summary.rps,
        "mean_ms": latency.mean_ms,
        "p50_ms": latency.p50_ms,
        "p95_ms": latency.p95_ms,
        "p99_ms": latency.p99_ms,
        "p999_ms": latency.p999_ms,
        "max_ms": latency.max_ms,
        "service_mean_ms": service.mean_ms,
        "service_p50_ms": service.p50_ms,
        "service_p95_ms": service.p95_ms,
        "service_p99_ms": service.p99_ms,
        "lag_p99_ms": summary.lag_ms.p99_ms,
        "ok_p50_ms": summary.ok_ms.p50_ms,
        "ok_p95_ms": summary.ok_ms.p95_ms,
        "ok_p99_ms": summary.ok_ms.p99_ms,
        "refused_p50_ms": summary.refused_ms.p50_ms,
        "refused_p95_ms": summary.refused_ms.p95_ms,
        "refused_p99_ms": summary.refused_ms.p99_ms,
        "stall_ms": summary.stall_ms,
    }
    for name in CAPTURED:
        total, number = summary.captured.get(name, (0.0, 0))
        per = measure.ok if name == "retries" else number
        row[name] = total / per if number and per else None
    return row | dict.fromkeys(MACHINE)


def without_thin_percentiles(row: dict[str, float | None]) -> dict[str, float | None]:
    """The figures without percentiles that their number of requests cannot carry: older runs stored such ones."""
    sent = row.get("sent")
    for name in row if sent is not None else ():
        percent = next((PERCENTS[part] for part in name.split("_") if part in PERCENTS), None)
        if percent is not None and sent is not None and sent < samples_needed(percent):
            row[name] = None
    return row
