"""Schedules of faults: pure functions of a cell, within the limits that they promise."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from harness.checks.names import FAULT_SEEN, NOTHING_DOUBLED, NOTHING_LOST, RECOVERS
from harness.errors import UsageError
from harness.fault_record import PlannedFault
from harness.model import Cell
from harness.plan.fault_schedule import (
    AT_S,
    CALM_S,
    CONTROLS,
    KINDS,
    LOAD_HOST_KILL,
    MIXED_S,
    QUICK_S,
    RECOVERY_S,
    hold_s,
    load_s,
    parse_faults,
    reduced,
    schedule,
)
from harness.plan.shrink import ddmin


def cell(fault: str, seconds: float, **params: object) -> Cell:
    return Cell(scenario="faults", hosts=4, mode="open", seconds=seconds, params={"fault": fault, **params})


@pytest.mark.parametrize("fault", KINDS)
def test_a_single_fault_has_a_before_and_an_after(fault: str) -> None:
    (whole,), (short,) = schedule(cell(fault, load_s(fault, 4))), schedule(cell(fault, QUICK_S))
    assert whole == PlannedFault(fault=fault, at_s=AT_S, hold_s=hold_s(fault, 4))
    assert short.at_s >= 0.8
    assert short.at_s + short.hold_s <= QUICK_S - 1.5
    assert 14 <= load_s(fault, 4) <= 40


def test_restarting_all_hosts_takes_longer_with_more_of_them() -> None:
    assert load_s("app-roll", 8) == load_s("app-roll", 4) + 24
    assert load_s("app-kill", 8) == load_s("app-kill", 4)


def test_a_cell_without_a_fault_has_no_schedule() -> None:
    assert schedule(Cell(scenario="faults")) == ()


def test_all_faults_together_take_less_than_ten_minutes() -> None:
    overhead_s = 12.0  # configure, reset, snapshots, collecting the samples, store
    assert sum(load_s(fault, 4) + overhead_s for fault in KINDS) < 560


@pytest.mark.parametrize("seed", range(30))
def test_a_mixed_schedule_keeps_its_limits(seed: int) -> None:
    planned = schedule(cell("mixed", MIXED_S, seed=seed))
    assert len(planned) >= 5
    assert planned == schedule(cell("mixed", MIXED_S, seed=seed))
    assert [each.at_s for each in planned] == sorted(each.at_s for each in planned)
    for number, each in enumerate(planned):
        assert each.fault in KINDS
        assert each.fault != LOAD_HOST_KILL
        assert each.at_s >= AT_S
        assert each.at_s + each.hold_s <= MIXED_S - CALM_S
        present = [one for one in planned[:number] if one.at_s + one.hold_s + RECOVERY_S > each.at_s]
        assert len(present) <= 1
        assert KINDS[each.fault].part not in {KINDS[one.fault].part for one in present}


@pytest.mark.parametrize("hosts", [1, 2, 3, 4])
def test_a_fault_hits_a_host_that_serves(hosts: int) -> None:
    """A bench on two of four hosts drains the others: a fault on one of those shows nothing."""
    hit = {
        each.host for seed in range(20) for each in schedule(replace(cell("mixed", MIXED_S, seed=seed), hosts=hosts))
    }
    assert hit == set(range(hosts))


def test_another_seed_gives_another_schedule() -> None:
    assert schedule(cell("mixed", MIXED_S, seed=1)) != schedule(cell("mixed", MIXED_S, seed=2))


@pytest.mark.parametrize("seed", range(20))
def test_a_disk_is_filled_once_in_a_mixed_schedule(seed: int) -> None:
    """Its filesystem stays until the load has ended."""
    planned = [each.fault for each in schedule(cell("mixed", 3600.0, seed=seed))]
    assert planned.count("db-full") == 1
    assert planned.count("db-crash") > 1
    alone = "+".join(name for name in KINDS if name != "db-full")
    assert [each.fault for each in schedule(cell("mixed", 600.0, seed=seed, without=alone))] == ["db-full"]


def test_a_mixed_schedule_lacks_what_the_rig_cannot_have() -> None:
    some = [name for name in KINDS if KINDS[name].part != "lb"]
    planned = schedule(cell("mixed", 600.0, seed=1, without="+".join(some)))
    assert planned
    assert {KINDS[each.fault].part for each in planned} == {"lb"}
    assert schedule(cell("mixed", 600.0, seed=1, without="+".join(KINDS))) == ()


def test_a_reduced_schedule_keeps_its_faults_as_they_were() -> None:
    whole = schedule(cell("mixed", MIXED_S, seed=7))
    assert schedule(cell(reduced((1, 3)), MIXED_S, seed=7)) == (whole[1], whole[3])
    with pytest.raises(UsageError, match="counted from 0"):
        schedule(cell("mixed:99", MIXED_S, seed=7))


def test_the_controls_name_faults_and_checks_that_exist() -> None:
    assert {each.fault for each in CONTROLS.values()} <= set(KINDS)
    assert [each.check for each in CONTROLS.values()] == [
        NOTHING_LOST, NOTHING_DOUBLED, NOTHING_LOST, RECOVERS, FAULT_SEEN,
    ]  # fmt: skip


def test_controls_change_the_schedule() -> None:
    (idle,) = schedule(cell("app-kill", 16.0, control="no-injection"))
    assert idle.idle
    kills = schedule(cell("app-kill", 16.0, control="proxy-replay"))
    assert [kill.host for kill in kills] == [0, 1, 2, 3]
    assert kills[-1].at_s + kills[-1].hold_s < 14


def test_faults_are_parsed_with_the_nearest_name() -> None:
    assert parse_faults("fault", "db-crash, app-kill,db-crash") == ("db-crash", "app-kill")
    assert parse_faults("fault", "mixed:0+12") == ("mixed:0+12",)
    for text, hint in (("db-crsh", "did you mean 'db-crash'?"), (",", "known: app-kill"), ("mixd:1", "mixed")):
        with pytest.raises(UsageError) as error:
            parse_faults("fault", text)
        assert hint in error.value.hint
    for text in ("app-kill:1", "mixed:", "mixed:1+", "mixed:a", "mixed:-1"):
        with pytest.raises(UsageError, match="only a mixed schedule is reduced"):
            parse_faults("fault", text)


@pytest.mark.parametrize(
    ("count", "needed"), [(1, {0}), (8, {3}), (8, {0, 7}), (12, {2, 5, 11}), (6, set(range(6))), (9, {4, 5})]
)
def test_ddmin_finds_the_fewest_faults_that_fail(count: int, needed: set[int]) -> None:
    tried: list[tuple[int, ...]] = []

    def fails(candidate: tuple[int, ...]) -> bool:
        tried.append(candidate)
        return needed <= set(candidate)

    assert set(ddmin(count, fails)) == needed
    assert len(tried) <= count * count + 3 * count


def test_ddmin_ends_where_failures_come_and_go() -> None:
    rng = random.Random(3)
    assert ddmin(10, lambda _: rng.random() < 0.3)
