"""The capacity: searched trial by trial, claimed only where the trials show it, never beyond the generator's limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.capacity_steps import held, keeps_up
from harness.analysis.slo import Slo
from harness.checks import names
from harness.errors import UsageError
from harness.model import Cell, Finding, OutcomeCounts
from harness.plan.options import BenchRequest
from harness.plan.planner import Plan, make_plan
from harness.plan.scenario import Site
from harness.plan.search import next_trials
from harness.record import Evidence, TransactionCounts, TrialRecord, TrialResult
from harness.scenarios import SCENARIOS, SUITE
from harness.scenarios.capacity import SCENARIO, label

SITE = Site(hosts=2)
SLO = Slo.parse("slo", "p99:50ms,errors:0.1%")


def plan(**texts: str | bool) -> Plan:
    options = BenchRequest.parse({"scenario": "capacity", **texts}, known_scenarios=SCENARIOS, suite=SUITE)
    return make_plan(options, SITE, SCENARIOS)


def figures(rate: float, p99_ms: float | None = 10.0, **changes: float | None) -> dict[str, float | None]:
    """The figures of ten seconds in which every request was acknowledged."""
    sent = 10 * rate
    return {"sent": sent, "ok": sent, "fail": 0.0, "unknown": 0.0, "seconds": 10.0, "rps": rate,
            "p99_ms": p99_ms} | changes  # fmt: skip


Service = Callable[[float], dict[str, Any]]
"""Rate of an open trial -> fields of its TrialResult."""


def service(speed: float) -> Service:
    """Answers slowly beyond its speed, and reaches 1.1 times of it in a closed loop."""
    return lambda rate: {"figures": figures(rate, 10.0 if rate <= speed else 400.0), "steady": True}


def bench(of: Service, of_plan: Plan, *, closed: float = 1100.0) -> list[TrialResult]:
    """The results of a whole bench."""
    results = []
    for trial in of_plan.trials:
        fields = of(trial.cell.rate) if trial.cell.rate else {"figures": figures(closed)}
        results.append(TrialResult(trial=trial, **fields))
    while later := next_trials(of_plan, SCENARIOS, results):
        results += [TrialResult(trial=trial, **of(trial.cell.rate or 0.0)) for trial in later]
    return results


def records(results: Sequence[TrialResult], *, lost: int = 0, **fields: Any) -> list[TrialRecord]:
    """The trials as the judge gets them; `lost` updates in the last one."""
    made = [TrialRecord(row=row, lanes={}, evidence=Evidence(), extracted={"lost": 0.0}, **fields) for row in results]
    made[-1] = replace(made[-1], extracted={"lost": float(lost)})
    return made


def judged(results: Sequence[TrialResult], **changes: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in SCENARIO.judge(records(results, **changes))}


def capacity(results: Sequence[TrialResult], **changes: Any) -> Finding:
    return judged(results, **changes)[names.CAPACITY]


def test_the_capacity_is_found_with_its_interval() -> None:
    results = bench(service(1000), plan())
    found = capacity(results)
    assert found.verdict == "pass"
    assert found.numbers["rate"] == pytest.approx(1000, rel=0.02)
    assert found.numbers["low"] < 1000 < found.numbers["high"]
    assert "held" not in found.numbers  # which would make it a claim of sqlite-vs-postgres
    assert "requests/s hold p99:50ms,errors:0.1%, no update lost (95 % interval, " in found.detail
    assert found.cell in {row.cell.name for row in results}
    assert found.numbers["trials_held"] + found.numbers["trials_broken"] == len(results) - 1


def test_the_first_trial_is_a_closed_load_and_the_others_are_open() -> None:
    results = bench(service(1000), plan(clients="32"))
    assert [row.cell.mode for row in results[:3]] == ["closed", "open", "open"]
    assert (results[0].cell.clients, results[0].cell.rate, results[1].cell.clients) == (32, None, 1000)
    assert results[1].cell.rate == pytest.approx(880, rel=0.01)  # 0.8 of what the closed load reached


def test_a_rate_is_where_the_search_begins() -> None:
    results = bench(service(1000), plan(rate="500"))
    assert (results[0].cell.mode, results[0].cell.rate) == ("open", 500)
    assert capacity(results).numbers["rate"] == pytest.approx(1000, rel=0.02)


def test_an_interrupted_search_goes_on_as_it_would_have() -> None:
    whole = bench(service(1000), plan())
    for done in (1, 5, 9):
        results = whole[:done]
        while later := next_trials(plan(), SCENARIOS, results):
            results += [TrialResult(trial=t, **service(1000)(t.cell.rate or 0.0)) for t in later]
        assert results == whole
    cut = capacity(whole[:6])
    assert cut.verdict == "unknown"
    assert "the search was not finished" in cut.detail


def test_each_strategy_has_its_own_search() -> None:
    speeds = {"upsert": 400.0, "coalesce": 2000.0}
    results = [TrialResult(trial=t, figures=figures(1100)) for t in plan(strategy="upsert,coalesce").trials]
    while later := next_trials(plan(strategy="upsert,coalesce"), SCENARIOS, results):
        results += [TrialResult(trial=t, **service(speeds[t.cell.strategy])(t.cell.rate or 0.0)) for t in later]
    found = [f for f in SCENARIO.judge(records(results)) if f.check == names.CAPACITY]
    assert sorted(round(f.numbers["rate"], -2) for f in found) == [400, 2000]


def test_an_slo_that_nothing_meets_fails_and_says_what_was_measured_at_the_lowest_rate() -> None:
    results = bench(lambda rate: {"figures": figures(rate, 61.0)}, plan())
    found = capacity(results)
    assert found.verdict == "fail"
    assert found.detail.startswith("no rate holds p99:50ms,errors:0.1%: at 21.7 requests/s, the lowest one tried, ")
    assert "p99 61ms, above 50ms" in found.detail


def test_a_limit_of_the_generator_is_a_lower_bound_and_no_capacity() -> None:
    def limited(rate: float) -> dict[str, Any]:
        if rate > 900:
            return {"figures": figures(rate), "validity": "timing_doubtful", "reasons": ("it sent late",)}
        return {"figures": figures(rate)}

    found = capacity(bench(limited, plan()))
    assert found.verdict == "unknown"
    assert found.numbers["kind"] == "at least"
    assert 800 <= found.numbers["rate"] <= 900
    assert found.detail.startswith("at least ")
    assert "the capacity is not known, because higher rates were not reached: it sent late" in found.detail


def test_a_starved_generator_ends_the_search_without_a_result() -> None:
    results = bench(lambda rate: {"figures": figures(rate), "validity": "timing_doubtful", "reasons": ("stalled",)},
                    plan())  # fmt: skip
    found = capacity(results)
    assert (found.verdict, found.numbers["kind"], len(results)) == ("unknown", "unclear", 11)
    assert found.detail.endswith("most trials do not count, such as: stalled")


def test_a_lost_update_leaves_no_capacity() -> None:
    found = capacity(bench(service(1000), plan()), lost=3)
    assert found.verdict == "fail"
    assert found.detail.startswith("no capacity: 3 acknowledged updates lost in the trial PostgreSQL, upsert, ")
    assert found.numbers["kind"] == "none"


def test_updates_that_were_not_checked_are_not_called_safe() -> None:
    made = [replace(record, extracted={}) for record in records(bench(service(1000), plan()))]
    found = next(f for f in SCENARIO.judge(made) if f.check == names.CAPACITY)
    assert "lost updates were not checked" in found.detail


def test_a_queue_that_grows_does_not_hold_whatever_its_latency() -> None:
    """A limit of a second, and 5 % more requests than the service serves: in ten seconds the p99 is below it."""

    def growing(rate: float) -> dict[str, Any]:
        return {"figures": figures(rate, 500.0, rps=min(rate, 1000.0))}

    found = capacity(bench(growing, plan(slo="p99:1s")))
    assert found.numbers["rate"] == pytest.approx(1000, rel=0.04)
    grown = TrialResult(trial=plan().trials[0], figures=figures(1050, 500.0, rps=1000.0))
    assert keeps_up(grown) is False
    assert held(grown, Slo.parse("slo", "p99:1s")) is False


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"p99_ms": 50.1}, False),
        ({"ok": 9980.0, "fail": 20.0}, False),  # refused
        ({"ok": 9980.0, "unknown": 20.0}, False),  # timed out
        ({"ok": 9995.0, "fail": 5.0, "rps": 999.5}, True),
        ({"p99_ms": None}, None),
        ({"p99_ms": None, "ok": 0.0, "fail": 10_000.0, "rps": 0.0}, False),
        ({"rps": None}, None),
        ({"rps": 970.0}, False),
    ],
)
def test_a_trial_holds(changes: dict[str, float | None], expected: bool | None) -> None:
    row = TrialResult(trial=plan().trials[0], figures=figures(1000, 50.0) | changes)
    assert held(row, SLO) is expected
    assert held(replace(row, validity="timing_doubtful"), SLO) is None
    assert held(replace(row, validity="broken"), SLO) is None


def test_unsteady_trials_are_counted_and_named() -> None:
    def unsteady(rate: float) -> dict[str, Any]:
        return service(1000)(rate) | {"steady": False}

    found = capacity(bench(unsteady, plan()))
    assert found.verdict == "pass"
    holding, broken = found.numbers["trials_held"], found.numbers["trials_broken"]
    assert found.detail.endswith(f"{holding} held, {holding + broken} began unsteady)")


def test_what_was_saturated_at_the_knee() -> None:
    results = bench(service(1000), plan())
    assert judged(results)[names.AT_THE_KNEE].detail == "not known, because there is no telemetry"
    knee = judged(results, saturated=("app CPU",), held_back="app CPU: 98 %")[names.AT_THE_KNEE]
    assert (knee.verdict, knee.detail, knee.numbers["saturated"]) == ("shown", "app CPU: 98 %", ["app CPU"])
    none = judged(bench(lambda rate: {"figures": figures(rate, 61.0)}, plan()))[names.AT_THE_KNEE]
    assert none.detail == "not known, because there is no capacity"


def test_the_plan_says_how_many_trials_there_are_at_most() -> None:
    assert plan().later == {"capacity": 30}
    assert plan(quick=True).later == {"capacity": 16}
    assert len(bench(service(1000), plan(quick=True))) <= 17
    assert {trial.cell.seconds for trial in plan().trials} == {10.0}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"repeat": "3"}, "leave out --repeat"),
        ({"requests": "5000"}, "--requests 5,000: capacity needs windows of a fixed time: use --seconds"),
    ],
)
def test_what_a_search_does_not_take(texts: dict[str, str | bool], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(**texts)


def test_a_window_is_long_enough_for_the_percentiles_of_its_rate() -> None:
    results = bench(lambda rate: {"figures": figures(rate, 61.0)}, plan())
    assert len({row.cell.seconds for row in results}) > 2
    for row in results[1:]:
        assert (row.cell.rate or 0) * (row.cell.seconds or 0) >= 1300
        assert 10 <= (row.cell.seconds or 0) <= 60
    quick = bench(lambda rate: {"figures": figures(rate, 61.0)}, plan(quick=True))
    assert max(row.cell.seconds or 0 for row in quick) <= 20
    longer = bench(lambda rate: {"figures": figures(rate, 61.0)}, plan(seconds="130"))
    assert "at 10 requests/s, the lowest one tried" in capacity(longer).detail


def test_the_suite_leaves_the_search_out() -> None:
    assert "capacity" not in SUITE
    assert set(SCENARIOS) - set(SUITE) == {"capacity", "list-append", "bank"}
    options = BenchRequest.parse({}, known_scenarios=SCENARIOS, suite=SUITE)
    assert options.scenarios == SUITE


def test_a_trial_is_checked_by_the_oracle_and_its_losses_are_extracted() -> None:
    cell = plan().trials[0].cell
    counts = {"main": OutcomeCounts({("increment", "1000-1", "ok"): 24})}
    record = TrialRecord(
        row=TrialResult(trial=plan().trials[0], figures=figures(1.0)), lanes={}, outcome_counts=counts,
        evidence=Evidence(final={"1000-1": 24}, counts=dict.fromkeys(("client", "haproxy", "app"), 24),
                          transactions=TransactionCounts(app=24, database=24)),
    )  # fmt: skip
    assert SCENARIO.extract(record) == {"lost": 0.0}
    assert {f.check: f.verdict for f in SCENARIO.check(record)}[names.FINAL_VALUE] == "pass"
    lost = replace(record, evidence=replace(record.evidence, final={"1000-1": 20}))
    assert SCENARIO.extract(lost) == {"lost": 4.0}
    assert {f.check: f.verdict for f in SCENARIO.check(lost)}[names.FINAL_VALUE] == "fail"
    unread = replace(record, evidence=replace(record.evidence, unread={"counters": "down"}))
    assert SCENARIO.extract(unread) == {}
    for doubted in (
        replace(record, evidence=replace(record.evidence, final={"1000-1": 40})),
        replace(record, evidence=replace(record.evidence, missing_hosts=("load-2: gone",))),
    ):
        assert SCENARIO.extract(doubted) == {}, "not known whether an update is lost"
    assert label(cell) == "PostgreSQL, upsert, closed load of 64 clients"
    assert label(replace(cell, mode="open", rate=1240.0)) == "PostgreSQL, upsert, 1,240 requests/s"
    assert isinstance(label(Cell(scenario="capacity", params={"slo": {}})), str)
