"""Crossed updates: detected, one victim a pair, the survivor commits; and the service's retry saves both.

Two kinds of cell. `driver`: sessions of our own on the database, 1 and 20 pairs at once, stepped by observed
blocking (harness/isolation). `service`: two lanes of requests that take two rows in opposite orders, with and
without the service's retry. The clients', pg_stat_database's and the server log's counts must agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.checks.finding import finding
from harness.checks.traffic import check_counts
from harness.isolation.findings import findings_deadlocks
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding, Trial, Verdict
from harness.plan.options import BenchRequest
from harness.plan.scenario import RemoteWorkload, Scenario, Site, Workload
from harness.record import TrialRecord

PAIRS = 20
MEET = 15
"""So many of them must really deadlock: fewer show little. Some miss each other where a machine is busy."""
POOL = 25
"""Of a host, for an even share of 20 requests and a few: the load balancer's turns are not that exact."""
APP_CPUS = 1.0
SERVER = {"statistics": "pg_stat_database", "log": "server log"}
"""Who counts deadlocks on the server's side."""
HOLD_MS = 500
"""After each lock, so that both of a pair have their first row before either asks for its second."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """The driver's pairs; then the service without and with retry."""
    site.need(database=True)
    hosts = site.serving(options.hosts, 2)
    most = min(POOL, (site.connections - site.reserved) // hosts)
    pool = max(1, most // site.workers) * site.workers
    driver = Cell(scenario="deadlocks", strategy="", hosts=1, params={"through": "driver"})
    service = [
        Cell(
            scenario="deadlocks",
            strategy="",
            hosts=hosts,
            pool=pool,
            clients=2 * PAIRS,
            requests=2 * PAIRS,
            params={"through": "service", "retry": retry, "app_cpus": APP_CPUS, "app_pool_min": pool},
        )
        for retry in (False, True)
    ]
    return [driver, *(service if site.managed else [])]


def workload(trial: Trial) -> Workload:
    """Sessions of our own, or two lanes that cross."""
    params = trial.cell.params
    if params["through"] == "driver":
        return RemoteWorkload(role="load", module="harness.isolation", job={"what": "deadlocks", "pairs": [1, PAIRS]})

    def lane(first: str, second: str) -> LoadSpec:
        body = {"keys": [f"{{key}}{first}", f"{{key}}{second}"], "hold_ms": HOLD_MS, "retry": params["retry"]}
        return LoadSpec(
            mode="closed",
            clients=PAIRS,
            requests=PAIRS,
            timeout_s=60.0,
            keys=Keys(kind="cycle", prefix="pair", count=PAIRS),
            operations=(Operation(name="cross", path="/api/transaction", body=body, capture=("retries",)),),
        )

    return {"main": lane("a", "b"), "crossed": lane("b", "a")}


def check(measured: TrialRecord) -> Sequence[Finding]:
    """The driver's findings, or the service's pairs; both against what the server counted."""
    evidence = measured.evidence
    if measured.cell.params["through"] == "driver":
        log = evidence.deadlocks.log if evidence.deadlocks else None
        return findings_deadlocks(evidence.workload_result or {}, log_count=log)
    return _service(measured)


def _service(measured: TrialRecord) -> list[Finding]:
    cell, evidence = measured.cell, measured.evidence
    lanes = [measured.main, measured.lanes["crossed"]]
    victims: dict[str, int] = {}
    committed: dict[str, int] = {}
    perhaps: dict[str, int] = {}
    strange: list[str] = []
    for samples in lanes:
        for key, outcome, error in zip(samples.key, samples.outcome, samples.error, strict=True):
            committed[key] = committed.get(key, 0) + (outcome == "ok")
            perhaps[key] = perhaps.get(key, 0) + (outcome == "unknown")
            if outcome == "fail" and "40P01" in error:
                victims[key] = victims.get(key, 0) + 1
            elif outcome != "ok":
                strange.append(f"{key}: {outcome} {error}")
    wrong = [
        f"row {key}{row} holds {evidence.final.get(f'{key}{row}', 0)} after {count} commits"
        for key, count in committed.items()
        for row in "ab"
        if not count <= evidence.final.get(f"{key}{row}", 0) <= count + perhaps[key]
    ]
    again: Counter[str] = Counter()
    for samples in lanes:
        for key, times in zip(samples.key, samples.captured.get("retries", ()), strict=False):
            again[key] += round(times) if times > 0 else 0
    retries = again.total()
    clients = retries + sum(victims.values())
    counted = {name: n for name in SERVER if (n := getattr(evidence.deadlocks, name, None)) is not None}
    both = sum(1 for count in committed.values() if count == 2)
    one = sum(1 for key, count in committed.items() if count == 1 and victims.get(key) == 1)
    apart = sum(1 for key, count in committed.items() if count == 2 and key not in victims)
    if cell.params["retry"]:
        good, met = both == PAIRS and retries > 0, len(+again)
        text = f"both requests of {both} of {PAIRS} pairs committed after {retries} retries"
        text += f"; {sum(victims.values())} requests were answered 40P01 all the same" if victims else ""
    else:
        good, met = one > 0 and one + apart == PAIRS, one
        text = f"exactly one victim (40P01) and one commit in each of {one} pairs that crossed"
        text += f"; {apart} of {PAIRS} pairs did not meet" if apart else ""
    if met < MEET:
        text += f"; {MEET} at least must meet to show something"
    verdict: Verdict = "fail" if strange or not good else "pass" if met >= MEET else "unknown"
    told = [f"{name} {counted.get(key, 'not read')}" for key, name in SERVER.items()]
    agree = all(counted.get(key, clients) == clients for key in SERVER)
    return [
        finding(
            cell,
            "retry saves both" if cell.params["retry"] else "one victim a pair",
            verdict,
            text + (f"; {strange[0]}" if strange else ""),
            pairs=PAIRS,
            retries=retries,
        ),
        finding(
            cell,
            "survivors are applied",
            "fail" if wrong else "pass" if any(committed.values()) else "unknown",
            wrong[0] if wrong else f"{sum(committed.values())} commits, each on both its rows, no victim's update",
        ),
        finding(
            cell,
            "deadlocks counted alike",
            "fail" if not agree else "pass" if SERVER.keys() <= counted.keys() else "unknown",
            f"clients {clients}, {', '.join(told)}",
        ),
        check_counts(cell, measured.main, evidence, op=None),
    ]


def label(cell: Cell) -> str:
    """Names a cell, such as `through the service, with retry`."""
    if cell.params.get("through") == "driver":
        return "direct sessions"
    return f"through the service, {'with' if cell.params.get('retry') else 'without'} retry"


SCENARIO = Scenario(
    name="deadlocks",
    question="Are deadlocks detected, does each pair have exactly one victim, and does a retry save it?",
    criteria=(
        "deadlocks are detected (40P01) and resolved: exactly one victim per pair, the survivor commits",
        "with the service's retry both transactions succeed",
        "clients, pg_stat_database and the server's log count the same deadlocks",
        "the detection time, compared with deadlock_timeout",
    ),
    background="Two transactions that each hold a row and request the other's row would wait for each other forever. "
    "After deadlock_timeout PostgreSQL searches for such a cycle and aborts one of the two, the victim, "
    "with error 40P01; the other continues. No update of the victim is applied, so the service can run it "
    "again, which is what its retry does. Taking rows in the same order everywhere avoids deadlocks "
    "altogether.",
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    reads=("deadlocks",),
    timing_matters=False,
    postgres_topic="deadlock detection",
)
