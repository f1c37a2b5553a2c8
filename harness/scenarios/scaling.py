"""From 1 to 8 app hosts, under two bounds.

Pool-bound: each request holds one of a host's connections for 20 ms on the server, so a host can do just
pool / 20 ms, whatever CPU there is; adding a host adds a pool. CPU-bound: quick increments with the app hosts
capped to a small share of a core. Containers of one machine share its cores, so only the first is judged; the
second is reported with what held it back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from harness.analysis.scaling_law import SpeedUp, speed_ups
from harness.analysis.stats import CLAIM_TRIALS
from harness.analysis.trial_validity import never_steady
from harness.checks.finding import finding
from harness.checks.traffic import check_counts, check_spread
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip, joined
from harness.record import TrialRecord, count_outcomes
from harness.scenarios.increment_workload import QUICK_SECONDS, UNSTEADY, check_counters, increment, load
from harness.text import plural

HOSTS = (1, 2, 3, 4, 6, 8)
QUICK_HOSTS = (1, 2, 4, 8)
QUICK_POOL_SECONDS = 1.8
"""A glance too, but one by which hosts are judged: in a second a hiccup of a tenth takes all that 1.8x leaves to 2x."""
WANTED = {2: 1.8, 4: 3.5, 8: 7.0}
SPEED_UP = "speed-up {} hosts"
"""The check that judges so many hosts against one."""
HOLD_MS = 20
POOL = 1
POOL_CPUS = 1.0
CPU_CPUS = 0.08
CLIENTS_A_HOST = 4
SECONDS = 2.0
UNJUDGED_TRIALS = 3


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Host counts x bounds; clients grow with the hosts, so each host always has work waiting.

    With --quick the bound that is only reported is measured with one host and with all.
    """
    most = site.serving(options.hosts, max(HOSTS))
    if not site.managed:
        raise Skip("hosts of a service that is not ours cannot be drained")
    if most < 2:
        raise Skip("needs 2 app hosts or more: ./run provision --hosts 8")
    counts = [n for n in (QUICK_HOSTS if options.quick else HOSTS) if n <= most]
    pool = [
        Cell(
            scenario="scaling",
            strategy="",
            hosts=n,
            pool=POOL,
            clients=options.clients or CLIENTS_A_HOST * n,
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
            clients=options.clients or CLIENTS_A_HOST * n,
            seconds=options.seconds or (QUICK_SECONDS if options.quick else SECONDS),
            params={"bound": "cpu", "app_cpus": CPU_CPUS},
        )
        for strategy in options.strategies or ("upsert",)
        for n in ((counts[0], counts[-1]) if options.quick else counts)
    ]
    return pool + cpu


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Steady load over the load balancer."""
    cell = trial.cell
    body = {"key": "{key}", "hold_ms": HOLD_MS}
    hold = Operation(name="hold", path="/api/transaction", body=body, capture=("pool_wait_ms",))
    operation = hold if cell.params["bound"] == "pool" else increment(cell.strategy)
    return {"main": load(cell, operation, Keys(kind="cycle", prefix="scale", count=10_000))}


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Nothing lost, evenly spread, and never faster than the bound allows."""
    cell, requests, evidence = measured.cell, measured.requests, measured.evidence
    if cell.params["bound"] == "cpu":
        return [*check_counters(measured), check_spread(cell, requests, evidence, tolerance=0.2)]
    ended: Counter[str] = Counter()
    for (_, _, outcome), number in count_outcomes(requests).items():
        ended[outcome] += number
    ok, unknown = ended["ok"], ended["unknown"]
    applied = sum(evidence.final.values())
    rate, most = measured.row.figure("rps") or 0.0, cell.hosts * cell.pool * 1000 / HOLD_MS
    return [
        finding(
            cell,
            "final value",
            (ok <= applied <= ok + unknown) if ok else "unknown",
            f"{applied:,} rows written for {ok:,} acknowledged and {unknown:,} unknown",
            lost=max(0, ok - applied),
        ),
        finding(
            cell,
            "pool is the bound",
            rate <= most * 1.02 if rate else "unknown",
            f"{rate:,.0f} requests/s of the {most:,.0f} that {cell.hosts} x {cell.pool} connections allow",
        ),
        check_counts(cell, requests, evidence, op=None),
        check_spread(cell, requests, evidence, tolerance=0.2),
    ]


