"""The answers to the five success criteria; a criterion that was not measured never passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checks.faults import SURVIVED
from harness.model import Cell, Finding, Verdict
from harness.report.criteria import CRITERIA, Answer, answers
from harness.store.run_reader import Run
from tests.support.builders import RIG, Made, concurrent, found, passing, store

WRITES, LOST, DEADLOCKS, SCALING, RELIABLE = range(5)


def answer(
    which: int, tmp_path: Path, findings: list[Finding], trials: list[Made] | None = None, **more: object
) -> Answer:
    run: Run = store(tmp_path, trials or [], findings, **more)  # type: ignore[arg-type]
    return answers(run)[which]


def speed_ups(*hosts: int) -> list[Finding]:
    return [found(Cell(scenario="scaling", hosts=n), f"speed-up {n} hosts") for n in hosts]


def test_there_are_five_criteria() -> None:
    assert len(CRITERIA) == 5


def test_thousand_writes_pass(tmp_path: Path) -> None:
    result = answer(WRITES, tmp_path, passing(concurrent()))
    assert (result.state, result.because) == (
        "pass",
        "concurrent-writes, acknowledged: 1,000 of 1,000 acknowledged (100 %)",
    )


def test_the_last_speed_up_is_quoted(tmp_path: Path) -> None:
    result = answer(SCALING, tmp_path, [found(Cell(scenario="scaling"), "spread"), *speed_ups(2, 4, 8)])
    assert (result.state, result.because) == (
        "pass",
        "scaling, speed-up 8 hosts: as it should be, and 3 more checks; pool-bound: pass; "
        "CPU-bound: not judged, shared cores",
    )


@pytest.mark.parametrize(
    ("judged", "absent"), [((), "2, 4, 8"), ((2,), "4, 8"), ((2, 4), "8"), ((2, 8), "4"), ((4, 8), "2")]
)
def test_scaling_is_not_measured_without_a_judged_speed_up_of_each_size(
    tmp_path: Path, judged: tuple[int, ...], absent: str
) -> None:
    """A speed-up that is only reported, such as the CPU-bound one, is no answer."""
    reported = found(Cell(scenario="scaling"), "cpu-bound speed-up", detail="1 hosts 1.00x, 2 hosts 1.01x")
    result = answer(SCALING, tmp_path, [reported, *speed_ups(*judged)])
    assert result.state == "not measured"
    assert result.because.startswith(f"no judged speed-up of {absent} hosts; the criterion asks for 2, 4, 8 hosts")


def test_failed_speed_up_fails_although_others_are_absent(tmp_path: Path) -> None:
    bad = found(Cell(scenario="scaling"), "speed-up 2 hosts", "fail", "1.20x of one host")
    assert answer(SCALING, tmp_path, [bad]).state == "fail"


def test_fewer_writes_than_the_criterion_asks_for_are_not_enough(tmp_path: Path) -> None:
    result = answer(WRITES, tmp_path, passing(concurrent(requests=100, clients=100)))
    assert result.state == "not measured"
    assert "100 writes were sent at once, the criterion asks for 1,000" in result.because


@pytest.mark.parametrize("verdict", ["fail", "unknown"])
def test_one_cell_that_does_not_pass_is_the_answer(tmp_path: Path, verdict: str) -> None:
    bad = found(concurrent("spread"), "acknowledged", verdict, "999 of 1,000", expected=1000)
    result = answer(WRITES, tmp_path, [*passing(concurrent()), bad])
    assert (result.state, result.because) == (verdict, "concurrent-writes, acknowledged: 999 of 1,000")


def test_a_limit_of_the_user_is_no_part_of_an_answer(tmp_path: Path) -> None:
    """Half of the requests of a deadlock fail on purpose."""
    cell = Cell(scenario="deadlocks")
    judged = [found(cell, "one victim per pair"), found(cell, "SLO", "fail", detail="errors 35%, above 0.1%")]
    assert answer(DEADLOCKS, tmp_path, judged).state == "pass"


def test_lost_update_in_any_scenario_fails(tmp_path: Path) -> None:
    bad = found(Cell(scenario="throughput"), "final value", "fail", "1 lost updates", lost=1)
    assert answer(LOST, tmp_path, [*passing(concurrent()), bad]).state == "fail"


def test_updates_that_sqlite_loses_do_not_count(tmp_path: Path) -> None:
    cell = concurrent(backend="sqlite-naive")
    bad = found(cell, "final value", "fail", "1 lost updates", lost=1)
    assert answer(LOST, tmp_path, [*passing(concurrent()), bad], [Made(cell=cell)]).state == "pass"


def test_invalid_trial_makes_the_answer_unknown(tmp_path: Path) -> None:
    cell = concurrent()
    trials = [Made(cell=cell), Made(cell=cell, number=2, valid=False, reason="CPU 97 %")]
    result = answer(WRITES, tmp_path, passing(cell), trials)
    assert result.state == "unknown"
    assert result.because == "concurrent-writes, acknowledged is based on an invalid trial: CPU 97 %"


def test_trial_that_was_measured_once_more_counts(tmp_path: Path) -> None:
    cell = concurrent()
    trials = [Made(cell=cell, valid=False, reason="CPU 97 %"), Made(cell=cell)]
    assert answer(WRITES, tmp_path, passing(cell), trials).state == "pass"


def test_failure_in_an_invalid_trial_is_a_failure(tmp_path: Path) -> None:
    cell = concurrent()
    bad = found(cell, "final value", "fail", "5 lost updates", lost=5)
    assert answer(LOST, tmp_path, [bad], [Made(cell=cell, valid=False, reason="slow")]).state == "fail"


def test_finding_about_a_whole_scenario_needs_all_its_trials(tmp_path: Path) -> None:
    trials = [
        Made(cell=Cell(scenario="scaling", hosts=n), valid=n != 4, reason="CPU" if n == 4 else "") for n in (1, 4)
    ]
    result = answer(SCALING, tmp_path, [found("scaling", "speed-up", detail="3.9x")], trials)
    assert (result.state, result.because) == ("unknown", "scaling, speed-up is based on an invalid trial: CPU")


def test_scenario_that_was_not_run_is_not_measured_with_the_reason(tmp_path: Path) -> None:
    assert answer(SCALING, tmp_path, []).because == "scaling was not part of this run"
    result = answer(DEADLOCKS, tmp_path, [], skipped={"deadlocks": "no --dsn"})
    assert (result.state, result.because) == ("not measured", "deadlocks was skipped: no --dsn")


def faults(*names: str, seen: int = 1) -> list[Finding]:
    """The findings of faults that were survived; `seen`: how many of each were seen to happen."""
    verdict: Verdict = "pass" if seen else "fail"
    return [
        found(cell, check, verdict, "1,600 acknowledged", faults=seen)
        for name in names
        for cell in [Cell(scenario="faults", mode="open", params={"fault": name, "rate_share": 0.4})]
        for check in ("nothing lost", "fault seen")
    ]


@pytest.mark.parametrize("extra", [[], passing(concurrent())])
def test_reliability_is_not_measured_unless_a_fault_was_injected(tmp_path: Path, extra: list[Finding]) -> None:
    every = [found(name, "all well") for name in ("isolation", "long-transactions", "connections")]
    for findings in (every, extra):
        result = answer(RELIABLE, tmp_path / f"{len(findings)}", findings)
        assert result.state == "not measured"
        if findings:
            assert result.because.startswith("no fault was injected: no process, host or connection was stopped")
        assert "faults was not part of this run" in result.because
    with_faults = [*every, *extra, *faults("app-kill", "db-crash", "lb-reload")]
    result = answer(RELIABLE, tmp_path / "faults", with_faults)
    assert result.state == "pass"
    assert "faults, nothing lost: 1,600 acknowledged" in result.because


def test_reliability_needs_a_fault_of_each_part(tmp_path: Path) -> None:
    result = answer(RELIABLE, tmp_path, faults("app-kill", "lb-reload", "slow-network"))
    assert (result.state, result.because.split(";")[0]) == ("not measured", "not injected: db-crash")


@pytest.mark.parametrize(
    ("survived", "state", "missing"),
    [
        (["app-kill", "db-crash", "lb-reload", "app-kill"], "pass", ""),
        (["app-kill", "db-crash"], "not measured", "lb-reload"),
        (
            ["app-pause", "db-pause", "partition-db", "connections-gone"],
            "not measured",
            "app-kill, db-crash, lb-reload",
        ),
        (None, "not measured", "app-kill, db-crash, lb-reload"),
        (5, "not measured", "app-kill, db-crash, lb-reload"),
        ([["db-crash"], {}], "not measured", "app-kill, db-crash, lb-reload"),
    ],
    ids=["each part", "no load balancer", "nothing was killed", "stored before they were named", "a number", "tables"],
)
def test_a_mixed_schedule_counts_for_the_faults_that_it_had(
    tmp_path: Path, survived: object, state: str, missing: str
) -> None:
    mixed = Cell(scenario="faults", mode="open", params={"fault": "mixed", "rate_share": 0.4})
    numbers = {} if survived is None else {SURVIVED: survived}
    healed = found(mixed, "healed", "pass", "active", faults=4, **numbers)
    result = answer(RELIABLE, tmp_path, [*faults("mixed"), healed])
    assert result.state == state
    if missing:
        assert result.because.startswith(f"not injected: {missing}; without them the criterion is not answered")


def test_a_mixed_schedule_completes_the_faults_of_other_trials(tmp_path: Path) -> None:
    mixed = Cell(scenario="faults", mode="open", params={"fault": "mixed:0+3", "rate_share": 0.4})
    healed = found(mixed, "healed", "pass", "active", faults=2, **{SURVIVED: ["lb-reload", "db-pause"]})
    assert answer(RELIABLE, tmp_path, [*faults("app-kill", "db-crash", "mixed:0+3"), healed]).state == "pass"


def test_faults_that_were_not_seen_do_not_count(tmp_path: Path) -> None:
    assert answer(RELIABLE, tmp_path, faults("app-kill", "db-crash", "lb-reload", seen=0)).state == "fail"


def test_failure_without_an_injected_fault_is_a_failure(tmp_path: Path) -> None:
    every = [found(name, "all well") for name in ("isolation", "long-transactions")]
    bad = found("connections", "recovery", "fail", "8 of 10 were served")
    assert answer(RELIABLE, tmp_path, [*every, bad]).state == "fail"


def test_scenario_without_a_finding_is_not_measured(tmp_path: Path) -> None:
    result = answer(SCALING, tmp_path, [], [Made(cell=Cell(scenario="scaling"))])
    assert result.because == "scaling was run, but has no finding about this"


def test_figures_that_cannot_fail_are_no_part_of_an_answer(tmp_path: Path) -> None:
    shown = found("scaling", "cpu-bound speed-up", "shown", "2 hosts 1.1x")
    assert answer(SCALING, tmp_path / "alone", [shown]).state == "not measured"
    result = answer(SCALING, tmp_path / "both", [shown, *speed_ups(2, 4, 8)])
    assert "and 2 more checks; pool-bound: pass" in result.because


def test_hosts_with_cores_of_their_own_are_not_called_shared(tmp_path: Path) -> None:
    hosts = [host.model_copy(update={"boot_id": f"kernel-{n}"}) for n, host in enumerate(RIG.hosts)]
    rig = RIG.model_copy(update={"provider": "static", "hosts": hosts})
    assert answer(SCALING, tmp_path, speed_ups(2, 4, 8), rig=rig).because.endswith(
        "CPU-bound: not judged, not measured with an interval"
    )
    judged = [*speed_ups(2, 4, 8), found("scaling", "cpu-bound speed-up")]
    assert answer(SCALING, tmp_path / "cpu", judged, rig=rig).because.endswith("pool-bound: pass; CPU-bound: pass")
    slow = found("scaling", "cpu-bound speed-up", "fail", "2 hosts 1.1x")
    assert answer(SCALING, tmp_path / "slow", [*speed_ups(2, 4, 8), slow], rig=rig).state == "fail"


def test_no_lost_update_is_claimed_with_its_bound(tmp_path: Path) -> None:
    """0 of 2,000: below 0.15 % at 95 %."""
    cells = [concurrent("hot"), concurrent("spread")]
    findings = [found(cell, "final value", lost=0, ok=1000) for cell in cells]
    result = answer(LOST, tmp_path, findings)
    assert result.because.endswith("; 0 of 2,000 lost: a share below 0.15 % at 95 % confidence")


def test_a_failure_is_quoted_from_the_scenario_that_the_criterion_needs(tmp_path: Path) -> None:
    other = found("pool-sweep", "t(5) < 0.3 t(1)", "fail", "0.64")
    fault = found(Cell(scenario="faults"), "recovers by itself", "fail", "db-crash: it did not")
    result = answer(RELIABLE, tmp_path, [other, fault])
    assert result.because == "faults, recovers by itself: db-crash: it did not; 1 more check fails"
    slow = [found(Cell(scenario="scaling", hosts=n), f"speed-up {n} hosts", "fail", f"of {n}") for n in (2, 4, 8)]
    result = answer(SCALING, tmp_path / "b", [found(Cell(scenario="scaling"), "spread", "fail"), *slow])
    assert result.because == "scaling, speed-up 8 hosts: of 8; 3 more checks fail"


def test_the_writes_of_the_needed_scenario_are_quoted(tmp_path: Path) -> None:
    later = found(Cell(scenario="faults"), "final value", detail="116 for 116", lost=0, ok=116)
    result = answer(LOST, tmp_path, [*passing(concurrent()), later])
    assert result.because.startswith("concurrent-writes, final value: ")
