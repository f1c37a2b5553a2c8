"""What a plan costs: numbers that can be checked by hand, and every scenario has some."""

from __future__ import annotations

import pytest

from harness.plan import estimate as module
from harness.plan.estimate import estimate, seconds_of
from harness.plan.options import BenchRequest
from harness.plan.planner import Plan, make_plan
from harness.plan.scenario import Site
from harness.scenarios import SCENARIOS

SITE = Site(hosts=4, backends=("postgres", "sqlite-naive", "sqlite-tuned"), connections=100, reserved=10)


def plan(**texts: str) -> Plan:
    return make_plan(BenchRequest.parse(texts, known_scenarios=SCENARIOS), SITE, SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_has_an_estimate(name: str) -> None:
    more = {"slo": "p99:50ms"} if name == "capacity" else {}
    if name == "faults":
        pytest.skip("faults need a site that can have them: tests/harness/scenarios/test_faults.py plans them")
    cost = estimate(plan(scenario=name, **more), SCENARIOS, SITE)
    assert cost.seconds > module.AROUND_S
    assert cost.bytes > 0
    assert (cost.scenarios, cost.trials > 0, cost.budget) == (1, True, 90)


def test_an_open_load_takes_its_seconds_and_each_repetition_adds_them() -> None:
    once, thrice = (plan(scenario="throughput", rate="100", seconds="50", repeat=n) for n in ("1", "3"))
    costs = [estimate(each, SCENARIOS, SITE) for each in (once, thrice)]
    assert costs[0].cells == costs[1].cells == len(once.trials)
    for trial in once.trials:
        assert 50 + module.OVERHEAD_S <= seconds_of(trial, SCENARIOS) <= 50 + module.OVERHEAD_S + 30
    assert costs[1].seconds - module.AROUND_S == pytest.approx(3 * (costs[0].seconds - module.AROUND_S))
    assert costs[1].bytes == pytest.approx(3 * costs[0].bytes)


def test_samples_that_are_not_kept_take_no_disk() -> None:
    kept, dropped = (
        estimate(
            plan(scenario="throughput", strategy="upsert", rate="100", seconds="600", repeat="1", **more),
            SCENARIOS,
            SITE,
        )
        for more in ({"samples": "yes"}, {})
    )
    assert kept.bytes - dropped.bytes >= 600 * 100 * module.SAMPLE_BYTES * kept.trials


def test_the_pools_of_all_hosts_count() -> None:
    cost = estimate(plan(scenario="concurrent-writes", hosts="4", backend="postgres"), SCENARIOS, SITE)
    pools = {trial.cell.pool for trial in plan(scenario="concurrent-writes", hosts="4", backend="postgres").trials}
    assert cost.connections == 4 * max(pools)
    unmanaged = Site(hosts=1, managed=False, database=False)
    url = make_plan(
        BenchRequest.parse({"scenario": "throughput"}, known_scenarios=SCENARIOS), unmanaged, SCENARIOS
    )  # fmt: skip
    assert estimate(url, SCENARIOS, unmanaged).connections is None
