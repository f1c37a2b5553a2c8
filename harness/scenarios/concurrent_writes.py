"""1,000 concurrent writes: all in flight at once, none lost.

The original's first test and first criterion. One cell hits a single key that no request has written before
(the case in which SELECT … FOR UPDATE locks nothing); one spreads over 100 keys and writes the ledger too.
On SQLite refusals are its nature and reported by sqlite-vs-postgres; a lost update is a failure there too.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.traffic import check_acknowledged, check_spread
from harness.load.spec import LoadSpec
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site
from harness.record import TrialRecord
from harness.scenarios.increment_workload import backends, check_counters, increment, keys, strategies

REQUESTS = 1000
HOSTS = 4


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Hot key and 100 keys, for each backend and strategy asked for; all requests at once."""
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
        for backend in backends(options, site, site.backends)
        for strategy in strategies(options, site, backend, ("upsert",))
        for key_set in ("hot", "spread")
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """As many connections as requests, opened first, released together."""
    cell = trial.cell
    key_set = str(cell.params["keys"])
    return {
        "main": LoadSpec(
            mode="closed",
            clients=cell.clients,
            requests=cell.requests,
            timeout_s=60.0,
            keys=keys(key_set),
            operations=(increment(cell.strategy, idempotency=key_set == "spread"),),
        )
    }


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Acknowledged, exact, each value once, in real-time order, evenly spread, counted alike."""
    cell, samples = measured.cell, measured.main
    findings = check_counters(measured)
    if cell.backend == "postgres":
        findings.insert(0, check_acknowledged(cell, samples, expected=cell.requests or 0))
        findings.append(check_spread(cell, samples, measured.evidence))
    return findings


SCENARIO = Scenario(
    name="concurrent-writes",
    question="Do 1,000 writes at once all succeed, and does the counter hold exactly their number?",
    criteria=(
        "1,000 concurrent writes succeed to 100 % (PostgreSQL)",
        "no lost update: final value = initial + acknowledged, each value answered once, in real-time order",
        "+ requests spread evenly over the app hosts",
        "+ client, HAProxy, app and database count the same",
        "+ SQLite: what share it acknowledges is reported, not judged; what it acknowledges must not be lost",
    ),
    cells=cells,
    workload=workload,
    check=check,
    timing_matters=False,
)
