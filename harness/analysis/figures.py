"""From what the load hosts counted to figures: the columns of trials.csv. Pure.

Latency counts from the instant a request was due, service time from the send; both are kept. A failed
request counts like any other: nothing is dropped. Only the measured phase counts, never the warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CAPTURED = ("retries", "transactions", "pool_wait_ms")
FIGURES = (
    "sent", "ok", "fail", "unknown", "seconds", "rps",
    "mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms",
    "service_mean_ms", "service_p50_ms", "service_p95_ms", "service_p99_ms", "lag_p99_ms",
    *CAPTURED,
)  # fmt: skip
"""The measured columns of trials.csv."""


def figures(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of one lane, from its merged summary (harness/load/results/merge.py): they need no samples.

    Percentiles come from the histograms (three significant digits; None below the samples that carry them). `rps` is
    acknowledged requests a second of the measured window. What the app says of itself (database transactions and ms
    waited for a connection) is the mean over the requests whose answer said it, refused or not; retries, all that were
    said, are per acknowledged request: what a commit costs.
    """
    counts = summary["measure"]
    row: dict[str, float | None] = {name: float(counts[name]) for name in ("sent", "ok", "fail", "unknown")}
    row["seconds"], row["rps"] = summary["seconds"], summary["rps"]
    for prefix, part in (("", summary["latency_ms"]), ("service_", summary["service_ms"])):
        for name in ("mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms"):
            if f"{prefix}{name}" in FIGURES:
                row[f"{prefix}{name}"] = part[name]
    row["lag_p99_ms"] = summary["lag_ms"]["p99_ms"]
    for name in CAPTURED:
        total, number = summary["captured"].get(name, (0.0, 0))
        per = counts["ok"] if name == "retries" else number
        row[name] = total / per if number and per else None
    return row
