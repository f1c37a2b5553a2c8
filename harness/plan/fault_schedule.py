"""The faults by name, and when each hits during a trial. Pure.

How a fault is injected, seen and healed: harness/faults/, which has the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """What a plan and a criterion know of a fault.

    `hold_s`: seconds from the injection to the heal. `rotation`: the sick app host has to leave HAProxy's rotation and
    come back in time. `no_failed_request`: every request of the trial has to succeed. `first_success_s`: longest time
    from the instant at which PostgreSQL accepts connections until a request succeeds.
    """

    help: str
    hold_s: float = 3.0
    rotation: bool = False
    no_failed_request: bool = False
    first_success_s: float | None = None


KINDS: Mapping[str, FaultKind] = {
    "app-kill": FaultKind(help="kill -9 of the service on an app host", rotation=True),
    "app-pause": FaultKind(help="the service of an app host is stopped with SIGSTOP", hold_s=5.0, rotation=True),
    "app-roll": FaultKind(help="all app hosts restart one by one, as in a deployment", no_failed_request=True),
    "host-down": FaultKind(help="an app host is switched off, and on again"),
    "db-backend-kill": FaultKind(help="pg_terminate_backend on all sessions of the service", first_success_s=5.0),
    "db-restart": FaultKind(help="PostgreSQL restarts", first_success_s=5.0),
    "db-crash": FaultKind(help="kill -9 of the postmaster and its backends", first_success_s=5.0),
    "db-pause": FaultKind(help="PostgreSQL is stopped with SIGSTOP", first_success_s=5.0),
    "db-full": FaultKind(help="the disk of the write-ahead log fills up", first_success_s=5.0),
    "partition-db": FaultKind(
        help="packets between an app host and the database are dropped", hold_s=6.0, rotation=True
    ),
    "partition-db-one-way": FaultKind(
        help="the database's answers to an app host are dropped", hold_s=6.0, rotation=True
    ),
    "partition-db-reject": FaultKind(
        help="an app host's connections to the database are refused", hold_s=6.0, rotation=True
    ),
    "partition-lb": FaultKind(help="packets between HAProxy and an app host are dropped", hold_s=6.0, rotation=True),
    "connections-gone": FaultKind(help="another client holds all connections but the reserved ones"),
    "lb-reload": FaultKind(help="HAProxy reloads", no_failed_request=True),
    "lb-kill": FaultKind(help="kill -9 of HAProxy"),
    "slow-network": FaultKind(help="app hosts and the database: delay and loss", hold_s=6.0),
    "load-host-kill": FaultKind(help="kill -9 of a load agent"),
}
"""In the order in which a bench of all faults injects them. `mixed` is a schedule of several, at most two at a time."""
MIXED = "mixed"
