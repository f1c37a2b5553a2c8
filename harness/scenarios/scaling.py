"""From 1 to 8 app hosts, with two kinds of bound.

Pool-bound: each request holds one of a host's connections for 20 ms on the server, so a host's rate is at most
pool / 20 ms, whatever its CPU; adding a host adds a pool. CPU-bound: increments on app hosts that are capped to a small
share of a core. Containers on one machine share its cores, so only the first is checked; the second is reported with
its bottleneck.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from harness.analysis.block_ratio import INTERVAL_BLOCKS, Blocks, by_block
from harness.analysis.scaling_law import SpeedUp, speed_ups
from harness.analysis.trial_validity import never_steady
from harness.checks import names
from harness.checks.finding import finding
from harness.checks.traffic import check_counts, check_spread
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding, Trial, Verdict
from harness.plan.load_share import open_cell
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip, joined
from harness.record import TrialRecord, count_outcomes
from harness.scenarios.increment_workload import (
    QUICK_SECONDS,
    UNSTEADY,
    check_counters,
    increment,
    load,
    open_label,
    short_warmup,
)
from harness.text import plural

HOSTS = (1, 2, 3, 4, 6, 8)
QUICK_HOSTS = (1, 2, 4, 8)
QUICK_POOL_SECONDS = 1.8
"""Longer than other windows of --quick, because speed-ups are checked: a pause of 0.1 s in a window of 1 s would turn
a speed-up of 2x into 1.8x."""
WANTED = {2: 1.8, 4: 3.5, 8: 7.0}
"""Number of hosts -> required speed-up over one host."""
"""Name of the check for a number of hosts."""
HOLD_MS = 20
POOL = 1
POOL_CPUS = 1.0
CPU_CPUS = 0.08
CLIENTS_PER_HOST = 4
SECONDS = 2.0
REPORTED_TRIALS = 2
"""Trials with a number of hosts whose speed-up is not judged."""
OPEN_SECONDS = 1.0


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans all numbers of hosts for both bounds. Clients grow with the hosts, so requests always queue at each host.

    An open load at a share of the closed rate gives the latency. With --quick it is left out, and the CPU bound is
    measured only if a strategy is requested, with one host and with all: without repetitions it is reported only.
    """
    available = site.serving(options.hosts, max(HOSTS))
    if not site.managed:
        raise Skip("cannot drain the hosts of an external service")
    if available < 2:
        raise Skip("needs 2 app hosts or more: ./run provision --hosts 8")
    counts = [n for n in (QUICK_HOSTS if options.quick else HOSTS) if n <= available]
    pool = [
        Cell(
            scenario="scaling",
            strategy="",
            hosts=n,
            pool=POOL,
            clients=options.clients or CLIENTS_PER_HOST * n,
            seconds=options.seconds or (QUICK_POOL_SECONDS if options.quick else SECONDS),
            params={"bound": "pool", "hold_ms": HOLD_MS, "app_cpus": POOL_CPUS, "app_pool_min": POOL},
        )
        for n in counts
    ]
    cpu = [
        Cell(
            scenario="scaling",
            strategy=strategy,
            hosts=n,
            clients=options.clients or CLIENTS_PER_HOST * n,
            seconds=options.seconds or (QUICK_SECONDS if options.quick else SECONDS),
            params={"bound": "cpu", "app_cpus": CPU_CPUS} | short_warmup(options),
        )
        for strategy in options.strategies or (() if options.quick else ("upsert",))
        for n in ((counts[0], counts[-1]) if options.quick else counts)
    ]
    closed = pool + cpu
    ends = () if options.quick else (counts[0], counts[-1])
    return closed + [open_cell(cell, options.seconds or OPEN_SECONDS) for cell in closed if cell.hosts in ends]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns a steady load through the load balancer."""
    cell = trial.cell
    body = {"key": "{key}", "hold_ms": HOLD_MS}
    hold = Operation(name="hold", path="/api/transaction", body=body, capture=("pool_wait_ms", "duration"))
    operation = hold if cell.params["bound"] == "pool" else increment(cell.strategy)
    return {"main": load(cell, operation, Keys(kind="cycle", prefix="scale", count=10_000))}


def check(measured: TrialRecord) -> Sequence[Finding]:
    """No update is lost, requests are spread evenly, and the rate does not exceed the pool's bound."""
    cell, requests, evidence = measured.cell, measured.requests, measured.evidence
    if cell.params["bound"] == "cpu":
        return [*check_counters(measured), check_spread(cell, requests, evidence, tolerance=0.2)]
    outcomes: Counter[str] = Counter()
    for (_, _, outcome), number in count_outcomes(requests).items():
        outcomes[outcome] += number
    ok, unknown = outcomes["ok"], outcomes["unknown"]
    applied = sum(evidence.final.values())
    rate, bound = measured.row.figure("rps") or 0.0, cell.hosts * cell.pool * 1000 / HOLD_MS
    return [
        finding(
            cell,
            names.FINAL_VALUE,
            (ok <= applied <= ok + unknown) if ok else "unknown",
            f"{applied:,} rows written for {ok:,} acknowledged and {unknown:,} unknown",
            lost=max(0, ok - applied),
        ),
        finding(
            cell,
            names.POOL_LIMIT,
            rate <= bound * 1.02 if rate else "unknown",
            f"{rate:,.0f} requests/s of at most {bound:,.0f} with {cell.hosts} x {cell.pool} connections",
        ),
        check_counts(cell, requests, evidence, op=None),
        check_spread(cell, requests, evidence, tolerance=0.2),
    ]


