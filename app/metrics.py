"""The counters of this process since its start, and their Prometheus format.

The harness compares them with the client's, HAProxy's and the database's counts, so each response is counted exactly
once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

OPERATIONS = (
    "increment", "counter", "bulk-insert", "transaction", "txn", "test-isolation", "pool-stats",
    "health", "live", "ready", "metrics", "other",
)  # fmt: skip
RESULTS = ("ok", "rejected", "aborted", "unknown")
"""`rejected`: 4xx, a client error. `aborted`: certainly not applied. `unknown`: may have been applied."""


class Counters:
    """Responses by operation and result."""

    def __init__(self) -> None:
        self.requests = {op: dict.fromkeys(RESULTS, 0) for op in OPERATIONS}

    def failed(self, op: str, status: int, outcome: str) -> None:
        """Counts an error response. The database causes a 409, so it counts as aborted, not rejected."""
        client = 400 <= status < 500 and status != 409
        self.requests[op]["rejected" if client and outcome == "aborted" else outcome] += 1


def prometheus(document: Mapping[str, Any], *, openmetrics: bool) -> str:
    """Returns the JSON document of /metrics as text: Prometheus 0.0.4, or OpenMetrics 1.0.0."""
    lines = list(_families(document, openmetrics=openmetrics))
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _families(document: Mapping[str, Any], *, openmetrics: bool) -> Iterator[str]:
    container = f'container="{document["container"]}"'
    database = document["database"]

    def family(name: str, kind: str, help_line: str) -> Iterator[str]:
        # In OpenMetrics the name of a counter family lacks the suffix _total of its samples.
        head = name[: -len("_total")] if openmetrics and kind == "counter" else name
        yield f"# HELP {head} {help_line}"
        yield f"# TYPE {head} {kind}"

    yield from family("pgcrucible_requests_total", "counter", "Requests answered since the process started.")
    for op, results in document["requests"].items():
        for result, number in results.items():
            yield f'pgcrucible_requests_total{{{container},op="{op}",result="{result}"}} {number}'
    yield from family("pgcrucible_retries_total", "counter", "Retries after a lost conflict.")
    yield f"pgcrucible_retries_total{{{container}}} {document['retries']}"
    yield from family("pgcrucible_transactions_total", "counter", "Database transactions begun for POST requests.")
    yield f"pgcrucible_transactions_total{{{container}}} {document['transactions']}"
    yield from family("pgcrucible_pool_connections", "gauge", "Database connections by state.")
    pool = document["pool"]
    for state in ("total", "idle"):
        yield f'pgcrucible_pool_connections{{{container},state="{state}"}} {pool[state]}'
    yield from family("pgcrucible_pool_waiting", "gauge", "Requests that wait for a connection.")
    yield f"pgcrucible_pool_waiting{{{container}}} {pool['waiting']}"
    yield from family("pgcrucible_pool_peak", "gauge", "Most database connections open at once since the start.")
    yield f"pgcrucible_pool_peak{{{container}}} {pool['peak']}"
    yield from family("pgcrucible_uptime_seconds", "gauge", "Seconds since the process started.")
    yield f"pgcrucible_uptime_seconds{{{container}}} {document['uptime']}"
    if "database_up" in document:
        yield from family("pgcrucible_database_up", "gauge", "1 if the database answered this request.")
        yield f"pgcrucible_database_up{{{container}}} {document['database_up']}"
    for name, number in (database or {}).items():
        if number is not None:
            yield from family(f"pgcrucible_database_{name}", "gauge", "The same as in /metrics as JSON.")
            yield f"pgcrucible_database_{name}{{{container}}} {number}"
