"""1,000 concurrent writes: all in flight at once, none lost.

The original's first test and first criterion. One cell hits a single key that no request has written before
(the case in which SELECT … FOR UPDATE locks nothing); one spreads over 100 keys and writes the ledger too.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks import check_acknowledged, check_counts, check_spread
from harness.config import Options
from harness.metrics import Measured
from harness.model import Cell, Finding, Trial
from harness.oracle import check_final_value, check_ledger, check_real_time_order, check_value_sequence
from harness.plan import Lane, Scenario, Site

REQUESTS = 1000
HOSTS = 4
KEYS = {"hot": 1, "spread": 100}


def cells(options: Options, site: Site) -> Sequence[Cell]:
    """Hot key and 100 keys, for each backend and strategy asked for; all requests at once."""
    requests = options.requests or options.clients or REQUESTS
    hosts = min(options.hosts or HOSTS, site.hosts)
    backends = options.backends or site.backends
    return [
        Cell(
            scenario="concurrent-writes",
            backend=backend,
            strategy=strategy,
            hosts=hosts,
            clients=requests,
            requests=requests,
            params={"keys": keys},
        )
        for backend in backends
        for strategy in ((options.strategies or ("upsert",)) if backend == "postgres" else ("upsert",))
        for keys in KEYS
    ]


def workload(trial: Trial) -> dict[str, Lane]:
    """As many connections as requests, opened first, released together."""
    cell = trial.cell
    keys = str(cell.params["keys"])
    return {
        "main": {
            "mode": "closed",
            "clients": cell.clients,
            "requests": cell.requests,
            "release": "together",
            "keys": {"kind": "one" if keys == "hot" else "uniform", "prefix": keys, "count": KEYS[keys]},
            "operations": [
                {
                    "name": "increment",
                    "path": "/api/increment",
                    "body": {"key": "{key}", "strategy": cell.strategy},
                    "idempotency": keys == "spread",
                    "value": "value",
                    "capture": ["retries", "transactions", "pool_wait_ms"],
                }
            ],
        }
    }


def check(measured: Measured) -> Sequence[Finding]:
    """Acknowledged, exact, each value once, in real-time order, evenly spread, counted alike."""
    cell, samples, evidence = measured.cell, measured.main, measured.evidence
    findings = [
        check_final_value(cell, samples, evidence),
        check_value_sequence(cell, samples, evidence),
        check_real_time_order(cell, samples),
    ]
    if evidence.ledger is not None:
        findings.append(check_ledger(cell, samples, evidence))
    if cell.backend == "postgres":
        # SQLite's share is reported by sqlite-vs-postgres; refusing is allowed there, losing is not
        findings.insert(0, check_acknowledged(cell, samples, expected=cell.requests or 0))
        findings.append(check_spread(cell, samples))
    findings.append(check_counts(cell, samples, evidence))
    return findings


SCENARIO = Scenario(
    name="concurrent-writes",
    question="Do 1,000 writes at once all succeed, and does the counter hold exactly their number?",
    criteria=(
        "1,000 concurrent writes succeed to 100 % (PostgreSQL)",
        "no lost update: final value = initial + acknowledged, each value answered once, in real-time order",
        "+ requests spread evenly over the app hosts",
        "+ client, HAProxy, app and database count the same",
    ),
    cells=cells,
    workload=workload,
    check=check,
)
