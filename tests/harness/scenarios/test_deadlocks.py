"""Crossed updates: two victims, none, a survivor that is not applied, an app without retry, counts that differ.

What the driver's sessions saw is judged in harness/isolation; its doctored results are in tests/harness/isolation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from harness.isolation.transcript import Transcript, to_json
from harness.plan.scenario import RemoteWorkload, Site, Skip
from harness.record import DeadlockCounts, TrialRecord
from harness.scenarios import SCENARIOS
from harness.scenarios.deadlocks import PAIRS
from tests.support.histories import Columns, history
from tests.support.records import FOREIGN, cell, cells, check, counted, measured, wrong

PLAIN, RETRY = cell("deadlocks", through="service", retry=False), cell("deadlocks", through="service", retry=True)
ALIKE = "deadlocks counted alike"
OK, VICTIM, RESET = ("ok", ""), ("fail", "40P01 deadlock detected"), ("unknown", "reset")
Answer = tuple[str, str]


def lane(answers: Iterable[Answer], retries: Iterable[float] = ()) -> Columns:
    said = list(answers)
    return history(
        *((0, 1000, outcome, None) for outcome, _ in said),
        key=[f"pair-{n}" for n in range(len(said))],
        error=[error for _, error in said],
        captured={"retries": list(retries) or [0.0] * len(said)},
    )


def record(
    first: list[Answer],
    second: list[Answer],
    *,
    of: Any = PLAIN,
    retries: Iterable[float] = (),
    deadlocks: DeadlockCounts | None = None,
    **rows: int,
) -> TrialRecord:
    """The pairs' answers in both lanes; the rows hold what was committed, or what `rows` says of `pair_<n><a|b>`."""
    final = {
        f"pair-{n}{row}": [first[n][0], second[n][0]].count("ok") for n in range(len(first)) for row in "ab"
    } | {name.replace("_", "-"): value for name, value in rows.items()}  # fmt: skip
    lanes = {"main": lane(first, retries), "crossed": lane(second)}
    return measured(of, lanes, final=final, counts=counted(2 * len(first)), deadlocks=deadlocks)


def seen(n: int, log: int | None = None) -> DeadlockCounts:
    return DeadlockCounts(statistics=n, log=n if log is None else log)


def test_the_cells() -> None:
    assert [(c.params["through"], c.params.get("retry"), c.hosts, c.pool) for c in cells("deadlocks")] == [
        ("driver", None, 1, 5), ("service", False, 2, 25), ("service", True, 2, 25),
    ]  # fmt: skip
    assert {c.pool for c in cells("deadlocks", Site(hosts=8, connections=50), hosts="4")} == {5, 10}
    assert {c.pool for c in cells("deadlocks", Site(hosts=8, connections=54, workers=4), hosts="4")} == {5, 8}
    assert [c.params["through"] for c in cells("deadlocks", Site(hosts=2, managed=False))] == ["driver"]
    with pytest.raises(Skip, match="needs the database itself"):
        cells("deadlocks", FOREIGN)


def test_the_driver_cell_is_judged_by_the_findings_of_the_stepper() -> None:
    driver = cell("deadlocks", through="driver")
    work = SCENARIOS["deadlocks"].workload(measured(driver, history()).row.trial)
    assert isinstance(work, RemoteWorkload)
    assert work.job == {"what": "deadlocks", "pairs": [1, PAIRS]}
    from harness.errors import FormatError

    with pytest.raises(FormatError, match="contains no round"):
        check(measured(driver, history(), workload_result={"rounds": []}))


def test_one_victim_and_one_commit_in_each_pair_pass() -> None:
    found = check(record([OK] * PAIRS, [VICTIM] * PAIRS, deadlocks=seen(PAIRS)))
    assert wrong(found) == {}
    assert f"in each of {PAIRS} pairs that crossed" in found["one victim a pair"].detail


def test_pairs_that_did_not_meet_are_said_and_not_held_against_the_rest() -> None:
    found = check(record([OK] * PAIRS, [VICTIM] * 19 + [OK], deadlocks=seen(19)))
    assert wrong(found) == {}
    assert "1 of 20 pairs did not meet" in found["one victim a pair"].detail


@pytest.mark.parametrize(("met", "verdict"), [(15, "pass"), (14, "unknown"), (1, "unknown"), (0, "fail")])
def test_most_pairs_must_meet_to_show_anything(met: int, verdict: str) -> None:
    answers = [VICTIM] * met + [OK] * (PAIRS - met)
    found = check(record([OK] * PAIRS, answers, deadlocks=seen(met)))["one victim a pair"]
    assert found.verdict == verdict
    assert ("15 at least must meet" in found.detail) == (met < 15)
    retries = [1.0] * met + [0.0] * (PAIRS - met)
    saved = check(record([OK] * PAIRS, [OK] * PAIRS, of=RETRY, retries=retries, deadlocks=seen(met)))
    assert saved["retry saves both"].verdict == verdict


def test_one_pair_that_deadlocks_often_is_not_many_that_met() -> None:
    retries = [20.0] + [0.0] * (PAIRS - 1)
    found = check(record([OK] * PAIRS, [OK] * PAIRS, of=RETRY, retries=retries, deadlocks=seen(20)))
    assert wrong(found) == {"retry saves both": "unknown"}


def test_two_victims_in_a_pair_fail() -> None:
    found = check(record([OK] * 19 + [VICTIM], [VICTIM] * PAIRS, deadlocks=seen(PAIRS + 1)))
    assert wrong(found) == {"one victim a pair": "fail"}


