"""How the pool's size limits the time of 200 queries that each sleep 10 ms on the server.

Pools of 1, 5, 10, 20 and 50 connections run `pg_sleep(0.01)` through HAProxy, the service and its pool (the endpoint's
transaction without a row). Nothing is written, so there is no counter to check. The connections are opened beforehand
(`app_pool_min`), and each trial's 200 queries are sent once before, unmeasured, so the pool is measured and not 50
logins. With a pool of p the time is at least 200 / p x 10 ms: the ideal line. The app host has a high CPU cap
(`app_cpus`), so the pool is the bound up to the knee, where another bottleneck begins.

The effective pool size follows from Little's law: the mean number of busy connections is the sum of the execution times
divided by the total time.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from harness.analysis.block_ratio import INTERVAL_BLOCKS, BlockRatio, by_block, ratio
from harness.checks import names
from harness.checks.finding import finding
from harness.checks.traffic import check_acknowledged, check_counts
from harness.load.spec import LoadSpec, Operation
from harness.model import Cell, Finding, Trial, Verdict
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip
from harness.record import Samples, TrialRecord
from harness.text import plural

POOLS = (1, 5, 10, 20, 50)
NOT_QUICK = (20,)
QUERIES = 200
HOLD_MS = 10
APP_CPUS = 2.0
BUSY_LEAST, BUSY_MOST = 0.3, 1.1
"""Bounds of the ratio of busy connections (mean) to pool size. The lower bound is 0.3 because the load ramps up and
down; it detects a pool of a quarter of the size, and the ratios of the times detect one of half the size. Past the
knee, where half of the queries wait no longer than they execute, another bottleneck may keep the pool idle.
"""
RATIOS = ((5, 1, 0.3), (10, 5, 0.6))
"""Pools of which the time of the first is less than this share of that of the second."""
REPORTED_TRIALS = 3
"""Trials of a pool that no ratio is about."""
KNEE = 0.7
"""The knee is the first pool whose gain is less than this share of the gain in size."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans one app host with five pool sizes (four with --quick), all 200 requests at once."""
    if not site.managed:
        raise Skip("cannot set the pool size of an external service")
    if site.workers > 1:
        raise Skip(f"needs app_workers: 1, because each of the {site.workers} processes per host has its own pool")
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
        if not options.quick or pool not in NOT_QUICK
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns a load that sends all queries at once."""
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
    """All queries are acknowledged and counted alike; the number of busy connections fits the pool's size."""
    cell, samples, evidence = measured.cell, measured.main, measured.evidence
    queries = cell.requests or 0
    return [
        check_acknowledged(cell, samples, expected=queries),
        _check_effective_size(cell, samples, queries),
        check_counts(cell, samples, evidence, op=None),
    ]


def _check_effective_size(cell: Cell, samples: Samples, queries: int) -> Finding:
    """The time is not below the ideal line, and the mean number of busy connections fits the pool's size, or few
    queries wait for a connection (another bottleneck)."""
    name = names.EFFECTIVE_POOL_SIZE
    waits, durations = samples.captured.get("pool_wait_ms", ()), samples.captured.get("duration", ())
    known = [(wait, total) for wait, total in zip(waits, durations, strict=True) if not math.isnan(wait + total)]
    if not known:
        return finding(cell, name, "unknown", "no response reported its wait for a connection")
    seconds = (max(samples.done_us) - min(samples.due_us)) / 1e6
    ideal_s = math.ceil(queries / cell.pool) * HOLD_MS / 1000
    executing = [total - wait for wait, total in known]
    busy = sum(executing) / 1000 / seconds
    waiting_ms, executing_ms = statistics.median(wait for wait, _ in known), statistics.median(executing)
    idle = busy < BUSY_LEAST * cell.pool
    past_knee = idle and waiting_ms <= executing_ms
    text = (
        f"{seconds:.2f} s, a pool of {cell.pool} needs at least {ideal_s:.2f} s; mean busy connections {busy:.1f}; "
        f"median wait for a connection {waiting_ms:,.0f} ms, median execution {executing_ms:,.1f} ms"
    )
    if past_knee:
        text += "; past the knee: another bottleneck keeps the pool idle"
    return finding(
        cell,
        name,
        seconds >= ideal_s and busy <= BUSY_MOST * cell.pool and (past_knee or not idle),
        text,
        seconds=seconds,
        ideal_s=ideal_s,
        busy=busy,
        waiting_ms=waiting_ms,
        executing_ms=executing_ms,
    )


