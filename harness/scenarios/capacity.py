"""The highest rate at which increments hold an SLO and none is lost, found by a search over open loads.

A closed load on 1,000 keys gives the order of magnitude (or --rate does). Then each trial sends an open load at the
rate that harness/analysis/capacity_search.py proposes from the results so far. A trial holds if all limits of the SLO
hold over its window and the service kept up with the load: a queue that grows all the time meets any limit for a while.

A trial that the load generator limited does not count; its updates are checked all the same. Where the search meets the
generator's limit before the service's, what held is a lower bound and not a capacity.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.analysis.capacity_search import Capacity
from harness.analysis.capacity_steps import EFFORTS, Steps, held, keeps_up, samples_of, searches
from harness.analysis.slo import Slo
from harness.checks import names
from harness.checks.counter_oracle import check_final_value
from harness.checks.finding import finding, losses
from harness.checks.traffic import check_transactions
from harness.load.spec import LoadSpec
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip, backend_name, joined
from harness.record import TrialRecord, TrialResult
from harness.scenarios.increment_workload import backends, check_counters, increment, keys, load, strategies
from harness.text import plural

DEFAULT_SLO = "p99:50ms,errors:0.1%"
CLIENTS = 64
"""Of the closed load."""
CONNECTIONS = 1000
"""Most connections of an open load."""
SECONDS, QUICK_SECONDS = 10.0, 4.0
KEYS = "1000"
KNEE = 1.15
"""Trials up to this multiple of the capacity show what was saturated at the knee."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans the first trial of each search: a closed load, or an open one at --rate. Raises Skip."""
    if options.repeat or options.aa:
        raise Skip("a search decides itself how often it measures: leave out --repeat and --aa")
    slo = options.slo or Slo.parse("slo", DEFAULT_SLO)
    if options.requests is not None:
        raise Skip(f"--requests {options.requests:,}: capacity needs windows of a fixed time: use --seconds")
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    return [
        Cell(
            scenario="capacity",
            backend=backend,
            strategy=strategy,
            hosts=site.serving(options.hosts, site.hosts),
            mode=options.mode,
            clients=options.clients or (CLIENTS if options.rate is None else CONNECTIONS),
            rate=options.rate,
            seconds=seconds,
            params={"keys": KEYS, "slo": str(slo), "effort": "quick" if options.quick else "full"},
        )
        for backend in backends(options, site, ("postgres",))
        for strategy in strategies(options, site, backend, ("upsert",))
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns a steady load after a warm-up."""
    cell = trial.cell
    return {"main": load(cell, increment(cell.strategy), keys(KEYS))}


def next_cells(results: Sequence[TrialResult]) -> list[Cell]:
    """Returns the next rate of each search that has not ended."""
    following = []
    for steps in searches(results):
        rate = steps.search().next_rate()
        if rate is not None:
            cell = steps.rows[0].cell
            following.append(replace(cell, mode="open", clients=CONNECTIONS, rate=rate, seconds=steps.seconds(rate)))
    return following


def most_trials(cell: Cell) -> int:
    """Returns the most trials of a search, the closed load included."""
    return EFFORTS[cell.params["effort"]].most + (cell.mode == "closed")


def check(measured: TrialRecord) -> Sequence[Finding]:
    """No update is lost at any rate, and transactions are counted alike."""
    findings = check_counters(measured)
    if measured.cell.backend == "postgres":
        findings.append(check_transactions(measured.cell, measured.requests, measured.evidence))
    return findings


def extract(measured: TrialRecord) -> Mapping[str, float]:
    """Returns the number of lost updates where it is known."""
    if names.FINAL_VALUE in measured.evidence.not_applicable or measured.evidence.unread:
        return {}
    found = check_final_value(measured.cell, measured.requests, measured.evidence)
    lost = losses([found])
    return {} if lost is None or (measured.evidence.missing_hosts and not lost) else {"lost": float(lost)}


def judge(trials: Sequence[TrialRecord]) -> Sequence[Finding]:
    """The capacity of each search, and what was saturated where it ends."""
    findings = []
    for steps in searches([measured.row for measured in trials]):
        orders = {row.trial.order for row in steps.rows}
        own = [measured for measured in trials if measured.row.trial.order in orders]
        capacity = steps.search().capacity()
        findings += [_capacity(steps, capacity, own), _knee(steps, capacity, own)]
    return findings


def _capacity(steps: Steps, capacity: Capacity, trials: Sequence[TrialRecord]) -> Finding:
    """Passes with a capacity, fails where no rate holds or an update was lost; a lower bound is unknown."""
    slo = steps.slo
    numbers = {
        "kind": capacity.kind, "rate": capacity.rate, "low": capacity.low, "high": capacity.high, "slo": str(slo),
        "trials_held": capacity.held, "trials_broken": capacity.broken, "trials_uncounted": capacity.uncounted,
    }  # fmt: skip
    cell = _nearest(steps, capacity.rate).cell
    lost = [(measured.extracted.get("lost", 0.0), measured.cell) for measured in trials]
    if (worst := max(lost, key=lambda pair: pair[0]))[0]:
        text = f"no capacity: {plural(int(worst[0]), 'acknowledged update')} lost in the trial {label(worst[1])}"
        return finding(worst[1], names.CAPACITY, "fail", text, **numbers | {"kind": "none"})
    counted = plural(capacity.held + capacity.broken, "trial")
    tried = f"{counted}, {capacity.held} held" + _aside(steps, capacity)
    between = f"[{_rate(capacity.low)}, {_rate(capacity.high)}]"
    if capacity.kind == "none":
        row = _nearest(steps, capacity.rate)
        text = f"no rate holds {slo}: at {_rate(capacity.rate)} requests/s, the lowest one tried, {_reason(row, slo)}"
        more = f"longer --seconds allow lower rates: a trial needs {samples_of(slo):,} requests"
        return finding(cell, names.CAPACITY, "fail", f"{text} ({tried}; {more})", **numbers)
    if capacity.kind == "at least":
        text = (
            f"at least {_rate(capacity.rate)} requests/s hold {slo}; the capacity is not known, because higher rates "
            f"were not reached: {_limit(steps)} ({tried})"
        )
        return finding(cell, names.CAPACITY, "unknown", text, **numbers)
    if capacity.kind == "unclear" or not capacity.finished:
        why = "the trials do not decide" if capacity.finished else "the search was not finished"
        text = f"{why}: the rate that holds {slo} may be anywhere within {between} requests/s ({tried})"
        if capacity.uncounted > capacity.held + capacity.broken:
            text += f"; most trials do not count, such as: {_limit(steps)}"
        return finding(cell, names.CAPACITY, "unknown", text, **numbers | {"kind": "unclear"})
    safe = "no update lost" if all("lost" in m.extracted for m in trials) else "lost updates were not checked"
    text = f"{_rate(capacity.rate)} {between} requests/s hold {slo}, {safe} (95 % interval, {tried})"
    return finding(cell, names.CAPACITY, "pass", text, **numbers)


def _aside(steps: Steps, capacity: Capacity) -> str:
    """Trials that do not count or began unsteady, as a part of a sentence."""
    unsteady = sum(row.steady is False for row in steps.probes if held(row, steps.slo) is not None)
    return "".join(
        f", {count} {what}" for count, what in ((capacity.uncounted, "did not count"), (unsteady, "began unsteady"))
        if count
    )  # fmt: skip


def _limit(steps: Steps) -> str:
    """Why the highest trial that does not count does not."""
    out = [row for row in steps.probes if held(row, steps.slo) is None]
    if not out:
        return "the search tries no higher ones"
    row = max(out, key=lambda row: row.cell.rate or 0.0)
    return row.reason or _reason(row, steps.slo)


def _reason(row: TrialResult, slo: Slo) -> str:
    """Which limits a trial breaks."""
    broken = [str(result) for result in slo.results(row.figures) if result.held is not True]
    if not broken and keeps_up(row) is False:
        return "the service did not keep up: its queue grew during the whole window"
    return "; ".join(broken) or "its rate was not measured"


def _nearest(steps: Steps, rate: float) -> TrialResult:
    """The trial whose rate is nearest; the closed load where there is no other."""
    return min(steps.probes or steps.rows, key=lambda row: abs(math.log((row.cell.rate or 1.0) / rate)))


def _knee(steps: Steps, capacity: Capacity, trials: Sequence[TrialRecord]) -> Finding:
    """What was saturated in the trials at the capacity and a little above; never fails."""
    cell = _nearest(steps, capacity.rate).cell
    if capacity.kind != "found":
        return finding(cell, names.AT_THE_KNEE, "shown", "not known, because there is no capacity")
    near = [m for m in trials if m.cell.rate and capacity.low <= m.cell.rate <= KNEE * capacity.high]
    known = [m for m in near if m.saturated is not None]
    if not known:
        reason = next((m.held_back for m in near if m.held_back), "not known, because there is no telemetry")
        return finding(cell, names.AT_THE_KNEE, "shown", reason)
    broken = [m for m in known if held(m.row, steps.slo) is False] or known
    saturated, count = Counter(m.saturated for m in broken).most_common(1)[0]
    text = next(m.held_back for m in broken if m.saturated == saturated)
    more = "" if count == len(broken) else f" (in {count} of {len(broken)} trials)"
    return finding(cell, names.AT_THE_KNEE, "shown", text + more, saturated=list(saturated or ()))


def _rate(rate: float) -> str:
    return f"{float(f'{rate:.3g}'):,g}"


def label(cell: Cell) -> str:
    """Names a cell, such as `PostgreSQL, upsert, 2,500 requests/s`."""
    load = f"{cell.rate:,g} requests/s" if cell.rate else f"closed load of {plural(cell.clients, 'client')}"
    return joined(backend_name(cell), cell.strategy, load)


SCENARIO = Scenario(
    name="capacity",
    question="How many requests per second hold a service level objective (--slo), without a lost update?",
    criteria=(
        f"the highest rate that holds the SLO (default: {DEFAULT_SLO}), with a 95 % interval; fails where none does, "
        "unknown where the load generator was the limit",
        "no update is lost at any rate, counts agree",
        "what was saturated at the knee (reported only)",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    judge=judge,
    extract=extract,
    next_cells=next_cells,
    most_trials=most_trials,
    in_suite=False,
    timing_matters=False,  # a trial that the generator limited does not count for the search, but for the oracle
    works_without_samples=True,
    background=(
        "Each trial sends requests at a fixed rate, whether or not earlier ones were answered, and holds if the whole "
        "window holds every limit and the service kept up. Near the capacity a trial holds by chance, so the rate of "
        "the next trial follows from all trials so far, and the interval comes from all of them. At the capacity "
        "itself every second trial holds: to rely on a rate, stay below the lower end of the interval."
    ),
)
"""Its trials are planned one after the other, from the results so far."""
