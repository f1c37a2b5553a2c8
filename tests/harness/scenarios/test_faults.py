"""The scenario of faults: what it plans on which site, and that its check sees what is wrong with a trial."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.trial_validity import unreplaced
from harness.checks import names
from harness.checks.evaluate import judge_trial
from harness.errors import UsageError
from harness.load.spec import LoadSpec
from harness.model import Cell, Trial
from harness.plan.fault_schedule import KINDS, QUICK
from harness.plan.load_share import after_closed, is_closed_cell_of
from harness.plan.options import BenchRequest
from harness.plan.planner import make_plan
from harness.plan.scenario import RemoteWorkload, Site, Skip
from harness.record import TrialRecord
from harness.scenarios import SCENARIOS
from tests.support.fault_trials import FaultTrial, cell, record, trial
from tests.support.records import measured

SCENARIO = SCENARIOS["faults"]
SITE = Site(hosts=4, load_hosts=2, faults=dict.fromkeys(KINDS, ""))


def request(**texts: object) -> BenchRequest:
    return BenchRequest.parse(texts, known_scenarios=SCENARIOS)


def cells(site: Site = SITE, **texts: object) -> list[Cell]:
    return list(SCENARIO.cells(request(scenario="faults", **texts), site))


def faults(planned: list[Cell]) -> list[str]:
    return [str(each.params.get("fault", "")) for each in planned]


def load(planned: Cell, order: int = 1) -> LoadSpec:
    """The load of a trial, at a rate as its closed cell gives one."""
    lanes = SCENARIO.workload(Trial(cell=replace(planned, rate=100.0), number=1, order=order, seed=1))
    assert not isinstance(lanes, RemoteWorkload)
    return lanes["main"]


def test_one_closed_cell_sets_the_rate_of_every_fault() -> None:
    glance, *others = cells()
    assert faults(others) == list(KINDS)
    assert (glance.mode, glance.params) == ("closed", {})
    assert all(is_closed_cell_of(each, glance) and each.rate_share == 0.4 for each in others)
    assert after_closed([*others, glance]) == [glance, *others]


def test_quick_is_a_short_form() -> None:
    assert faults(cells(quick=True)) == ["", *QUICK]
    assert sum(each.seconds or 0 for each in cells(quick=True)) < 30


def test_a_rate_makes_the_closed_cell_needless() -> None:
    planned = cells(rate="500", fault="db-crash")
    assert [(each.mode, each.rate, each.rate_share) for each in planned] == [("open", 500.0, None)]


def test_what_the_rig_cannot_have_is_left_out_with_its_reason() -> None:
    site = replace(SITE, load_hosts=1, faults={**SITE.faults, "db-full": "no small file system"})
    assert set(KINDS) - set(faults(cells(site))) == {"db-full", "load-host-kill"}
    plan = make_plan(request(scenario="faults"), site, SCENARIOS)
    assert plan.skipped["db-full of faults"] == "no small file system"
    assert "one load host" in plan.skipped["load-host-kill of faults"]
    assert make_plan(request(scenario="faults", quick=True), site, SCENARIOS).skipped == {}


def test_drained_hosts_exclude_what_makes_haproxy_forget_them() -> None:
    assert set(KINDS) - set(faults(cells(hosts="2"))) == {"lb-reload", "lb-kill"}


def test_a_rolling_restart_needs_two_hosts_that_serve() -> None:
    assert set(KINDS) - set(faults(cells(hosts="1"))) == {"lb-reload", "lb-kill", "app-roll"}
    with pytest.raises(UsageError, match="--fault app-roll: a rolling restart needs two app hosts that serve"):
        cells(hosts="1", fault="app-roll")


def test_the_hint_offers_other_faults_only_where_there_are_some() -> None:
    one, none = {**SITE.faults, "db-full": "no small file system"}, dict.fromkeys(KINDS, "not allowed")
    for refused, offered in ((one, True), (none, False)):
        with pytest.raises(UsageError) as raised:
            cells(replace(SITE, faults=refused), fault="db-full")
        assert ("injects the others" in raised.value.hint) == offered


def test_a_fault_that_was_asked_for_and_cannot_be_had_is_a_usage_error() -> None:
    site = replace(SITE, faults={**SITE.faults, "db-full": "no small file system"})
    with pytest.raises(UsageError, match="--fault db-full: no small file system"):
        cells(site, fault="app-kill,db-full")
    with pytest.raises(UsageError, match="only where its inventory allows"):
        cells(Site(hosts=4), fault="db-crash")


@pytest.mark.parametrize(
    ("site", "texts", "reason"),
    [
        (Site(hosts=4), {}, "only where its inventory allows them"),
        (replace(SITE, faults=dict.fromkeys(KINDS, "not allowed")), {}, "not allowed"),
        (SITE, {"requests": "100"}, "a load of a fixed time"),
        (SITE, {"aa": "5"}, "no noise floor"),
        (SITE, {"vary": "app_pool_size=5,9"}, "single events, which blocks do not compare"),
        (SITE, {"vary": "app_pool_size=5,9", "rate": "500"}, "single events, which blocks do not compare"),
    ],
)
def test_it_is_skipped_where_it_cannot_say_anything(site: Site, texts: dict[str, str], reason: str) -> None:
    with pytest.raises(Skip, match=reason):
        cells(site, **texts)


def test_a_mixed_schedule_is_seeded_and_lacks_what_the_rig_cannot_have() -> None:
    site = replace(SITE, faults={**SITE.faults, "db-full": "no small file system"})
    _, mixed = cells(site, fault="mixed", seed="7")
    assert mixed.seconds == 120
    assert mixed.params == {"fault": "mixed", "seed": 7, "without": "db-full", "rate_share": 0.4}
    assert {each.fault for each in SCENARIO.faults(mixed)} <= set(KINDS) - {"db-full", "load-host-kill"}
    with pytest.raises(UsageError, match="too short"):
        cells(fault="mixed", seconds="9")


def test_controls_and_retries_are_part_of_the_cell() -> None:
    glance, crash = cells(control="async-commit")
    assert glance.postgres_settings == crash.postgres_settings == {"synchronous_commit": "off"}
    assert crash.params["fault"] == "db-crash"
    glance, crash = cells(control="early-answer")
    assert glance.code == crash.code == "control-early-answer"
    assert load(replace(crash, rate=9.0)).keys.kind == "uniform"
    assert load(replace(cells(fault="db-crash")[1], rate=9.0)).keys.kind == "zipf"
    glance, crash = cells(control="pool-leak")
    assert (glance.code, crash.code, crash.params["fault"]) == (*["control-pool-leak"] * 2, "db-crash")
    assert crash.pool_min == crash.pool, "all connections are open at the crash"
    assert not any("code" in each.params for each in cells(fault="db-crash"))
    _, kill = cells(control="proxy-replay")
    _, retrying = cells(fault="app-kill", retry=True)
    assert not load(kill).operations[0].idempotency
    assert load(retrying).operations[0].retries


def test_each_trial_has_keys_of_its_own() -> None:
    planned = replace(cells(fault="app-kill")[1], rate=100.0)
    one, other = load(planned, order=3), load(planned, order=13)
    assert (one.keys.name(0), other.keys.name(0)) == ("fault3-0", "fault13-0")
    assert one.warmup is None


def judged(doctored: FaultTrial, fault: str = "db-crash", **params: Any) -> dict[str, str]:
    evidence = {"final": doctored.final, "ledger": doctored.ledger, **doctored.more}
    made: TrialRecord = measured(cell(fault, **params), doctored.samples, **evidence)
    return {each.check: each.verdict for each in judge_trial(SCENARIO, made)}


def test_a_sound_trial_passes() -> None:
    found = judged(trial("db-crash"))
    assert found.pop("availability") == "shown"
    assert set(found.values()) == {"pass"}
    assert {names.FINAL_VALUE, names.VALUE_SEQUENCE, names.REAL_TIME_ORDER, *names.ACCOUNTED} <= set(found)


def test_a_lost_write_fails() -> None:
    doctored = trial("db-crash")
    del doctored.ledger[doctored.at(9)]
    assert judged(doctored)[names.NOTHING_LOST] == "fail"


def test_the_account_is_unknown_without_its_evidence() -> None:
    doctored = trial("db-crash")
    doctored.more["unread"] = {"ledger": "no answer"}
    found = judged(doctored)
    assert {found[name] for name in names.ACCOUNTED} == {"unknown"}
    assert found[names.FAULT_SEEN] == "pass"


def test_a_killed_load_host_is_accounted_for_in_an_invalid_trial() -> None:
    doctored = trial("load-host-kill")
    doctored.ledger["run-3-main-load-2-4"] = ("fault3-0", 801)
    doctored.final["fault3-0"] += 1
    doctored.more["missing_hosts"] = ("load-2: the load agent died: killed",)
    doctored.more["faults"] = (record("load-host-kill", hosts=("load-2",)),)
    assert judged(doctored, "load-host-kill")[names.NOTHING_INVENTED] == "pass"
    del doctored.ledger[doctored.at(9)]
    assert judged(doctored, "load-host-kill")[names.NOTHING_LOST] == "fail"
    row = measured(cell("load-host-kill"), doctored.samples, valid=False).row
    assert unreplaced([row]) == []
    assert unreplaced([measured(cell("db-crash"), doctored.samples, valid=False).row])


@pytest.mark.parametrize("killed", [("load-3",), ()])
def test_samples_of_a_load_host_that_was_not_killed_leave_the_checks_unknown(killed: tuple[str, ...]) -> None:
    doctored = trial("load-host-kill", hosts=killed)
    doctored.ledger["run-3-main-load-2-4"] = ("fault3-0", 801)
    doctored.final["fault3-0"] += 1
    doctored.more["missing_hosts"] = ("load-3: the load agent died: killed", "load-2: cannot fetch the results")
    found = judged(doctored, "load-host-kill")
    assert {verdict for check, verdict in found.items() if check != "availability"} == {"unknown"}


def test_samples_that_are_missing_for_another_reason_leave_the_checks_unknown() -> None:
    doctored = trial("db-crash")
    doctored.more["missing_hosts"] = ("load-2: cannot fetch the results",)
    found = judged(doctored)
    assert {verdict for check, verdict in found.items() if check != "availability"} == {"unknown"}


def test_the_closed_cell_is_an_ordinary_trial() -> None:
    doctored = trial("db-crash")
    doctored.more["faults"] = ()
    glance = cells()[0]
    evidence = {"final": doctored.final, "ledger": doctored.ledger}
    counts = {"client": 1600, "haproxy": 1600, "app": 1600}
    made = measured(glance, doctored.samples, counts=counts, **evidence)
    found = {each.check: each.verdict for each in judge_trial(SCENARIO, made)}
    assert found[names.COUNTS_AGREE] == found[names.LEDGER] == "pass"
    assert names.NOTHING_LOST not in found