def judge(trials: Sequence[TrialRecord]) -> Sequence[Finding]:
    """Speed-ups relative to one host within each block: checked for the pool bound, reported for the CPU bound."""
    groups: dict[tuple[str, str], list[TrialRecord]] = defaultdict(list)
    for measured in trials:
        if measured.cell.rate_share is None:  # the rate of an open load is no result
            groups[str(measured.cell.params["bound"]), measured.cell.strategy].append(measured)
    findings = []
    for (bound, _), group in sorted(groups.items(), reverse=True):
        speedups = speed_ups(_rates(group))
        if bound == "cpu":
            findings.append(_cpu_bound(group, speedups))
        else:
            cells = {measured.cell.hosts: measured.cell for measured in group}
            findings += [_check_speed_up(cells[n], group, speedups.get(n)) for n in WANTED if n in cells]
    return findings


def _rates(trials: Sequence[TrialRecord]) -> dict[int, Blocks]:
    """Number of hosts -> requests per second by block."""
    counts = {measured.cell.hosts for measured in trials}
    return {n: by_block((m.row, m.row.figure("rps")) for m in trials if m.cell.hosts == n) for n in counts}


def _check_speed_up(cell: Cell, trials: Sequence[TrialRecord], speedup: SpeedUp | None) -> Finding:
    """The cell's pool-bound hosts reach the required multiple of one host's rate."""
    name, wanted = names.SPEED_UP.format(cell.hosts), WANTED[cell.hosts]
    if speedup is None:
        text = f"no block has valid trials with {cell.hosts} hosts and with one"
        return finding(cell, name, "unknown", text)
    text = (
        f"{speedup}; required: at least {wanted}x of one host (pool-bound: the number of {HOLD_MS} ms waits that the "
        f"pools allow, not the hosts' own work), each with a pool of {cell.pool}"
    )
    if never_steady(measured.row for measured in trials if measured.cell.hosts in (1, cell.hosts)):
        return finding(cell, name, "unknown", f"{UNSTEADY}: {text}")
    numbers = {"speedup": speedup.value, "efficiency": speedup.efficiency, "wanted": wanted}
    if interval := speedup.ratio.interval:
        numbers |= {"low": interval.low, "high": interval.high}
    reached = speedup.ratio.reaches(wanted)
    if reached is None:
        return finding(cell, name, "unknown", f"{speedup.ratio.doubt}: {text}", **numbers)
    return finding(cell, name, reached, text, **numbers)


