"""The scenarios by name. To add one, add a module to this package and a line to SCENARIOS."""

from __future__ import annotations

from collections.abc import Mapping

from harness.plan.scenario import Scenario
from harness.scenarios import (
    bank,
    bulk_insert,
    capacity,
    concurrent_writes,
    connections,
    deadlocks,
    faults,
    isolation,
    list_append,
    long_transactions,
    pool_sweep,
    scaling,
    sqlite_vs_postgres,
    throughput,
)

SCENARIOS: Mapping[str, Scenario] = {
    "concurrent-writes": concurrent_writes.SCENARIO,
    "isolation": isolation.SCENARIO,
    "long-transactions": long_transactions.SCENARIO,
    "pool-sweep": pool_sweep.SCENARIO,
    "deadlocks": deadlocks.SCENARIO,
    "sqlite-vs-postgres": sqlite_vs_postgres.SCENARIO,
    "scaling": scaling.SCENARIO,
    "throughput": throughput.SCENARIO,
    "bulk-insert": bulk_insert.SCENARIO,
    "connections": connections.SCENARIO,
    "faults": faults.SCENARIO,
    "capacity": capacity.SCENARIO,
    "list-append": list_append.SCENARIO,
    "bank": bank.SCENARIO,
}

SUITE = tuple(name for name, scenario in SCENARIOS.items() if scenario.in_suite)
"""What a bench measures without --scenario."""