def test_no_deadlock_at_all_fails() -> None:
    found = check(record([OK] * PAIRS, [OK] * PAIRS, deadlocks=seen(0)))
    assert wrong(found) == {"one victim a pair": "fail"}


def test_any_other_error_fails_and_is_named() -> None:
    found = check(record([OK] * PAIRS, [VICTIM] * 19 + [("fail", "57014")], deadlocks=seen(19)))
    assert wrong(found) == {"one victim a pair": "fail"}
    assert "pair-19: fail 57014" in found["one victim a pair"].detail


def test_a_survivor_that_is_not_applied_or_a_victim_that_is_fails() -> None:
    good = ([OK] * PAIRS, [VICTIM] * PAIRS)
    found = check(record(*good, deadlocks=seen(PAIRS), pair_3b=0))
    assert wrong(found) == {"survivors are applied": "fail"}
    assert found["survivors are applied"].detail == "row pair-3b holds 0 after 1 commits"
    assert wrong(check(record(*good, deadlocks=seen(PAIRS), pair_3a=2))) == {"survivors are applied": "fail"}


@pytest.mark.parametrize(("held", "verdict"), [(0, "fail"), (1, "pass"), (2, "pass"), (3, "fail")])
def test_an_unknown_request_may_be_applied_or_not(held: int, verdict: str) -> None:
    both = {"pair_19a": held, "pair_19b": held}
    found = check(record([OK] * PAIRS, [VICTIM] * 19 + [RESET], deadlocks=seen(19), **both))
    assert found["survivors are applied"].verdict == verdict
    assert found["one victim a pair"].verdict == "fail"


@pytest.mark.parametrize("server", [seen(PAIRS - 1), seen(PAIRS, log=PAIRS - 1), seen(PAIRS + 1, log=PAIRS)])
def test_counts_that_differ_fail(server: Mapping[str, int]) -> None:
    assert wrong(check(record([OK] * PAIRS, [VICTIM] * PAIRS, deadlocks=server))) == {ALIKE: "fail"}


def test_deadlocks_that_nobody_counted_are_unknown() -> None:
    assert wrong(check(record([OK] * PAIRS, [VICTIM] * PAIRS))) == {ALIKE: "unknown"}


def test_a_log_that_was_not_read_leaves_the_count_unknown_and_a_wrong_one_wrong() -> None:
    answers = ([OK] * PAIRS, [VICTIM] * PAIRS)
    found = check(record(*answers, deadlocks=DeadlockCounts(statistics=PAIRS)))
    assert wrong(found) == {ALIKE: "unknown"}
    assert found[ALIKE].detail == "clients 20, pg_stat_database 20, server log not read"
    assert wrong(check(record(*answers, deadlocks=DeadlockCounts(statistics=PAIRS - 1)))) == {ALIKE: "fail"}


def test_the_drivers_deadlocks_in_the_log_are_never_left_out() -> None:
    driver = cell("deadlocks", through="driver")
    rounds = [{"pairs": 1, "counted_before": 0, "counted_after": 0, "transcript": to_json(Transcript(level="x"))}]
    result = {"rounds": rounds, "version": "PostgreSQL 15", "deadlock_timeout_ms": 1000}
    for deadlocks, verdict in (None, "unknown"), (seen(0), "pass"), (seen(1), "fail"):
        said = check(measured(driver, history(), workload_result=result, deadlocks=deadlocks))
        assert said["deadlocks in the log"].verdict == verdict


def test_no_request_at_all_passes_nothing() -> None:
    found = check(record([], [], deadlocks=seen(0)))
    assert wrong(found) == {"one victim a pair": "fail", "survivors are applied": "unknown"}


def test_a_retry_that_saves_both_passes() -> None:
    retries = [1.0] * 19 + [float("nan")]
    found = check(record([OK] * PAIRS, [OK] * PAIRS, of=RETRY, retries=retries, deadlocks=seen(19)))
    assert wrong(found) == {}
    assert "both requests of 20 of 20 pairs committed after 19 retries" in found["retry saves both"].detail


def test_an_app_without_retry_fails_though_retry_was_asked_for() -> None:
    found = check(record([OK] * PAIRS, [VICTIM] * PAIRS, of=RETRY, deadlocks=seen(PAIRS)))
    assert wrong(found) == {"retry saves both": "fail"}
    assert "40P01" in found["retry saves both"].detail


def test_pairs_that_never_met_show_no_retry() -> None:
    found = check(record([OK] * PAIRS, [OK] * PAIRS, of=RETRY, deadlocks=seen(0)))
    assert wrong(found) == {"retry saves both": "fail"}


def test_one_pair_that_is_not_saved_fails() -> None:
    answers = [OK] * 19 + [VICTIM]
    """Its request lost as often as the service ran it again, and once more."""
    for deadlocks, said in ((23, {}), (22, {ALIKE: "fail"})):
        made = record(answers, [OK] * PAIRS, of=RETRY, retries=[1.0] * 19 + [3.0], deadlocks=seen(deadlocks))
        assert wrong(check(made)) == {"retry saves both": "fail"} | said


def test_layers_that_count_differently_fail() -> None:
    made = record([OK] * PAIRS, [VICTIM] * PAIRS, deadlocks=seen(PAIRS))
    broken = measured(
        PLAIN,
        made.lanes,
        final=made.evidence.final,
        counts=counted(40) | {"app": 41},
        deadlocks=made.evidence.deadlocks,
    )
    assert wrong(check(broken)) == {"counts agree": "fail"}
