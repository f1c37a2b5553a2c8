"""Crossed updates: two victims, none, a commit that is not applied, a service without retry, different counts.

The findings of the direct sessions are tested in tests/harness/isolation.
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
ALIKE = "deadlock counts agree"
OK, VICTIM, RESET = ("ok", ""), ("fail", "40P01 deadlock detected"), ("unknown", "reset")
Result = tuple[str, str]


def lane(results: Iterable[Result], retries: Iterable[float] = ()) -> Columns:
    rows = list(results)
    return history(
        *((0, 1000, outcome, None) for outcome, _ in rows),
        key=[f"pair-{n}" for n in range(len(rows))],
        error=[error for _, error in rows],
        captured={"retries": list(retries) or [0.0] * len(rows)},
    )


def record(
    first: list[Result],
    second: list[Result],
    *,
    of: Any = PLAIN,
    retries: Iterable[float] = (),
    deadlocks: DeadlockCounts | None = None,
    **rows: int,
) -> TrialRecord:
    """The pairs' results in both lanes. Rows hold the number of commits, or the value in `rows` (`pair_<n><a|b>`)."""
    final = {
        f"pair-{n}{row}": [first[n][0], second[n][0]].count("ok") for n in range(len(first)) for row in "ab"
    } | {name.replace("_", "-"): value for name, value in rows.items()}  # fmt: skip
    lanes = {"main": lane(first, retries), "crossed": lane(second)}
    return measured(of, lanes, final=final, counts=counted(2 * len(first)), deadlocks=deadlocks)


def server_counts(n: int, log: int | None = None) -> DeadlockCounts:
    return DeadlockCounts(statistics=n, log=n if log is None else log)


def test_cells() -> None:
    assert [(c.params["through"], c.params.get("retry"), c.hosts, c.pool) for c in cells("deadlocks")] == [
        ("driver", None, 1, 5), ("service", False, 2, 25), ("service", True, 2, 25),
    ]  # fmt: skip
    assert {c.pool for c in cells("deadlocks", Site(hosts=8, connections=50), hosts="4")} == {5, 10}
    assert {c.pool for c in cells("deadlocks", Site(hosts=8, connections=54, workers=4), hosts="4")} == {5, 8}
    assert [c.params["through"] for c in cells("deadlocks", Site(hosts=2, managed=False))] == ["driver"]
    with pytest.raises(Skip, match="needs the database itself"):
        cells("deadlocks", FOREIGN)


def test_the_driver_cell_runs_direct_sessions() -> None:
    driver = cell("deadlocks", through="driver")
    work = SCENARIOS["deadlocks"].workload(measured(driver, history()).row.trial)
    assert isinstance(work, RemoteWorkload)
    assert work.job == {"what": "deadlocks", "pairs": [1, PAIRS]}
    from harness.errors import FormatError

    with pytest.raises(FormatError, match="contains no round"):
        check(measured(driver, history(), workload_result={"rounds": []}))


def test_one_victim_and_one_commit_per_pair_pass() -> None:
    findings = check(record([OK] * PAIRS, [VICTIM] * PAIRS, deadlocks=server_counts(PAIRS)))
    assert wrong(findings) == {}
    assert f"{PAIRS} pairs deadlocked with exactly one victim" in findings["one victim per pair"].detail


def test_a_few_pairs_without_deadlock_are_reported_and_pass() -> None:
    findings = check(record([OK] * PAIRS, [VICTIM] * 19 + [OK], deadlocks=server_counts(19)))
    assert wrong(findings) == {}
    assert "1 of 20 pairs did not deadlock" in findings["one victim per pair"].detail


@pytest.mark.parametrize(("deadlocked", "verdict"), [(15, "pass"), (14, "unknown"), (1, "unknown"), (0, "fail")])
def test_most_pairs_must_deadlock(deadlocked: int, verdict: str) -> None:
    answers = [VICTIM] * deadlocked + [OK] * (PAIRS - deadlocked)
    finding = check(record([OK] * PAIRS, answers, deadlocks=server_counts(deadlocked)))["one victim per pair"]
    assert finding.verdict == verdict
    assert ("at least 15 pairs must deadlock" in finding.detail) == (deadlocked < 15)
    retries = [1.0] * deadlocked + [0.0] * (PAIRS - deadlocked)
    saved = check(record([OK] * PAIRS, [OK] * PAIRS, of=RETRY, retries=retries, deadlocks=server_counts(deadlocked)))
    assert saved["retry commits both"].verdict == verdict


def test_many_deadlocks_of_one_pair_count_as_one_pair() -> None:
    retries = [20.0] + [0.0] * (PAIRS - 1)
    findings = check(record([OK] * PAIRS, [OK] * PAIRS, of=RETRY, retries=retries, deadlocks=server_counts(20)))
    assert wrong(findings) == {"retry commits both": "unknown"}


def test_two_victims_in_a_pair_fail() -> None:
    findings = check(record([OK] * 19 + [VICTIM], [VICTIM] * PAIRS, deadlocks=server_counts(PAIRS + 1)))
    assert wrong(findings) == {"one victim per pair": "fail"}


def test_no_deadlock_at_all_fails() -> None:
    findings = check(record([OK] * PAIRS, [OK] * PAIRS, deadlocks=server_counts(0)))
    assert wrong(findings) == {"one victim per pair": "fail"}