def _cpu_bound(trials: Sequence[TrialRecord], speedups: Mapping[int, SpeedUp]) -> Finding:
    """The speed-ups of CPU-bound hosts and the bottleneck of the largest number of them.

    They are judged where each app host has its own cores, and only shown where hosts share them: more hosts then
    have no more processors.
    """
    cell = max(trials, key=lambda measured: (measured.row.valid, measured.cell.hosts)).cell
    if not speedups:
        return finding(cell, names.SPEED_UP_CPU, "unknown", "no block has a valid trial with one host")
    bottleneck = _bottleneck([m for m in trials if m.cell == cell and m.row.valid])
    values = "; ".join(f"{n} hosts {speedup}" for n, speedup in speedups.items() if n > 1) or "one host only"
    verdict, reason = _judge_cpu_bound(trials, speedups)
    return finding(
        cell,
        names.SPEED_UP_CPU,
        verdict,
        f"{values} ({reason}). Bottleneck with {plural(cell.hosts, 'host')}: {bottleneck}",
        speedup={n: speedup.value for n, speedup in speedups.items()},
        efficiency={n: speedup.efficiency for n, speedup in speedups.items()},
    )


def _judge_cpu_bound(trials: Sequence[TrialRecord], speedups: Mapping[int, SpeedUp]) -> tuple[Verdict, str]:
    """The verdict with its reason: each interval must be on one side of the multiple that is required."""
    if not all(measured.own_cores for measured in trials):
        return "shown", "not judged, shared cores"
    judged = {n: speedup.ratio for n, speedup in speedups.items() if n in WANTED}
    if not judged:
        return "shown", f"not judged: measured with none of {', '.join(map(str, WANTED))} hosts"
    required = ", ".join(f"{WANTED[n]}x with {n} hosts" for n in judged)
    reached = {
        n: ratio.reaches(WANTED[n])
        for n, ratio in judged.items()
        if ratio.interval or ratio.measured >= INTERVAL_BLOCKS
    }
    low = [n for n, reaches in reached.items() if reaches is False]
    open_ones = [n for n, reaches in reached.items() if reaches is None]
    if low:
        return "fail", f"required: {required}; not reached with {low[0]} hosts"
    if len(reached) < len(judged):
        return "shown", f"not judged: an interval needs {INTERVAL_BLOCKS} trials of each (--repeat {INTERVAL_BLOCKS})"
    if open_ones:
        return "unknown", f"required: {required}; with {open_ones[0]} hosts {judged[open_ones[0]].doubt}"
    return "pass", f"required: {required}"


def _bottleneck(trials: Sequence[TrialRecord]) -> str:
    """Returns the saturated parts in most of a cell's trials with telemetry, as the first of these describes them."""
    known = [m for m in trials if m.saturated is not None]
    if not known:
        return next((m.held_back for m in trials if m.held_back), "not known, because there is no telemetry")
    saturated, count = Counter(m.saturated for m in known).most_common(1)[0]
    text = next(m.held_back for m in known if m.saturated == saturated)
    return text if count == len(known) else f"{text} (in {count} of {len(known)} trials)"


def _repeat(cell: Cell) -> int:
    """Returns the trials of a cell: enough for an interval where its speed-up is judged, one of an open load."""
    if cell.rate_share is not None:
        return 1
    return INTERVAL_BLOCKS if cell.hosts in (1, *WANTED) else REPORTED_TRIALS


def label(cell: Cell) -> str:
    """Names a cell, such as `CPU-bound, upsert, 8 hosts`."""
    bound = "CPU" if cell.params.get("bound") == "cpu" else "pool"
    return joined(f"{bound}-bound", cell.strategy, plural(cell.hosts, "host"), open_label(cell))


SCENARIO = Scenario(
    name="scaling",
    question="Does throughput grow with the number of app hosts, and what limits it?",
    criteria=(
        "pool-bound (waits that the pools allow): at least 1.8x with 2 hosts, 3.5x with 4 and 7.0x with 8, relative to "
        "one host in the same repetition; unknown if the interval includes the bound",
        "latency at 70 % of the rate with an open load, with one host and with all (reported only)",
        "CPU-bound: the same where each app host has its own cores; else reported with its bottleneck",
        "no update is lost, requests are spread evenly, counts agree",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    judge=judge,
    works_without_samples=True,
    postgres_topic="connections, to which each app host adds its pool",
    repeat=_repeat,
)
