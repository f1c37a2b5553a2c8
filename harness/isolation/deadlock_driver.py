"""Runs the deadlocking pairs and reads the server's deadlock counter. checks/isolation.py evaluates the result."""

from __future__ import annotations

from time import monotonic, sleep

from harness.isolation.deadlock_pairs import DEADLOCK_DETECTED, script
from harness.isolation.postgres_driver import Postgres
from harness.isolation.stepper import LIMIT_S, run_schedule
from harness.isolation.transcript import to_json

COUNT = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
"""The observer runs in autocommit mode, so each query is a new transaction and reads current statistics."""
COUNT_LIMIT_S = 5.0
"""Longest wait for the statistics. A backend reports its counts when it ends, and the sessions have ended."""


def measure(server: Postgres, pairs: int, *, crossed: bool = True, limit_s: float = LIMIT_S) -> dict[str, object]:
    """Runs one round of `pairs` pairs at once (2 connections per pair and the observer's). Returns JSON types.

    `started` and `finished` are times of the server's clock and the transcript's `pids` are the backends, to find
    the round in the server's log. Deadlocks of other clients in the same database are counted too.
    """
    started = server.admin("SELECT clock_timestamp()::text")[0][0]
    before = server.admin(COUNT)[0][0]
    transcript = run_schedule(server, script(pairs, crossed=crossed), limit_s=limit_s)
    victims = sum(event.code == DEADLOCK_DETECTED for event in transcript.events)
    deadline = monotonic() + COUNT_LIMIT_S
    while (after := server.admin(COUNT)[0][0]) - before < victims and monotonic() < deadline:
        sleep(0.02)  # until the statistics arrive
    return {
        "pairs": pairs,
        "counted_before": before,
        "counted_after": after,
        "started": started,
        "finished": server.admin("SELECT clock_timestamp()::text")[0][0],
        "transcript": to_json(transcript),
    }
