"""1,000 concurrent writes: all in flight at once, none lost.

One cell writes a single key that does not exist yet (so SELECT … FOR UPDATE has no row to lock). The other spreads
over 100 keys and also writes the ledger. SQLite is expected to reject writes, which sqlite-vs-postgres reports; a lost
update fails there too.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.traffic import check_acknowledged, check_spread
from harness.load.spec import LoadSpec
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, backend_name, joined
from harness.record import TrialRecord
from harness.scenarios.increment_workload import backends, check_counters, increment, keys, keys_name, strategies
from harness.text import plural

REQUESTS = 1000
HOSTS = 4
LEDGER_KEYS = "spread"
"""The key set whose requests carry an Idempotency-Key and write the ledger."""
TWINS = 0.05
"""Share of these requests that repeat the key of one in flight. None for a service that the harness does not manage
(its pool is unknown): the contract lets it ignore the key."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans a hot key and 100 keys for each requested backend and strategy, all requests at once.

    With --quick SQLite only on request, because sqlite-vs-postgres sends it the same burst.
    """
    requests = options.requests or options.clients or REQUESTS
    return [
        Cell(
            scenario="concurrent-writes",
            backend=backend,
            strategy=strategy,
            hosts=site.serving(options.hosts, HOSTS),
            clients=requests,
            requests=requests,
            params={"keys": key_set},
        )
        for backend in backends(options, site, ("postgres",) if options.quick else site.backends)
        for strategy in strategies(options, site, backend, ("upsert",))
        for key_set in ("hot", LEDGER_KEYS)
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns a load with one connection per request, opened beforehand and released together."""
    cell = trial.cell
    key_set = str(cell.params["keys"])
    with_ledger = key_set == LEDGER_KEYS
    return {
        "main": LoadSpec(
            mode="closed",
            clients=cell.clients,
            requests=cell.requests,
            timeout_s=60.0,
            keys=keys(key_set),
            operations=(
                increment(cell.strategy, idempotency=with_ledger, twins=TWINS if with_ledger and cell.pool else 0),
            ),
        )
    }


def check(measured: TrialRecord) -> Sequence[Finding]:
    """All writes acknowledged; exact counter, each value once, in real-time order; evenly spread, same counts."""
    cell, samples = measured.cell, measured.main
    findings = check_counters(measured)
    if cell.backend == "postgres":
        findings.insert(0, check_acknowledged(cell, samples, expected=cell.requests or 0))
        findings.append(check_spread(cell, samples, measured.evidence))
    return findings


def label(cell: Cell) -> str:
    """Names a cell, such as `PostgreSQL, upsert, 100 keys with ledger, 4 hosts`."""
    ledger = " with ledger" if cell.params.get("keys") == LEDGER_KEYS else ""
    return joined(backend_name(cell), cell.strategy, keys_name(cell) + ledger, plural(cell.hosts, "host"))


SCENARIO = Scenario(
    name="concurrent-writes",
    question="Do 1,000 concurrent writes all succeed, and does the counter equal their number?",
    criteria=(
        "100 % of 1,000 concurrent writes succeed (PostgreSQL)",
        "no lost update: final value = initial + acknowledged, each value returned once, in real-time order",
        "requests are spread evenly over the app hosts",
        "client, HAProxy, app and database count the same number of requests",
        "SQLite: the share of acknowledged writes is reported only; an acknowledged write must not be lost",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    timing_matters=False,
)
