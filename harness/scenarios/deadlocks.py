"""Crossed updates: each deadlock is detected, one victim per pair fails, the other commits; a retry saves both.

Two kinds of cell. `driver`: direct sessions on the database, 1 and 20 pairs at once, run step by step
(harness/isolation). `service`: two lanes of requests that take two rows in opposite orders, with and without the
service's retry. The clients, pg_stat_database and the server's log must count the same deadlocks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.checks import names
from harness.checks.finding import finding
from harness.checks.isolation import findings_deadlocks
from harness.checks.traffic import check_counts
from harness.isolation.deadlock_pairs import DEADLOCK_DETECTED
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding, Trial, verdict_from
from harness.plan.options import BenchRequest
from harness.plan.scenario import RemoteWorkload, Scenario, Site, Workload
from harness.record import DeadlockCounts, Samples, TrialRecord

PAIRS = 20
LEAST_DEADLOCKS = 15
"""Pairs that must deadlock for a pass. On a busy machine some pairs miss each other."""
POOL = 25
"""Connections per host: an even share of 20 requests, and a few more because the load balancer's share is not exact."""
APP_CPUS = 1.0
HOLD_MS = 500
"""Wait after each lock, so that both requests of a pair hold their first row before either requests its second."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans the direct sessions, then the service without and with retry."""
    site.need(database=True)
    hosts = site.serving(options.hosts, 2)
    connections = min(POOL, (site.connections - site.reserved) // hosts)
    pool = max(1, connections // site.workers) * site.workers
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
    """Returns the job of the direct sessions, or two lanes of requests that cross."""
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
            operations=(Operation(name="cross", path="/api/transaction", body=body, capture=("retries", "duration")),),
        )

    return {"main": lane("a", "b"), "crossed": lane("b", "a")}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOutcome:
    """The outcome of the two requests of one pair."""

    key: str
    committed: int
    victims: int
    """Requests that failed with 40P01."""
    unknown: int
    """Requests that may or may not have been applied."""
    retries: int
    """Times that the service ran the pair's requests again."""
    unexpected: tuple[str, ...]
    """Outcomes that are neither a commit nor 40P01."""

    @property
    def has_one_victim(self) -> bool:
        """Whether one request failed with 40P01 and the other committed."""
        return self.committed == 1 and self.victims == 1

    @property
    def both_committed(self) -> bool:
        """Whether both requests committed without a deadlock, or after a retry."""
        return self.committed == 2


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Evaluates the direct sessions, or the pairs of requests; both against the server's count of deadlocks."""
    cell, evidence = measured.cell, measured.evidence
    if cell.params["through"] == "driver":
        log = evidence.deadlocks.log if evidence.deadlocks else None
        return findings_deadlocks(evidence.workload_result or {}, log_count=log)
    pairs = pair_outcomes(measured.main, measured.lanes["crossed"])
    return [
        _check_retries(cell, pairs) if cell.params["retry"] else _check_victims(cell, pairs),
        _check_applied(cell, pairs, evidence.final),
        _check_deadlock_counts(cell, pairs, evidence.deadlocks),
        check_counts(cell, measured.main, evidence, op=None),
    ]


def pair_outcomes(*lanes: Samples) -> list[PairOutcome]:
    """Groups the samples of both lanes by pair, which is their key."""
    results: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for samples in lanes:
        retries = samples.captured.get("retries", [math.nan] * len(samples))
        for key, outcome, error, count in zip(samples.key, samples.outcome, samples.error, retries, strict=True):
            results[key].append((outcome, error, round(count) if count > 0 else 0))
    return [_pair_outcome(key, requests) for key, requests in results.items()]


def _pair_outcome(key: str, requests: Sequence[tuple[str, str, int]]) -> PairOutcome:
    victims = [outcome == "fail" and DEADLOCK_DETECTED in error for outcome, error, _ in requests]
    return PairOutcome(
        key=key,
        committed=sum(outcome == "ok" for outcome, _, _ in requests),
        victims=sum(victims),
        unknown=sum(outcome == "unknown" for outcome, _, _ in requests),
        retries=sum(retries for _, _, retries in requests),
        unexpected=tuple(
            f"{key}: {outcome} {error}"
            for (outcome, error, _), victim in zip(requests, victims, strict=True)
            if outcome != "ok" and not victim
        ),
    )


def _check_victims(cell: Cell, pairs: Sequence[PairOutcome]) -> Finding:
    """Without retry: each pair has one victim, or did not deadlock."""
    one_victim = sum(pair.has_one_victim for pair in pairs)
    missed = sum(pair.both_committed for pair in pairs)
    text = f"{one_victim} pairs deadlocked with exactly one victim (40P01) and one commit"
    if missed:
        text += f"; {missed} of {PAIRS} pairs did not deadlock"
    good = one_victim > 0 and one_victim + missed == PAIRS
    return _pairs_finding(cell, names.ONE_VICTIM, pairs, text, good=good, deadlocked=one_victim)


def _check_retries(cell: Cell, pairs: Sequence[PairOutcome]) -> Finding:
    """With retry: both requests of each pair commit, some of them after a retry."""
    saved = sum(pair.both_committed for pair in pairs)
    retries, victims = sum(pair.retries for pair in pairs), sum(pair.victims for pair in pairs)
    text = f"both requests of {saved} of {PAIRS} pairs committed after {retries} retries"
    if victims:
        text += f"; {victims} requests still failed with 40P01"
    deadlocked = sum(pair.retries > 0 for pair in pairs)
    good = saved == PAIRS and retries > 0
    return _pairs_finding(cell, names.RETRY_COMMITS_BOTH, pairs, text, good=good, deadlocked=deadlocked)


def _pairs_finding(
    cell: Cell, name: str, pairs: Sequence[PairOutcome], text: str, *, good: bool, deadlocked: int
) -> Finding:
    unexpected = [outcome for pair in pairs for outcome in pair.unexpected]
    if deadlocked < LEAST_DEADLOCKS:
        text += f"; at least {LEAST_DEADLOCKS} pairs must deadlock"
    if unexpected:
        text += f"; {unexpected[0]}"
    verdict = verdict_from(failed=bool(unexpected) or not good, passed=deadlocked >= LEAST_DEADLOCKS)
    return finding(cell, name, verdict, text, pairs=PAIRS, retries=sum(pair.retries for pair in pairs))


def _check_applied(cell: Cell, pairs: Sequence[PairOutcome], final: Mapping[str, int]) -> Finding:
    """Each commit is applied to both rows of its pair, and no victim's update to any."""
    rows = {(pair.key + row): pair for pair in pairs for row in "ab"}
    wrong = [
        f"row {row} holds {final.get(row, 0)} after {pair.committed} commits"
        for row, pair in rows.items()
        if not pair.committed <= final.get(row, 0) <= pair.committed + pair.unknown
    ]
    commits = sum(pair.committed for pair in pairs)
    verdict = verdict_from(failed=bool(wrong), passed=commits > 0)
    text = f"{commits} commits are applied to both rows, no victim's update to any"
    return finding(cell, names.UPDATES_APPLIED, verdict, wrong[0] if wrong else text)


def _check_deadlock_counts(cell: Cell, pairs: Sequence[PairOutcome], counts: DeadlockCounts | None) -> Finding:
    """The clients and both of the server's sources count the same deadlocks."""
    clients = sum(pair.retries + pair.victims for pair in pairs)
    server = {
        "pg_stat_database": counts.statistics if counts else None,
        "server log": counts.log if counts else None,
    }
    text = ", ".join(f"{name} {'not read' if count is None else count}" for name, count in server.items())
    verdict = verdict_from(
        failed=any(count not in (None, clients) for count in server.values()), passed=None not in server.values()
    )
    return finding(cell, names.DEADLOCK_COUNTS_AGREE, verdict, f"clients {clients}, {text}")


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
