"""More than 100 clients at once; then more pool connections than the server grants.

`open`: 150 clients at once on a small pool, all served. `past-limit`: for two seconds a second lane holds more
connections than the server has (hosts x pool > max_connections), while increments continue. They may be rejected,
but cleanly (not applied), none may be lost, and after the pressure the service must recover by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.checks import names
from harness.checks.finding import finding
from harness.checks.traffic import check_acknowledged, closed_while_idle, idle_cause
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip
from harness.record import Samples, TrialRecord, count_outcomes
from harness.scenarios.increment_workload import check_counters, increment
from harness.text import plural

CLIENTS = 150
MORE_THAN = 100
"""Open connections that the criterion asks to exceed."""
SECONDS, QUICK_SECONDS = 3.0, 1.0
PAST = 1.5
"""Ratio of all pools' connections to max_connections."""
PRESSURE_S = 2.0
WAIT_S = 1
"""The pool's wait timeout."""
HOLD_S = WAIT_S + 1.0
"""Longer than the pool's wait timeout, so a queued request always times out, on any machine."""
RECOVERY_S = 3.0
"""Time after the pressure in which increments may still be rejected."""
MARGIN_S, QUICK_MARGIN_S = 5.0, 2.0
"""Time for increments after that, also on a machine on which the pressure ends some seconds late."""
TOO_MANY, UNAVAILABLE = "53300", 503
"""SQLSTATE too_many_connections, and the status with which the service reports it."""
RATE = 40.0
OPEN_CLIENTS = 200
"""At this rate each connection is used every few seconds, so the load balancer does not close it as idle."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans `open` and `past-limit`."""
    if not site.managed:
        raise Skip("cannot set the pool size of an external service")
    hosts = site.serving(options.hosts, 4)
    return [
        Cell(
            scenario="connections",
            hosts=hosts,
            clients=options.clients or CLIENTS,
            seconds=options.seconds or (QUICK_SECONDS if options.quick else SECONDS),
            params={"load": "open"},
        ),
        Cell(
            scenario="connections",
            hosts=hosts,
            pool=int(site.connections * PAST / hosts) + 1,
            mode="open",
            clients=OPEN_CLIENTS,
            rate=RATE,
            seconds=PRESSURE_S + WAIT_S + HOLD_S + RECOVERY_S + (QUICK_MARGIN_S if options.quick else MARGIN_S),
            params={"load": "past-limit", "app_pool_wait_seconds": WAIT_S, "app_cpus": 1.0},
        ),
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns increments; past the limit, also transactions that hold more connections than the server has."""
    cell = trial.cell
    main = LoadSpec(
        mode=cell.mode,
        clients=cell.clients,
        rate=cell.rate,
        seconds=cell.seconds,
        keys=Keys(kind="cycle", prefix="open", count=1000),
        operations=(increment(cell.strategy, idempotency=True),),
    )
    if cell.params["load"] == "open":
        return {"main": main}
    body = {"key": "{key}", "hold_ms": int(HOLD_S * 1000)}
    hold = Operation(name="hold", path="/api/transaction", body=body, capture=("duration",))
    pressure = LoadSpec(
        mode="closed",
        clients=cell.hosts * cell.pool,
        seconds=PRESSURE_S,
        keys=Keys(kind="cycle", prefix="pressure", count=1_000_000),
        operations=(hold,),
    )
    return {"main": main, "pressure": pressure}


def check(measured: TrialRecord) -> Sequence[Finding]:
    """No update is lost in either cell; all requests are served, or rejected cleanly until the service recovers."""
    cell, samples = measured.cell, measured.main
    if cell.params["load"] == "open":
        return [
            check_acknowledged(cell, samples, expected=len(samples)),
            _peak(cell, samples),
            *check_counters(measured),
        ]
    pressure = measured.lanes["pressure"]
    return [
        _check_rejections(cell, samples, pressure),
        _recovery(cell, samples, pressure),
        *check_counters(measured, others=count_outcomes(pressure)),
    ]


def _peak(cell: Cell, samples: Samples) -> Finding:
    """Enough requests were in flight at the same time."""
    events = sorted([(t, 1) for t in samples.sent_us] + [(t, -1) for t in samples.done_us])
    in_flight = peak = 0
    for _, step in events:
        in_flight += step
        peak = max(peak, in_flight)
    text = f"{peak} requests were in flight at the same time"
    if cell.clients <= MORE_THAN:
        text += f"; the criterion needs more than {MORE_THAN} --clients"
        return finding(cell, names.CONCURRENT_REQUESTS, "unknown", text, peak=peak)
    return finding(cell, names.CONCURRENT_REQUESTS, peak >= cell.clients, text, peak=peak)


def _check_rejections(cell: Cell, samples: Samples, pressure: Samples) -> Finding:
    """Some requests were rejected, each cleanly, and those for lack of a connection with the right status."""
    name = names.CLEAN_REFUSAL
    rejected = [
        result
        for lane in (samples, pressure)
        for result in zip(lane.outcome, lane.error, lane.status, strict=True)
        if result[0] != "ok"
    ]
    kinds = Counter(error for _, error, _ in rejected)
    idle = sum(closed_while_idle(lane, row) for lane in (samples, pressure) for row in range(len(lane)))
    unknown = sum(1 for outcome, _, _ in rejected if outcome == "unknown") - idle
    wrong_status = Counter(status for _, error, status in rejected if error == TOO_MANY and status != UNAVAILABLE)
    counts = ", ".join(f"{count:,} x {kind}" for kind, count in kinds.most_common(4)) or "none"
    if unknown:
        text = f"{unknown:,} of {len(samples) + len(pressure):,} requests ended unknown: {counts}"
        return finding(cell, name, "fail", text, kinds=dict(kinds))
    if wrong_status:
        ((status, count),) = wrong_status.most_common(1)
        text = f"{count:,} x {TOO_MANY} were answered with status {status}, not {UNAVAILABLE}"
        return finding(cell, name, "fail", text, kinds=dict(kinds))
    if idle:
        return finding(cell, name, "unknown", idle_cause(idle), kinds=dict(kinds))
    if not rejected:
        text = f"no request was rejected although the pools may open {cell.hosts * cell.pool} connections"
        return finding(cell, name, "unknown", text)
    text = f"{len(rejected):,} requests were rejected and not applied: {counts}"
    if not kinds[TOO_MANY]:
        return finding(cell, name, "unknown", f"{text}; none with {TOO_MANY}", kinds=dict(kinds))
    return finding(cell, name, "pass", f"{text}; {TOO_MANY} as {UNAVAILABLE}", kinds=dict(kinds))


def _recovery(cell: Cell, samples: Samples, pressure: Samples) -> Finding:
    """All increments are served that are due `RECOVERY_S` or more after the last held connection was released."""
    recovered_us = max(pressure.done_us) + RECOVERY_S * 1e6
    later = [r for r in range(len(samples)) if samples.due_us[r] >= recovered_us]
    rejected = sum(samples.outcome[r] != "ok" for r in later)
    if not later:
        return finding(cell, names.RECOVERY, "unknown", f"no increment was due {RECOVERY_S:g} s after the pressure")
    text = f"{len(later) - rejected} of {len(later)} increments due {RECOVERY_S:g} s after the pressure were served"
    idle = sum(closed_while_idle(samples, r) for r in later)
    if idle and idle == rejected:
        return finding(cell, names.RECOVERY, "unknown", f"{text}: {idle_cause(idle)}")
    return finding(cell, names.RECOVERY, not rejected, text)


def label(cell: Cell) -> str:
    """Names a cell: the number of clients, or the load beyond max_connections."""
    if cell.params.get("load") == "past-limit":
        return "more pool connections than max_connections"
    return f"{plural(cell.clients, 'client')} at once"


SCENARIO = Scenario(
    name="connections",
    question="Are more than 100 open connections served, and what happens beyond the server's max_connections?",
    criteria=(
        "more than 100 connections are open at once and all are served",
        "beyond max_connections: rejections are clean (503, not applied), the service recovers, no update is lost",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    exceeds_connections=lambda cell: cell.params["load"] == "past-limit",
    timing_matters=False,
    postgres_topic="max_connections",
)
