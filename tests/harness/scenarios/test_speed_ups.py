"""Speed-ups from 1 to 8 hosts: too slow, faster than possible, uneven, or not measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from harness.model import Finding
from harness.record import TrialRecord
from harness.scenarios import SCENARIOS
from harness.scenarios.increment_workload import UNSTEADY
from tests.support.histories import history
from tests.support.records import (
    cell,
    judge,
    measured,
    verdicts,
    wrong,
)

IDEAL = {1: 50.0, 2: 99.0, 4: 195.0, 8: 390.0}


def trials(
    rates: Mapping[int, float | None],
    bound: str = "pool",
    *,
    valid: bool = True,
    steady: bool | None = None,
    number: int = 1,
) -> list[TrialRecord]:
    """The trials of one block: number of hosts -> requests per second."""
    return [
        measured(
            cell("scaling", bound=bound, hosts=n), history(),
            figures={"rps": rate}, valid=valid, steady=steady, number=number,
        )
        for n, rate in rates.items()
    ]  # fmt: skip


def test_sufficient_speed_ups_pass() -> None:
    findings = judge(trials(IDEAL))
    assert verdicts(findings) == {f"speed-up {n} hosts": "pass" for n in (2, 4, 8)}
    last = findings["speed-up 8 hosts"]
    assert last.cell == cell("scaling", bound="pool", hosts=8).name
    assert last.detail.startswith("7.80x (no interval: 1 block), efficiency 98%; required: at least 7.0x of one host")
    assert last.numbers == {"speedup": 7.8, "efficiency": 0.975, "wanted": 7.0}
    two = [
        replace(m, row=replace(m.row, trial=replace(m.row.trial, cell=replace(m.cell, pool=2)))) for m in trials(IDEAL)
    ]
    assert judge(two)["speed-up 8 hosts"].detail.endswith("a pool of 2")  # of two processes per host
    often = [
        m
        for number, shift in enumerate((-1, 0, 0, 1, 1, 2), 1)
        for m in trials({n: rate + shift for n, rate in IDEAL.items()}, number=number)
    ]
    sure = judge(often)["speed-up 8 hosts"]
    assert sure.detail.startswith("7.73x [7.54, 7.94], efficiency 97%")
    assert 7.5 < sure.numbers["low"] <= sure.numbers["speedup"] <= sure.numbers["high"] < 8


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        ([300.0, 350.0, 351.0, 352.0, 356.0, 360.0], "unknown"),  # 7.02 times one host
        ([300.0, 348.0, 349.0, 349.0, 352.0, 360.0], "unknown"),  # 6.98
        ([351.0, 351.0, 352.0, 353.0, 354.0, 351.0], "pass"),
        ([345.0, 346.0, 347.0, 348.0, 349.0, 349.0], "fail"),
    ],
)
def test_a_speed_up_whose_interval_includes_the_bound_is_unknown(rates: list[float], verdict: str) -> None:
    made = [m for number, rate in enumerate(rates, 1) for m in trials({1: 50.0, 8: rate}, number=number)]
    finding = judge(made)["speed-up 8 hosts"]
    assert finding.verdict == verdict, finding.detail
    assert "pool-bound" in finding.detail


@pytest.mark.parametrize(("hosts", "rate"), [(2, 89.0), (4, 174.0), (8, 349.0)])
def test_an_insufficient_speed_up_fails(hosts: int, rate: float) -> None:
    assert wrong(judge(trials(IDEAL | {hosts: rate}))) == {f"speed-up {hosts} hosts": "fail"}


def test_a_speed_up_is_taken_within_each_block() -> None:
    """Blocks that differ by a factor of ten, each with a speed-up of 7.5, which medians of both sides would hide."""
    speeds = (1.0, 10.0, 3.0, 0.5, 2.0, 7.0)
    made = [m for number, speed in enumerate(speeds, 1) for m in trials({1: 50 * speed, 8: 375 * speed}, number=number)]
    finding = judge(made)["speed-up 8 hosts"]
    assert finding.verdict == "pass"
    assert (finding.numbers["low"], finding.numbers["high"]) == pytest.approx((7.5, 7.5))


def test_a_block_with_an_invalid_trial_drops_out() -> None:
    def speed_up(blocks: int, *invalid: int) -> Finding:
        made = []
        for number in range(1, blocks + 1):
            made += trials({1: 50.0}, number=number) + trials({8: 390.0}, number=number, valid=number not in invalid)
        return judge(made)["speed-up 8 hosts"]

    assert speed_up(6).verdict == "pass"
    assert speed_up(7, 3).verdict == "pass"
    few = speed_up(6, 3)
    assert few.verdict == "unknown"
    assert few.detail.startswith("5 of 6 blocks have valid trials of both, an interval needs 6: 7.80x")
    one_of_two = judge(trials({1: 50.0, 2: 60.0}) + trials({2: 999.0, 1: 1.0}, valid=False, number=2))
    assert one_of_two["speed-up 2 hosts"].verdict == "unknown"
    assert one_of_two["speed-up 2 hosts"].detail.startswith("1 of 2 blocks have valid trials of both: 1.20x")
    assert verdicts(judge(trials({1: 50.0}) + trials({2: 99.0}, number=2))) == {"speed-up 2 hosts": "unknown"}


def test_few_blocks_that_were_planned_must_agree() -> None:
    assert (
        judge(trials({1: 50.0, 2: 99.0}) + trials({1: 50.0, 2: 95.0}, number=2))["speed-up 2 hosts"].verdict == "pass"
    )
    apart = judge(trials({1: 50.0, 2: 99.0}) + trials({1: 50.0, 2: 85.0}, number=2))["speed-up 2 hosts"]
    assert apart.verdict == "unknown"
    assert apart.detail.startswith("the ratios of 2 blocks are on both sides of the bound: 1.83x")


def test_a_speed_up_of_unsteady_trials_only_is_unknown() -> None:
    def marked(*more: TrialRecord) -> list[str]:
        unsteady = trials({2: 99.0}, steady=False)
        findings = judge(trials({1: 50.0, 4: 195.0}, steady=True) + unsteady + list(more))
        unknown = [name for name, verdict in verdicts(findings).items() if verdict == "unknown"]
        assert unknown == [name for name, one in findings.items() if one.detail.startswith(UNSTEADY)]
        return unknown

    assert marked() == ["speed-up 2 hosts"]
    assert marked(*trials({2: 99.0}, steady=True)) == []
    assert marked(*trials({2: 99.0}, steady=True, valid=False)) == ["speed-up 2 hosts"]
    both = judge(trials({1: 50.0}, steady=False) + trials({2: 99.0}, steady=True))
    assert both["speed-up 2 hosts"].detail.startswith(UNSTEADY)


def test_unmeasured_speed_ups_are_unknown_and_unplanned_ones_absent() -> None:
    assert verdicts(judge(trials({1: 50.0, 2: 99.0}))) == {"speed-up 2 hosts": "pass"}
    assert verdicts(judge(trials({1: 50.0}) + trials({2: 99.0}, valid=False))) == {"speed-up 2 hosts": "unknown"}
    for base in (trials({1: 50.0}, valid=False), trials({1: None}), trials({1: 0.0}), []):
        assert verdicts(judge(base + trials({2: 99.0}))) == {"speed-up 2 hosts": "unknown"}


def test_the_cpu_bound_is_reported() -> None:
    findings = judge(trials({1: 100.0, 2: 120.0}, "cpu"))
    assert verdicts(findings) == {"cpu-bound speed-up": "shown"}
    assert findings["cpu-bound speed-up"].numbers == {"speedup": {1: 1.0, 2: 1.2}, "efficiency": {1: 1.0, 2: 0.6}}
    assert findings["cpu-bound speed-up"].detail.startswith(
        "2 hosts 1.20x (no interval: 1 block), efficiency 60% (not judged, shared cores)."
    )
    assert verdicts(judge(trials({1: 100.0, 2: 120.0}, "cpu", valid=False))) == {"cpu-bound speed-up": "unknown"}


def repeated(
    rates: Mapping[int, float], spread: float = 0.01, times: int = 6, invalid: Collection[int] = ()
) -> list[TrialRecord]:
    """CPU-bound trials on hosts with cores of their own; the rate of more hosts than one differs by `spread`."""
    made = []
    for number in range(1, times + 1):
        factor = 1 + spread * (number - times / 2)
        of_block = {n: rate * (1 if n == 1 else factor) for n, rate in rates.items()}
        made += trials(of_block, "cpu", number=number, valid=number not in invalid)
    return [replace(one, own_cores=True) for one in made]


@pytest.mark.parametrize(
    ("records", "verdict", "text"),
    [
        (repeated({1: 100.0, 2: 195.0, 4: 380.0, 8: 760.0}), "pass", "required: 1.8x with 2 hosts"),
        (repeated({1: 100.0, 2: 195.0, 4: 300.0, 8: 760.0}), "fail", "not reached with 4 hosts"),
        (repeated({1: 100.0, 2: 181.0}, spread=0.02), "unknown", "with 2 hosts the interval includes the bound"),
        (repeated({1: 100.0, 2: 195.0}, times=3), "shown", "not judged: an interval needs 6 trials of each"),
        (repeated({1: 100.0, 2: 195.0}, invalid=[2]), "unknown", "with 2 hosts 5 of 6 blocks have valid trials"),
        (repeated({1: 100.0, 2: 195.0, 4: 300.0}, invalid=[2], times=7), "fail", "not reached with 4 hosts"),
        (repeated({1: 100.0, 3: 195.0}), "shown", "not judged: measured with none of 2, 4, 8 hosts"),
        ([replace(one, own_cores=False) for one in repeated({1: 100.0, 2: 150.0})], "shown", "shared cores"),
    ],
)
def test_the_cpu_bound_is_judged_where_hosts_have_cores_of_their_own(
    records: list[TrialRecord], verdict: str, text: str
) -> None:
    finding = judge(records)["cpu-bound speed-up"]
    assert (finding.verdict, text in finding.detail) == (verdict, True), finding.detail


def test_the_rate_of_an_open_load_is_no_result() -> None:
    slow = [
        measured(
            replace(cell("scaling", bound="pool", hosts=8, rate_share=0.7), rate=9.0), history(), figures={"rps": 9.0}
        )
    ]
    assert verdicts(judge(trials(IDEAL) + slow)) == dict.fromkeys(
        ["speed-up 2 hosts", "speed-up 4 hosts", "speed-up 8 hosts"], "pass"
    )


def test_the_cpu_bound_reports_the_bottleneck_of_the_most_hosts() -> None:
    bottlenecks = {1: "load CPU", 2: "app CPU: 2 of 2 hosts"}
    known = [
        replace(m, held_back=bottlenecks[m.cell.hosts], saturated=("some",))
        for m in trials({2: 120.0, 1: 100.0}, "cpu")
    ]
    assert judge(known)["cpu-bound speed-up"].detail.endswith("Bottleneck with 2 hosts: app CPU: 2 of 2 hosts")
    unknown = judge(trials({1: 100.0, 2: 120.0}, "cpu"))["cpu-bound speed-up"]
    assert unknown.detail.endswith("not known, because there is no telemetry")


def test_the_bottleneck_is_that_of_most_trials() -> None:
    def trial(text: str, *saturated: str, valid: bool = True, known: bool = True) -> TrialRecord:
        (one,) = trials({2: 120.0}, "cpu", valid=valid)
        return replace(one, held_back=text, saturated=saturated if known else None)

    base = trials({1: 100.0}, "cpu")
    short, odd = trial("not known, because it was short", known=False), trial("machine: 99%", "machine")
    invalid = trial("load CPU: 95%", "load CPU", valid=False)
    usual = [trial("app CPU: 97%", "app CPU"), trial("app CPU: 96%", "app CPU")]

    def end(*trials: TrialRecord) -> str:
        return judge([*base, *trials])["cpu-bound speed-up"].detail.split("with 2 hosts: ")[1]

    assert end(short, odd, invalid, *usual) == "app CPU: 97% (in 2 of 3 trials)"
    assert end(short, invalid, *usual) == "app CPU: 97%"
    assert end(short) == "not known, because it was short"


def test_each_strategy_has_a_separate_speed_up() -> None:
    def of(strategy: str, rates: Mapping[int, float]) -> list[TrialRecord]:
        made = [replace(cell("scaling", bound="cpu", hosts=n), strategy=strategy) for n in rates]
        return [measured(c, history(), figures={"rps": rates[c.hosts]}) for c in made]

    findings = SCENARIOS["scaling"].judge(of("upsert", {1: 100.0, 2: 120.0}) + of("coalesce", {1: 400.0, 2: 600.0}))
    assert [f.numbers["speedup"] for f in findings] == [{1: 1.0, 2: 1.2}, {1: 1.0, 2: 1.5}]
