"""From what the load hosts counted to figures: the columns of trials.csv. Pure.

Latency counts from the instant a request was due, service time from the send; both are kept. A failed
request counts like any other: nothing is dropped. Only the measured phase counts, never the warm-up.
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
    """The figures of one lane, from its merged summary (harness/load/results/summary.py): they need no samples.

    Percentiles come from the histograms (three significant digits; None below the samples that carry them). `rps` is
    acknowledged requests a second of the measured window. What the app says of itself (database transactions and ms
    waited for a connection) is the mean over the requests whose answer said it, refused or not; retries, all that were
    said, are per acknowledged request: what a commit costs.
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