def judge(trials: Sequence[TrialRecord]) -> Sequence[Finding]:
    """Speed-ups over one host: judged for the pool bound, reported for the CPU bound."""
    lines: dict[tuple[str, str], list[TrialRecord]] = defaultdict(list)
    for measured in trials:
        lines[str(measured.cell.params["bound"]), measured.cell.strategy].append(measured)
    findings = []
    for (bound, _), line_trials in sorted(lines.items(), reverse=True):
        known = [m.cell for m in line_trials]
        rates: dict[int, list[float]] = defaultdict(list)
        for measured in line_trials:
            rate = measured.row.figure("rps")
            if rate is not None and measured.row.valid:
                rates[measured.cell.hosts].append(rate)
        ups = speed_ups(rates)
        if bound == "cpu":
            cell = max(line_trials, key=lambda m: (m.row.valid, m.cell.hosts)).cell
            if not ups:
                findings.append(finding(cell, "cpu-bound speed-up", "unknown", "no valid trial with one host"))
                continue
            what = _held_back([m for m in line_trials if m.cell == cell and m.row.valid])
            line = "; ".join(f"{n} hosts {up}" for n, up in ups.items() if n > 1)
            text = f"{line or 'one host only'} (reported, not judged). What held {cell.hosts} hosts back: {what}"
            findings.append(finding(cell, "cpu-bound speed-up", "pass", text, **_numbers(ups)))
            continue
        for n, wanted in WANTED.items():
            at = next((c for c in known if c.hosts == n), None)
            if at is None:
                continue
            if n not in ups:
                findings.append(finding(at, SPEED_UP.format(n), "unknown", "no valid trial, or none with one host"))
                continue
            up = ups[n]
            text = f"{up}; of one host at least {wanted}x is wanted, each bound by its pool of {at.pool}"
            if never_steady(m.row for m in line_trials if m.cell.hosts in (1, n)):
                text += UNSTEADY
            numbers = {"speedup": up.value, "efficiency": up.efficiency, "wanted": wanted}
            if up.interval:
                numbers |= {"low": up.interval.low, "high": up.interval.high}
            findings.append(finding(at, SPEED_UP.format(n), up.value >= wanted, text, **numbers))
    return findings


def _numbers(ups: Mapping[int, SpeedUp]) -> dict[str, dict[int, float]]:
    return {
        "speedup": {n: up.value for n, up in ups.items()},
        "efficiency": {n: up.efficiency for n, up in ups.items()},
    }


def _held_back(trials: Sequence[TrialRecord]) -> str:
    """What was saturated in most of a cell's valid trials of which that is known, in the words of the first of them."""
    known = [m for m in trials if m.saturated is not None]
    if not known:
        return next((m.held_back for m in trials if m.held_back), "not known, because there is no telemetry")
    most, times = Counter(m.saturated for m in known).most_common(1)[0]
    said = next(m.held_back for m in known if m.saturated == most)
    return said if times == len(known) else f"{said} (so in {times} of {len(known)} trials)"


def label(cell: Cell) -> str:
    """Names a cell, such as `CPU-bound, upsert, 8 hosts`."""
    bound = "CPU" if cell.params.get("bound") == "cpu" else "pool"
    return joined(f"{bound}-bound", cell.strategy, plural(cell.hosts, "host"))


SCENARIO = Scenario(
    name="scaling",
    question="Does throughput grow with the number of app hosts, and what limits it?",
    criteria=(
        "pool-bound: at least 1.8x with 2 hosts, 3.5x with 4 and 7.0x with 8, relative to one host",
        "CPU-bound: reported with its bottleneck",
        "no update is lost, requests are spread evenly, counts agree",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    judge=judge,
    works_without_samples=True,
    postgres_topic="connections, of which each app host adds its pool",
    repeat=lambda cell: CLAIM_TRIALS if cell.params["bound"] == "pool" else UNJUDGED_TRIALS,
)
