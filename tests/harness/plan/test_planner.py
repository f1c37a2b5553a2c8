"""The plan: reproducible by its seed, complete, and without trials that cannot be measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.checks.evaluate import judge_trial
from harness.checks.names import PER_REQUEST
from harness.errors import UsageError
from harness.load.job import Endpoint, Job, decode_job
from harness.model import BACKENDS, STRATEGIES, Cell, OutcomeCounts, Trial
from harness.plan.fault_schedule import KINDS
from harness.plan.options import BenchRequest
from harness.plan.planner import Plan, make_plan, service_settings, volume
from harness.plan.scenario import RemoteWorkload, Scenario, Site, Skip
from harness.plan.search import next_trials
from harness.plan.variants import Variant
from harness.record import Evidence, TransactionCounts, TrialRecord, TrialResult
from harness.scenarios import SCENARIOS
from tests.support.records import sqlite_evidence

SITE = Site(
    hosts=8, load_hosts=2, backends=("postgres", "sqlite-naive", "sqlite-tuned"), faults=dict.fromkeys(KINDS, "")
)


def options(**texts: str) -> BenchRequest:
    return BenchRequest.parse(texts, known_scenarios=SCENARIOS)


def scenario(*cells: Cell, skip: str = "") -> Scenario:
    def plan(_: BenchRequest, __: Site) -> Sequence[Cell]:
        if skip:
            raise Skip(skip)
        return cells

    return Scenario(
        name="s", question="?", criteria=(), cells=plan, workload=lambda _: {}, check=lambda _: [], repeat=lambda _: 3
    )


CELLS = [Cell(scenario="s", clients=n) for n in range(1, 7)]


def test_the_seed_shuffles_the_cells_of_each_repetition() -> None:
    known = {"s": scenario(*CELLS)}
    plans = [make_plan(BenchRequest(scenarios=("s",), seed=seed), SITE, known) for seed in (1, 1, 2)]
    assert plans[0] == plans[1]
    assert [t.cell for t in plans[0].trials] != [t.cell for t in plans[2].trials]
    assert Counter(t.cell.name for t in plans[0].trials) == {c.name: 3 for c in CELLS}
    assert [t.order for t in plans[0].trials] == list(range(1, 19))
    for number in (1, 2, 3):  # each block contains every cell once
        block = plans[0].trials[6 * (number - 1) : 6 * number]
        assert {t.number for t in block} == {number}
        assert len({t.cell.name for t in block}) == 6


def test_a_scenario_that_cannot_run_is_skipped_with_its_reason() -> None:
    known = {"s": scenario(*CELLS), "t": scenario(skip="no database")}
    assert make_plan(BenchRequest(scenarios=("s", "t")), SITE, known).skipped == {"t": "no database"}
    with pytest.raises(UsageError, match="no database"):
        make_plan(BenchRequest(scenarios=("t",)), SITE, known)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_requested_backend_is_measured(backend: str) -> None:
    """A scenario about PostgreSQL only is skipped for SQLite, with its topic as the reason."""
    plan = make_plan(options(backend=backend), SITE, SCENARIOS)
    assert {trial.cell.backend for trial in plan.trials} == {backend}
    skipped = set(plan.skipped) - {"sqlite-vs-postgres"}  # which needs two backends
    on_any = {"capacity", "concurrent-writes", "isolation", "throughput"}
    assert skipped == (set() if backend == "postgres" else set(SCENARIOS) - {"sqlite-vs-postgres"} - on_any)
    for name in skipped:
        assert SCENARIOS[name].postgres_topic
        assert (
            plan.skipped[name] == f"--backend {backend}: {name} is about PostgreSQL's {SCENARIOS[name].postgres_topic}"
        )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_the_requested_strategy_is_measured(strategy: str) -> None:
    plan = make_plan(options(strategy=strategy), SITE, SCENARIOS)
    assert {trial.cell.strategy for trial in plan.trials} == {strategy, ""}
    unnamed = {(t.cell.scenario, t.cell.params["bound"]) for t in plan.trials if not t.cell.strategy}
    assert unnamed == {("scaling", "pool")}  # which does not depend on the strategy
    measured = {trial.cell.scenario for trial in plan.trials}
    assert measured >= {"concurrent-writes", "throughput", "scaling"}
    assert set(plan.skipped) == set(SCENARIOS) - measured
    assert plan.skipped["deadlocks"] == f"--strategy {strategy}: deadlocks sends no increments"
    if strategy != "upsert":
        assert plan.skipped["connections"] == f"--strategy {strategy}: connections measures only upsert"


@pytest.mark.parametrize(
    ("load", "kept"),
    [
        ({"seconds": 60.0}, True), ({"seconds": 61.0}, False), ({"requests": 1_000_000}, True),
        ({"requests": 1_000_001}, False), ({"requests": 10, "seconds": 3600.0}, True), ({}, True),
    ],
)  # fmt: skip
def test_long_trials_keep_samples_only_on_request_or_if_needed(load: dict[str, Any], kept: bool) -> None:
    cell, known = Cell(scenario="s", **load), scenario(Cell(scenario="s"))
    plan, asked = (
        make_plan(BenchRequest(scenarios=("s",), samples=samples), SITE, {"s": known}) for samples in (False, True)
    )
    assert plan.keeps_samples(replace(known, works_without_samples=True), cell) is kept
    assert asked.keeps_samples(replace(known, works_without_samples=True), cell)
    assert plan.keeps_samples(known, cell)


@pytest.mark.parametrize("name", sorted(name for name, s in SCENARIOS.items() if s.works_without_samples))
def test_a_scenario_that_works_without_samples_is_checked_without_them(name: str) -> None:
    for cell in SCENARIOS[name].cells(options(), SITE):
        final, counts = (
            {"hot-0": 7 if cell.params.get("control") else 24},
            dict.fromkeys(("client", "haproxy", "app"), 24),
        )
        servers = {f"app-{n}": 24 // cell.hosts for n in range(1, 9) if n <= cell.hosts}
        postgres = cell.backend == "postgres"
        measured = TrialRecord(
            row=TrialResult(trial=Trial(cell=cell, number=1, order=1, seed=1), figures={"rps": 1.0}),
            lanes={},
            outcome_counts={"main": OutcomeCounts({("increment", "hot-0", "ok"): 24})},
            evidence=Evidence(
                final=final,
                counts=counts,
                servers=servers,
                transactions=TransactionCounts(app=24, database=24) if postgres else None,
                sqlite=None if postgres else sqlite_evidence(cell.backend),
                not_applicable=dict.fromkeys(PER_REQUEST, ""),
            ),
        )
        expected = "shown" if cell.params.get("control") else "pass"  # that the control loses updates decides nothing
        assert {f.verdict for f in judge_trial(SCENARIOS[name], measured)} == {expected}, cell.name
        lost = replace(measured, evidence=replace(measured.evidence, final={"hot-0": 23}))
        assert "fail" in {f.verdict for f in judge_trial(SCENARIOS[name], lost)} or cell.params.get("control")


FOLLOWS = {
    "rate": {"capacity", "faults", "throughput"},
    "clients": {
        "bank", "capacity", "concurrent-writes", "connections", "faults", "list-append", "scaling", "throughput",
    },
    "requests": {
        "bank", "bulk-insert", "concurrent-writes", "list-append", "pool-sweep", "sqlite-vs-postgres", "throughput",
    },
    "seconds": {"capacity", "connections", "faults", "scaling", "sqlite-vs-postgres", "throughput"},
}  # fmt: skip


@pytest.mark.parametrize("option", FOLLOWS)
def test_only_the_requested_load_is_measured(option: str) -> None:
    """Otherwise the record would name a rate and contain the figures of a closed load."""
    plan = make_plan(options(**{option: "321"}), SITE, SCENARIOS)
    measured = {trial.cell.scenario for trial in plan.trials}
    assert measured == FOLLOWS[option]
    for name in measured:
        assert any(getattr(trial.cell, option) == 321 for trial in plan.trials if trial.cell.scenario == name)
    for name in set(SCENARIOS) - measured:
        assert plan.skipped[name].startswith(f"--{option} 321: {name} "), plan.skipped[name]
    with pytest.raises(UsageError, match=f"nothing to measure: isolation: --{option} 321"):
        make_plan(options(**{option: "321", "scenario": "isolation"}), SITE, SCENARIOS)


@pytest.mark.parametrize("name", ["scaling", "pool-sweep", "sqlite-vs-postgres"])
def test_a_rate_does_not_make_a_closed_load_open(name: str) -> None:
    with pytest.raises(UsageError, match=f"--rate 50: {name} uses the closed model"):
        make_plan(options(rate="50", scenario=name), SITE, SCENARIOS)


def test_pools_beyond_the_servers_connections_are_rejected() -> None:
    with pytest.raises(UsageError, match="8 hosts x pool 20 = 160 connections, the budget is 90"):
        make_plan(BenchRequest(scenarios=("s",)), SITE, {"s": scenario(Cell(scenario="s", hosts=8, pool=20))})


def test_a_scenario_may_exceed_the_servers_connections_on_purpose() -> None:
    known = replace(scenario(Cell(scenario="s", hosts=8, pool=20)), exceeds_connections=lambda cell: cell.pool == 20)
    assert len(make_plan(BenchRequest(scenarios=("s",)), SITE, {"s": known}).trials) == 3


def test_the_processes_of_a_host_share_its_pool() -> None:
    """The pool is rounded up to a multiple of the processes, so the plan counts the connections that are opened."""
    site = replace(SITE, workers=3)
    requested = [Cell(scenario="s", pool=pool, params={"app_pool_min": pool, "n": 1}) for pool in (1, 5, 9)]
    cells = {
        t.cell.pool: t.cell for t in make_plan(BenchRequest(scenarios=("s",)), site, {"s": scenario(*requested)}).trials
    }
    assert {pool: set(service_settings(cell, 3).items()) for pool, cell in cells.items()} == {
        pool: {("BACKEND", "postgres"), ("POOL_SIZE", each), ("POOL_MIN", each)}
        for pool, each in ((3, "1"), (6, "2"), (9, "3"))
    }
    assert all(cell.params == {"app_pool_min": pool, "n": 1} for pool, cell in cells.items())
    with pytest.raises(UsageError, match="8 hosts x pool 12 = 96 connections, the budget is 90"):
        make_plan(BenchRequest(scenarios=("s",)), site, {"s": scenario(Cell(scenario="s", hosts=8, pool=11))})


def test_more_hosts_than_the_rig_has_are_rejected() -> None:
    with pytest.raises(UsageError, match="the rig has 8"):
        make_plan(BenchRequest(scenarios=("s",), hosts=9), SITE, {"s": scenario(*CELLS)})


def with_a_rate(trial: Trial) -> Trial:
    """The trial as it is run: with the rate that follows from its closed cell."""
    if trial.cell.rate_share is None:
        return trial
    return replace(trial, cell=replace(trial.cell, rate=70.0))


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("quick", [False, True])
def test_every_scenario_plans_jobs_that_a_load_host_accepts(name: str, quick: bool) -> None:
    plan = make_plan(BenchRequest(scenarios=(name,), quick=quick), SITE, SCENARIOS)
    names = [t.cell.name for t in plan.trials if t.number == 1]
    assert len(set(names)) == len(names), "two cells have the same name"
    place = {"target": Endpoint(host="h", port=1), "load_host": "l", "run_tag": "t", "out": "/x"}
    for trial in plan.trials:
        work = SCENARIOS[name].workload(with_a_rate(trial))
        if isinstance(work, RemoteWorkload):
            assert work.module.startswith("harness.")
        else:
            assert work
            for lane in work.values():
                job = Job.of(lane, seed=trial.seed, **place)
                assert decode_job(json.loads(json.dumps(job.to_dict()))) == job


def test_volume_is_the_load_that_a_plan_sends() -> None:
    cells = [
        Cell(scenario="s", clients=100, requests=1000),
        Cell(scenario="s", clients=8, seconds=2.5),
        Cell(scenario="s", mode="open", rate=50, clients=300, seconds=1.0, requests=40),
    ]
    trials = tuple(Trial(cell=cell, number=1, order=n, seed=0) for n, cell in enumerate(cells, 1))
    text = "3 trials, 1,040 requests and 2.5 s of steady load at up to 50 requests/s, at most 300 connections at once"
    assert volume(Plan(trials=trials)) == text
    assert volume(Plan(trials=())) == "0 trials, no HTTP load, at most 0 connections at once"


def test_a_plan_for_an_external_service_sets_no_strategy_and_no_pool() -> None:
    site = Site(hosts=1, managed=False, database=False)
    plan = make_plan(BenchRequest.parse({}, known_scenarios=SCENARIOS), site, SCENARIOS)
    assert {trial.cell.scenario for trial in plan.trials} == {
        "bank", "capacity", "concurrent-writes", "list-append", "throughput",
    }  # fmt: skip
    assert {(trial.cell.strategy, trial.cell.pool) for trial in plan.trials} == {("", 0)}
    for trial in plan.trials:
        assert ".p" not in trial.cell.name.replace(".postgres", "")
        lanes: Any = SCENARIOS[trial.cell.scenario].workload(with_a_rate(trial))
        assert "strategy" not in lanes["main"].operations[0].body


def rising(results: Sequence[TrialResult]) -> Sequence[Cell]:
    """Doubles the clients until there are 16, and forgets to stop where they fail."""
    last = results[-1].cell
    return [replace(last, clients=2 * last.clients)] if last.clients < 16 else []


def test_a_search_proposes_its_trials_from_the_results_so_far() -> None:
    known = {
        "s": replace(scenario(Cell(scenario="s"), Cell(scenario="s", pool=6)), repeat=lambda _: 1),
        "t": replace(scenario(Cell(scenario="t", clients=4)), next_cells=rising, most_trials=lambda _: 9,
                     repeat=lambda _: 1),
    }  # fmt: skip
    plan = make_plan(BenchRequest(scenarios=("t", "s"), seed=3), SITE, known)
    assert (len(plan.trials), plan.later, plan.most_trials) == (3, {"t": 8}, 11)
    assert volume(plan).endswith("; then at most 8 trials of t, as its results ask")
    results = [TrialResult(trial=trial, figures={}) for trial in plan.trials[1:]]
    assert next_trials(plan, known, results) == []  # its first trial was not measured
    results.insert(0, TrialResult(trial=plan.trials[0], figures={}))
    measured = []
    while later := next_trials(plan, known, results):
        assert later == next_trials(plan, known, results[::-1])  # whatever the order of the table
        measured += later
        results += [TrialResult(trial=trial, figures={}) for trial in later]
    assert [(t.cell.clients, t.number, t.order) for t in measured] == [(8, 1, 4), (16, 1, 5)]
    assert len({t.seed for t in [*plan.trials, *measured]}) == 5
    assert next_trials(replace(plan, seed=4), known, results[:3])[0].seed != measured[0].seed


def test_a_search_ends_after_its_most_trials_and_numbers_the_trials_of_a_cell() -> None:
    known = {"t": replace(scenario(Cell(scenario="t")), next_cells=lambda rows: [rows[0].cell] * 2,
                          most_trials=lambda _: 4, repeat=lambda _: 1)}  # fmt: skip
    plan = make_plan(BenchRequest(scenarios=("t",)), SITE, known)
    results = [TrialResult(trial=trial, figures={}) for trial in plan.trials]
    while later := next_trials(plan, known, results):
        results += [TrialResult(trial=trial, figures={}) for trial in later]
    assert [(row.trial.number, row.trial.order) for row in results] == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_a_search_is_not_varied_in_blocks() -> None:
    known = {"t": replace(scenario(Cell(scenario="t")), next_cells=rising, most_trials=lambda _: 9)}
    variants = [Variant(name=name, settings={"app_pool_size": name}) for name in ("5", "9")]
    with pytest.raises(UsageError, match="a search chooses its rates"):
        make_plan(BenchRequest(scenarios=("t",)), SITE, known, variants)
