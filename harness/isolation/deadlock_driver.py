"""Drives the deadlocking pairs and counts what the server counted. What it means is said in findings.py."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any

from harness.isolation.deadlock_pairs import DEADLOCK_DETECTED, script
from harness.isolation.postgres_driver import Postgres
from harness.isolation.stepper import LIMIT_S, drive
from harness.isolation.transcript import to_json

COUNT = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
"""The observer is in autocommit, so each look is a transaction of its own and sees fresh statistics."""
COUNT_LIMIT_S = 5.0
"""How long to wait for statistics. A backend hands its counts in when it ends, and the sessions have ended."""


def measure(server: Postgres, pairs: int, *, crossed: bool = True, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """One round of `pairs` pairs at once (2 connections each, and the observer's): facts as JSON types.

    `started` and `finished` are the server's clock, to find the round in its log; the transcript's `pids`
    are the backends. Other clients' deadlocks in the same database would be counted too.
    """
    started = server.admin("SELECT clock_timestamp()::text")[0][0]
    before = server.admin(COUNT)[0][0]
    seen = drive(server, script(pairs, crossed=crossed), limit_s=limit_s)
    victims = sum(event.code == DEADLOCK_DETECTED for event in seen.events)
    deadline = monotonic() + COUNT_LIMIT_S
    while (after := server.admin(COUNT)[0][0]) - before < victims and monotonic() < deadline:
        sleep(0.02)  # orders nothing: the count only has to arrive
    return {
        "pairs": pairs,
        "counted_before": before,
        "counted_after": after,
        "started": started,
        "finished": server.admin("SELECT clock_timestamp()::text")[0][0],
        "transcript": to_json(seen),
    }
