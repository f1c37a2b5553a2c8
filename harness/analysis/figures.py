"""The figures of a trial, the measured columns of trials.csv, from its load summary. Pure.

Latency counts from the instant a request was due, service time from the send. Failed requests count like any other.
Only the measured phase counts, not the warm-up.
"""

from __future__ import annotations

from harness.load.results.summary import LaneSummary

CAPTURED = ("retries", "transactions", "pool_wait_ms")
FIGURES = (
    "sent", "ok", "fail", "unknown", "seconds", "rps",
    "mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms",
    "service_mean_ms", "service_p50_ms", "service_p95_ms", "service_p99_ms", "lag_p99_ms",
    *CAPTURED,
)  # fmt: skip
"""The measured columns of trials.csv."""


def figures(summary: LaneSummary) -> dict[str, float | None]:
    """The figures of one lane, from its merged summary (harness/load/results/summary.py), without samples.

    Percentiles come from the histograms (three significant digits; None with too few samples). `rps` is acknowledged
    requests per second of the measured window. `transactions` and `pool_wait_ms` are means over the responses that
    report them, rejected ones included. `retries` is the total reported per acknowledged request: the cost of a commit.
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
    }
    for name in CAPTURED:
        total, number = summary.captured.get(name, (0.0, 0))
        per = measure.ok if name == "retries" else number
        row[name] = total / per if number and per else None
    return row