def test_any_other_error_fails_and_is_in_the_detail() -> None:
    findings = check(record([OK] * PAIRS, [VICTIM] * 19 + [("fail", "57014")], deadlocks=server_counts(19)))
    assert wrong(findings) == {"one victim per pair": "fail"}
    assert "pair-19: fail 57014" in findings["one victim per pair"].detail


def test_an_unapplied_commit_or_an_applied_victim_fails() -> None:
    good = ([OK] * PAIRS, [VICTIM] * PAIRS)
    findings = check(record(*good, deadlocks=server_counts(PAIRS), pair_3b=0))
    assert wrong(findings) == {"committed updates applied": "fail"}
    assert findings["committed updates applied"].detail == "row pair-3b holds 0 after 1 commits"
    assert wrong(check(record(*good, deadlocks=server_counts(PAIRS), pair_3a=2))) == {
        "committed updates applied": "fail"
    }


@pytest.mark.parametrize(("held", "verdict"), [(0, "fail"), (1, "pass"), (2, "pass"), (3, "fail")])
def test_an_unknown_request_may_or_may_not_be_applied(held: int, verdict: str) -> None:
    both = {"pair_19a": held, "pair_19b": held}
    findings = check(record([OK] * PAIRS, [VICTIM] * 19 + [RESET], deadlocks=server_counts(19), **both))
    assert findings["committed updates applied"].verdict == verdict
    assert findings["one victim per pair"].verdict == "fail"


@pytest.mark.parametrize(
    "server", [server_counts(PAIRS - 1), server_counts(PAIRS, log=PAIRS - 1), server_counts(PAIRS + 1, log=PAIRS)]
)
def test_different_counts_fail(server: Mapping[str, int]) -> None:
    assert wrong(check(record([OK] * PAIRS, [VICTIM] * PAIRS, deadlocks=server))) == {ALIKE: "fail"}


def test_missing_server_counts_are_unknown() -> None:
    assert wrong(check(record([OK] * PAIRS, [VICTIM] * PAIRS))) == {ALIKE: "unknown"}


def test_an_unread_log_is_unknown_unless_another_count_differs() -> None:
    answers = ([OK] * PAIRS, [VICTIM] * PAIRS)
    findings = check(record(*answers, deadlocks=DeadlockCounts(statistics=PAIRS)))
    assert wrong(findings) == {ALIKE: "unknown"}
    assert findings[ALIKE].detail == "clients 20, pg_stat_database 20, server log not read"
    assert wrong(check(record(*answers, deadlocks=DeadlockCounts(statistics=PAIRS - 1)))) == {ALIKE: "fail"}


def test_the_driver_cell_compares_its_deadlocks_with_the_log() -> None:
    driver = cell("deadlocks", through="driver")
    rounds = [{"pairs": 1, "counted_before": 0, "counted_after": 0, "transcript": to_json(Transcript(level="x"))}]
    result = {"rounds": rounds, "version": "PostgreSQL 15", "deadlock_timeout_ms": 1000}
    for deadlocks, verdict in (None, "unknown"), (server_counts(0), "pass"), (server_counts(1), "fail"):
        findings = check(measured(driver, history(), workload_result=result, deadlocks=deadlocks))
        assert findings["deadlocks in the log"].verdict == verdict


def test_no_request_passes_no_check() -> None:
    findings = check(record([], [], deadlocks=server_counts(0)))
    assert wrong(findings) == {"one victim per pair": "fail", "committed updates applied": "unknown"}


def test_a_retry_that_saves_both_passes() -> None:
    retries = [1.0] * 19 + [float("nan")]
    findings = check(record([OK] * PAIRS, [OK] * PAIRS, of=RETRY, retries=retries, deadlocks=server_counts(19)))
    assert wrong(findings) == {}
    assert "both requests of 20 of 20 pairs committed after 19 retries" in findings["retry commits both"].detail


def test_a_service_that_ignores_retry_fails() -> None:
    findings = check(record([OK] * PAIRS, [VICTIM] * PAIRS, of=RETRY, deadlocks=server_counts(PAIRS)))
    assert wrong(findings) == {"retry commits both": "fail"}
    assert "40P01" in findings["retry commits both"].detail


def test_no_deadlock_with_retry_fails() -> None:
    findings = check(record([OK] * PAIRS, [OK] * PAIRS, of=RETRY, deadlocks=server_counts(0)))
    assert wrong(findings) == {"retry commits both": "fail"}


def test_one_pair_that_the_retry_does_not_save_fails() -> None:
    """The last pair's request failed once more often than the service retried it."""
    answers = [OK] * 19 + [VICTIM]
    for deadlocks, others in ((23, {}), (22, {ALIKE: "fail"})):
        made = record(answers, [OK] * PAIRS, of=RETRY, retries=[1.0] * 19 + [3.0], deadlocks=server_counts(deadlocks))
        assert wrong(check(made)) == {"retry commits both": "fail"} | others


def test_layers_with_different_counts_fail() -> None:
    made = record([OK] * PAIRS, [VICTIM] * PAIRS, deadlocks=server_counts(PAIRS))
    broken = measured(
        PLAIN,
        made.lanes,
        final=made.evidence.final,
        counts=counted(40) | {"app": 41},
        deadlocks=made.evidence.deadlocks,
    )
    assert wrong(check(broken)) == {"counts agree": "fail"}