def judge(trials: Sequence[TrialRecord]) -> Sequence[Finding]:
    """Checks the two ratios of times and reports the knee. Ratios are taken within each block."""
    pools = sorted({measured.cell.pool for measured in trials})
    blocks = {pool: by_block((m.row, m.row.figure("seconds")) for m in trials if m.cell.pool == pool) for pool in pools}
    times = {pool: [t for t in of.values() if t is not None] for pool, of in blocks.items()}
    medians = {pool: statistics.median(of) for pool, of in times.items() if of}
    cell = trials[0].cell
    findings = []
    for large, small, limit in RATIOS:
        found = ratio(blocks.get(small, {}), blocks.get(large, {}))
        findings.append(_check_ratio(cell, large, small, found, limit))
    gains = ((a, b, ratio(blocks[b], blocks[a])) for a, b in itertools.pairwise(medians))
    knee = next((b for a, b, gain in gains if gain and gain.value / (b / a) < KNEE), None)
    times_by_pool = ", ".join(f"{pool}: {seconds:.2f} s" for pool, seconds in medians.items())
    text = f"no knee up to {POOLS[-1]}"
    if knee:
        text = f"knee at {knee} connections, which gain less than {KNEE:.0%} of what the size allows"
    verdict: Verdict = "shown" if medians else "unknown"
    findings.append(finding(cell, names.KNEE, verdict, f"{text} ({times_by_pool})", knee=knee, seconds=medians))
    return findings


def _check_ratio(cell: Cell, large: int, small: int, found: BlockRatio | None, limit: float) -> Finding:
    """The ratio of the times of two pools is below the limit; unknown if its interval includes the limit."""
    name = names.TIME_RATIO.format(large, limit, small)
    if found is None:
        return finding(cell, name, "unknown", "no block has valid trials of both pools")
    text = f"a pool of {large} takes {found.value:.2f}{found.basis} of the time of a pool of {small}"
    text += f", required: below {limit}"
    numbers = {"ratio": found.value, "wanted": limit}
    if found.interval:
        numbers |= {"low": found.interval.low, "high": found.interval.high}
    reached = found.reaches(limit)
    if reached is None:
        return finding(cell, name, "unknown", f"{found.doubt}: {text}", **numbers)
    return finding(cell, name, not reached, text, **numbers)


def _repeat(cell: Cell) -> int:
    """Returns the trials of a cell: enough for an interval where a ratio is checked."""
    return INTERVAL_BLOCKS if any(cell.pool in (large, small) for large, small, _ in RATIOS) else REPORTED_TRIALS


def label(cell: Cell) -> str:
    """Names a cell, such as `pool of 5 connections`."""
    return f"pool of {plural(cell.pool, 'connection')}"


SCENARIO = Scenario(
    name="pool-sweep",
    question="How does the size of the connection pool limit the time of 200 simultaneous queries?",
    criteria=(
        "t(5) < 0.3 t(1), within each repetition; unknown if the interval includes 0.3",
        "t(10) < 0.6 t(5), likewise",
        "no pool is faster than its size allows: the pool has the configured size",
        "the knee, and waiting for a connection separated from executing",
        "the plan rejects pools that exceed the server's connections",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    judge=judge,
    postgres_topic="connections, each of which is a process of the server",
    repeat=_repeat,
    rehearse=True,
)
