"""How the pool's size bounds the time of 200 queries that each sleep 10 ms on the server.

The original swept `pg_sleep(0.01)` over pools of 1, 5, 10, 20 and 50. Here the query is the service's own
transaction on a row of its own, holding it for 10 ms, so pool, app and HAProxy are all in the path. With a pool
of p nothing can be faster than 200 / p x 10 ms: the ideal line. The app's CPU cap is lifted (`app_cpus`), so that
the pool is the bound until the knee, where something else takes over.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

from harness.checks import check_acknowledged, check_counts, finding
from harness.config import Options
from harness.metrics import Measured
from harness.model import Cell, Finding, Trial
from harness.plan import Lane, Scenario, Site, Skip

POOLS = (1, 5, 10, 20, 50)
QUERIES = 200
HOLD_MS = 10
APP_CPUS = 2.0
KNEE = 0.7
"""A pool is past the knee where it brings less than this share of what its size promises."""


def cells(options: Options, site: Site) -> list[Cell]:
    """One app host, its pool in five sizes, all 200 requests at once."""
    if not site.managed:
        raise Skip("the pool's size of a service that is not ours cannot be set")
    queries = options.requests or QUERIES
    return [
        Cell(
            scenario="pool-sweep",
            hosts=1,
            pool=pool,
            clients=queries,
            requests=queries,
            params={"hold_ms": HOLD_MS, "app_cpus": APP_CPUS},
        )
        for pool in POOLS
    ]


def workload(trial: Trial) -> dict[str, Lane]:
    """All queries at once, each on a key of its own."""
    cell = trial.cell
    return {
        "main": {
            "mode": "closed",
            "clients": cell.clients,
            "requests": cell.requests,
            "release": "together",
            "timeout_s": 60.0,
            "keys": {"kind": "cycle", "prefix": "pool", "count": cell.requests},
            "operations": [
                {
                    "name": "hold",
                    "path": "/api/transaction",
                    "body": {"key": "{key}", "hold_ms": HOLD_MS},
                    "capture": ["pool_wait_ms", "duration"],
                }
            ],
        }
    }


def check(measured: Measured) -> Sequence[Finding]:
    """All acknowledged, each row once, the pool as large as the cell says, no faster than the ideal line."""
    cell, samples, evidence = measured.cell, measured.main, measured.evidence
    queries = cell.requests or 0
    applied = sum(evidence.final.values())
    ideal_s = math.ceil(queries / cell.pool) * HOLD_MS / 1000
    seconds = (max(samples.done_us) - min(samples.due_us)) / 1e6
    waited, took = _median(samples.captured.get("pool_wait_ms", ())), _median(samples.captured.get("duration", ()))
    return [
        check_acknowledged(cell, samples, expected=queries),
        finding(
            cell,
            "applied",
            applied == queries == len(evidence.final),
            f"{applied:,} rows written for {queries:,} queries",
        ),
        finding(
            cell,
            "pool is what it is called",
            seconds >= ideal_s,
            f"{seconds:.2f} s where a pool of {cell.pool} needs {ideal_s:.2f} s at least; in the median "
            f"{waited:,.0f} ms waiting for a connection and {took - waited:,.0f} ms executing",
            seconds=seconds,
            ideal_s=ideal_s,
            waiting_ms=waited,
            executing_ms=took - waited,
        ),
        check_counts(cell, samples, evidence, op=None),
    ]


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def judge(trials: Sequence[Measured]) -> Sequence[Finding]:
    """The original's two ratios, and where the knee is."""
    times: dict[int, list[float]] = defaultdict(list)
    for measured in trials:
        seconds = measured.row.figure("seconds")
        if seconds is not None and measured.row.valid:
            times[measured.cell.pool].append(seconds)
    t = {pool: statistics.median(values) for pool, values in sorted(times.items())}
    cell = trials[0].cell
    findings = []
    for large, small, limit in ((5, 1, 0.3), (10, 5, 0.6)):
        check_name = f"t({large}) < {limit} t({small})"
        if large not in t or small not in t:
            findings.append(finding(cell, check_name, "unknown", "not both pools were measured"))
            continue
        ratio = t[large] / t[small]
        text = f"{t[large]:.2f} s with {large}, {t[small]:.2f} s with {small}: ratio {ratio:.2f}"
        findings.append(finding(cell, check_name, ratio < limit, text, ratio=ratio))
    knee = next((b for a, b in zip(t, list(t)[1:], strict=False) if (t[a] / t[b]) / (b / a) < KNEE), None)
    line = ", ".join(f"{pool}: {seconds:.2f} s" for pool, seconds in t.items())
    text = f"from {knee} connections on, less than {KNEE:.0%} of the promised gain" if knee else "no knee up to 50"
    findings.append(finding(cell, "knee", "pass" if t else "unknown", f"{text} ({line})", knee=knee, seconds=t))
    return findings


SCENARIO = Scenario(
    name="pool-sweep",
    question="How does the size of the connection pool bound the time of 200 queries at once?",
    criteria=(
        "t(5) < 0.3 t(1)",
        "t(10) < 0.6 t(5)",
        "+ never faster than the ideal line: the pool has the size it is said to have",
        "+ the knee; waiting for a connection split from executing",
        "+ the plan refuses pools that exceed the server's connections",
    ),
    cells=cells,
    workload=workload,
    check=check,
    judge=judge,
    repeat=3,
)
