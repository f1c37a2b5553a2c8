"""How the pool's size bounds the time of 200 queries that each sleep 10 ms on the server.

The original swept `pg_sleep(0.01)` over pools of 1, 5, 10, 20 and 50. Here the service runs that very query (its
transaction without a row), so pool, app and HAProxy are all in the path; nothing is written, so there is no
counter for the oracle. The pool's connections are open beforehand (`app_pool_min`): the pool is measured, not 50
logins; for the same reason each trial's 200 queries are sent once before, unmeasured. With a pool of p nothing can
be faster than 200 / p x 10 ms: the ideal line. The app's CPU cap is lifted
(`app_cpus`), so that the pool is the bound until the knee, where something else takes over.

What shows that a pool has the size it is said to have is Little's law: the mean number of busy connections is the
sum of the times spent executing over the time it all took.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

from harness.analysis.stats import CLAIM_TRIALS
from harness.checks.finding import finding
from harness.checks.traffic import check_acknowledged, check_counts
from harness.load.spec import LoadSpec, Operation
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip
from harness.record import Samples, TrialRecord
from harness.text import plural

POOLS = (1, 5, 10, 20, 50)
QUERIES = 200
HOLD_MS = 10
APP_CPUS = 2.0
BUSY_LEAST, BUSY_MOST = 0.3, 1.1
"""Bounds of the mean number of busy connections over the pool's size. Three tenths, because the ends are ramps: that
tells a pool of a quarter the size; the ratios of the times tell a half. Past the knee, where half of the queries wait
for a connection no longer than they execute, something else is the bound and the pool may well be idle.
"""
KNEE = 0.7
"""A pool is past the knee where it brings less than this share of what its size promises."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """One app host, its pool in five sizes, all 200 requests at once."""
    if not site.managed:
        raise Skip("the pool's size of a service that is not ours cannot be set")
    if site.workers > 1:
        raise Skip(f"each of a host's {site.workers} processes has a pool of its own, so none of 1 (app_workers: 1)")
    queries = options.requests or QUERIES
    return [
        Cell(
            scenario="pool-sweep",
            strategy="",
            hosts=1,
            pool=pool,
            clients=queries,
            requests=queries,
            params={"hold_ms": HOLD_MS, "app_cpus": APP_CPUS, "app_pool_min": pool},
        )
        for pool in POOLS
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """All queries at once."""
    cell = trial.cell
    hold = Operation(
        name="hold",
        path="/api/transaction",
        body={"keys": [], "hold_ms": HOLD_MS},
        capture=("pool_wait_ms", "duration"),
    )
    return {
        "main": LoadSpec(
            mode="closed", clients=cell.clients, requests=cell.requests, timeout_s=60.0, operations=(hold,)
        )
    }


def check(measured: TrialRecord) -> Sequence[Finding]:
    """All acknowledged and counted alike; as many connections busy as the pool is said to have."""
    cell, samples, evidence = measured.cell, measured.main, measured.evidence
    queries = cell.requests or 0
    return [
        check_acknowledged(cell, samples, expected=queries),
        _pool_is_what_it_is_called(cell, samples, queries),
        check_counts(cell, samples, evidence, op=None),
    ]


def _pool_is_what_it_is_called(cell: Cell, samples: Samples, queries: int) -> Finding:
    """Never faster than the ideal line, and three tenths of the pool to all of it busy in the mean, or nobody waits."""
    name = "pool is what it is called"
    waits, took = samples.captured.get("pool_wait_ms", ()), samples.captured.get("duration", ())
    known = [(wait, all_) for wait, all_ in zip(waits, took, strict=True) if not math.isnan(wait + all_)]
    if not known:
        return finding(cell, name, "unknown", "no answer said how long it waited for a connection")
    seconds = (max(samples.done_us) - min(samples.due_us)) / 1e6
    ideal_s = math.ceil(queries / cell.pool) * HOLD_MS / 1000
    executing = [all_ - wait for wait, all_ in known]
    busy = sum(executing) / 1000 / seconds
    waiting_ms, executing_ms = statistics.median(wait for wait, _ in known), statistics.median(executing)
    idle = busy < BUSY_LEAST * cell.pool
    past = idle and waiting_ms <= executing_ms
    return finding(
        cell,
        name,
        seconds >= ideal_s and busy <= BUSY_MOST * cell.pool and (past or not idle),
        f"{seconds:.2f} s where a pool of {cell.pool} needs {ideal_s:.2f} s at least; {busy:.1f} connections busy "
        f"in the mean; in the median {waiting_ms:,.0f} ms waiting for one and {executing_ms:,.1f} ms executing"
        + ("; past the knee: hardly any query waits, so another bound keeps the pool idle" if past else ""),
        seconds=seconds,
        ideal_s=ideal_s,
        busy=busy,
        waiting_ms=waiting_ms,
        executing_ms=executing_ms,
    )


def judge(trials: Sequence[TrialRecord]) -> Sequence[Finding]:
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


def label(cell: Cell) -> str:
    """Names a cell, such as `pool of 5 connections`."""
    return f"pool of {plural(cell.pool, 'connection')}"


SCENARIO = Scenario(
    name="pool-sweep",
    question="How does the size of the connection pool limit the time of 200 simultaneous queries?",
    criteria=(
        "t(5) < 0.3 t(1)",
        "t(10) < 0.6 t(5)",
        "no pool is faster than its size allows: the pool has the configured size",
        "the knee, and waiting for a connection separated from executing",
        "the plan rejects pools that exceed the server's connections",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    judge=judge,
    postgres_topic="connections, which cost the server a process each",
    repeat=lambda _: CLAIM_TRIALS,
    rehearse=True,
)
