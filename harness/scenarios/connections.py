"""More clients than a naive tier could hold; then more pool connections than the server grants.

`open`: 150 clients at once on a small pool, all served. `past-limit`: for two seconds a second lane holds
connections that the server does not have (hosts x pool > max_connections), while increments go on arriving:
they may be refused, but cleanly (surely not applied), none may be lost, and when the pressure is gone the
service must recover by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.checks.finding import finding
from harness.checks.traffic import check_acknowledged
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip
from harness.record import Samples, TrialRecord
from harness.scenarios.increment_workload import check_counters, increment
from harness.text import plural

CLIENTS = 150
MORE_THAN = 100
SECONDS = 3.0
PAST = 1.5
"""The pools together are this many times max_connections."""
PRESSURE_S = 2.0
WAIT_S = 1
"""How long a request may stand in line for a connection of the pool."""
HOLD_S = WAIT_S + 1.0
"""Longer than the line is patient: who finds no connection at first finds none in time, on however fast a machine."""
RECOVERY_S = 3.0
"""After the pressure: so long may refusals go on."""
TOO_MANY, UNAVAILABLE = "53300", 503
"""The SQLSTATE of a server that grants no more connections, and the status with which the service says so."""
RATE = 40.0
OPEN_CLIENTS = 200
"""Each is used every few seconds at this rate: no load balancer takes it for a connection that nobody needs."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """open and past-limit."""
    if not site.managed:
        raise Skip("the pool's size of a service that is not ours cannot be set")
    hosts = site.serving(options.hosts, 4)
    return [
        Cell(
            scenario="connections",
            hosts=hosts,
            clients=options.clients or CLIENTS,
            seconds=options.seconds or SECONDS,
            params={"load": "open"},
        ),
        Cell(
            scenario="connections",
            hosts=hosts,
            pool=int(site.connections * PAST / hosts) + 1,
            mode="open",
            clients=OPEN_CLIENTS,
            rate=RATE,
            seconds=PRESSURE_S + WAIT_S + HOLD_S + RECOVERY_S + 2.0,
            params={"load": "past-limit", "app_pool_wait_seconds": WAIT_S, "app_cpus": 1.0},
        ),
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Increments; past the limit, beside transactions that hold more connections than there are."""
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
    hold = Operation(name="hold", path="/api/transaction", body={"key": "{key}", "hold_ms": int(HOLD_S * 1000)})
    pressure = LoadSpec(
        mode="closed",
        clients=cell.hosts * cell.pool,
        seconds=PRESSURE_S,
        keys=Keys(kind="cycle", prefix="pressure", count=1_000_000),
        operations=(hold,),
    )
    return {"main": main, "pressure": pressure}


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Nothing lost in either; all served, or cleanly refused and recovered."""
    cell, samples = measured.cell, measured.main
    evidence = measured.evidence
    if cell.params["load"] == "open":
        return [
            check_acknowledged(cell, samples, expected=len(samples)),
            _peak(cell, samples),
            *check_counters(measured),
        ]
    pressure = measured.lanes["pressure"]
    quick = TrialRecord(
        row=measured.row,
        lanes={"main": samples},
        evidence=replace(
            evidence,
            final={key: value for key, value in evidence.final.items() if not key.startswith("pressure")},
        ),
    )
    return [_refusals(cell, samples, pressure), _recovery(cell, samples, pressure), *check_counters(quick)]


def _peak(cell: Cell, samples: Samples) -> Finding:
    """The most requests in flight at one instant, as sent and done say."""
    events = sorted([(t, 1) for t in samples.sent_us] + [(t, -1) for t in samples.done_us])
    now = most = 0
    for _, step in events:
        now += step
        most = max(most, now)
    text = f"{most} requests were in flight at one instant"
    if cell.clients <= MORE_THAN:
        return finding(cell, "open at once", "unknown", f"{text}, more than {MORE_THAN} were not asked for", peak=most)
    return finding(cell, "open at once", most >= cell.clients, text, peak=most)


def _refusals(cell: Cell, samples: Samples, pressure: Samples) -> Finding:
    """There were some, each was clean, and those for want of a connection were called what they are."""
    name = "clean refusal"
    answers = [
        answer
        for lane in (samples, pressure)
        for answer in zip(lane.outcome, lane.error, lane.status, strict=True)
        if answer[0] != "ok"
    ]
    kinds = Counter(error for _, error, _ in answers)
    unknown = sum(1 for outcome, _, _ in answers if outcome == "unknown")
    other = Counter(status for _, error, status in answers if error == TOO_MANY and status != UNAVAILABLE)
    said = ", ".join(f"{count:,} x {kind}" for kind, count in kinds.most_common(4)) or "none"
    if unknown:
        text = f"{unknown:,} of {len(samples) + len(pressure):,} requests ended unknown: {said}"
        return finding(cell, name, "fail", text, kinds=dict(kinds))
    if other:
        (status, count), *_ = other.most_common(1)
        text = f"{count:,} x {TOO_MANY} were answered with status {status}, not {UNAVAILABLE}"
        return finding(cell, name, "fail", text, kinds=dict(kinds))
    if not answers:
        text = f"nothing was refused although the pools ask for {cell.hosts * cell.pool} connections"
        return finding(cell, name, "unknown", text)
    text = f"{len(answers):,} requests were refused, each surely not applied: {said}"
    if not kinds[TOO_MANY]:
        return finding(cell, name, "unknown", f"{text}; none because of {TOO_MANY}", kinds=dict(kinds))
    return finding(cell, name, "pass", f"{text}; {TOO_MANY} as {UNAVAILABLE}", kinds=dict(kinds))


def _recovery(cell: Cell, samples: Samples, pressure: Samples) -> Finding:
    """All increments due some seconds after the last held connection was given back are served."""
    over = max(pressure.done_us) + RECOVERY_S * 1e6
    late = [r for r in range(len(samples)) if samples.due_us[r] >= over]
    bad = [r for r in late if samples.outcome[r] != "ok"]
    if not late:
        return finding(cell, "recovery", "unknown", "no increment was due after the pressure was over")
    text = f"{len(late) - len(bad)} of {len(late)} increments served from {RECOVERY_S:g} s after the pressure on"
    return finding(cell, "recovery", "fail" if bad else "pass", text)


def label(cell: Cell) -> str:
    """Names a cell: the clients at once, or the load beyond max_connections."""
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
