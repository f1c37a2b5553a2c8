"""Deadlocks on a real PostgreSQL, and every check of them failing once."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from harness.errors import FormatError
from harness.isolation.__main__ import deadlocks
from harness.isolation.deadlock_driver import measure
from harness.isolation.deadlock_pairs import judge_pair, sessions
from harness.isolation.findings import findings_deadlocks
from harness.isolation.postgres_driver import Postgres
from harness.isolation.transcript import from_json

CHECKS = ["one victim a pair", "survivor commits", "deadlocks counted", "detected after deadlock_timeout"]


@pytest.fixture(scope="module")
def measured(dsn: str, server) -> dict[str, Any]:
    """1 pair and 20 at once, and how many deadlocks the server's log tells of."""
    before = server.log.read_text(encoding="utf-8").count("ERROR:  deadlock detected")
    with Postgres(dsn, "isolation") as driver:
        result = {"backend": "postgres", **driver.facts(), **deadlocks(driver, (1, 20), lambda *_: None)}
    logged = server.log.read_text(encoding="utf-8").count("ERROR:  deadlock detected") - before
    return {**json.loads(json.dumps(result)), "logged": logged}


def verdicts(result: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    return [(f.check, f.verdict) for f in findings_deadlocks(result, **options)]


def one_pair(result: dict[str, Any]) -> dict[str, Any]:
    """A copy with the first round only, to be doctored."""
    return {**result, "rounds": deepcopy(result["rounds"][:1])}


def test_one_victim_a_pair_and_all_counts_agree(measured) -> None:
    found = findings_deadlocks(measured, log_count=measured["logged"])
    assert [(f.check, f.verdict) for f in found] == [
        *((check, "pass") for _ in range(2) for check in CHECKS),
        ("deadlocks in the log", "pass"),
    ], [f.detail for f in found]
    assert found[4].numbers["single"] == 20
    assert found[6].numbers == {"pairs": 20, "clients": 20, "server": 20}
    assert len(found[7].numbers["detection_ms"]) == 20


def test_the_victims_can_be_found_in_the_servers_log(measured, server) -> None:
    seen = from_json(measured["rounds"][0]["transcript"])
    victim = judge_pair(seen, 1).victims[0]
    assert f"[{seen.pids[victim]}] ERROR:  deadlock detected" in server.log.read_text(encoding="utf-8")


def test_without_crossed_order_the_checks_fail(pg, measured) -> None:
    result = {**measured, "rounds": [measure(pg, 2, crossed=False)]}
    found = findings_deadlocks(result)
    assert [(f.check, f.verdict) for f in found[:4]] == [(check, "fail") for check in CHECKS]
    assert "0 of 2 crossed pairs had exactly one victim" in found[0].detail


def test_a_missed_lock_time_out_makes_it_unknown(pg, measured) -> None:
    result = {**measured, "rounds": [measure(pg, 1, limit_s=0.02)]}  # far below deadlock_timeout
    assert {verdict for _, verdict in verdicts(result)} == {"unknown"}


def test_a_wrong_count_in_statistics_or_log_fails(measured) -> None:
    doctored = one_pair(measured)
    doctored["rounds"][0]["counted_after"] += 1
    assert verdicts(doctored)[2] == ("deadlocks counted", "fail")
    assert verdicts(measured, log_count=20)[-1] == ("deadlocks in the log", "fail")


def test_a_log_that_was_not_read_makes_its_count_unknown(measured) -> None:
    assert verdicts(measured)[-1] == ("deadlocks in the log", "unknown")


def test_two_victims_fail(measured) -> None:
    doctored = one_pair(measured)
    events = doctored["rounds"][0]["transcript"]["events"]
    next(e for e in events if e["sql"] == "COMMIT")["code"] = "40P01"
    assert [verdict for _, verdict in verdicts(doctored)[:2]] == ["fail", "fail"]


@pytest.mark.parametrize("final", [[[1, 0], [2, 0]], [[1, 11], [2, 11]], [[1, 1], [2, 10]], [[1, 2], [2, 2]], []])
def test_values_that_are_not_the_survivors_fail(measured, final) -> None:
    doctored = one_pair(measured)
    doctored["rounds"][0]["transcript"]["final"] = final
    assert verdicts(doctored)[1] == ("survivor commits", "fail")


def test_an_error_earlier_than_deadlock_timeout_fails(measured) -> None:
    assert verdicts({**one_pair(measured), "deadlock_timeout_ms": 10_000})[3] == (CHECKS[3], "fail")


def test_a_second_update_before_both_held_a_lock_fails(measured) -> None:
    doctored = one_pair(measured)
    events = doctored["rounds"][0]["transcript"]["events"]
    next(e for e in events if e["label"] == "1A second")["sent_ms"] = 0.0
    found = findings_deadlocks(doctored)
    assert found[0].verdict == "fail"
    assert "did not each hold a lock" in found[0].detail


def test_another_error_is_told(measured) -> None:
    doctored = one_pair(measured)
    events = doctored["rounds"][0]["transcript"]["events"]
    next(e for e in events if e["code"] == "40P01").update(code="55P03", message="lock time-out")
    assert "55P03 lock time-out" in findings_deadlocks(doctored)[0].detail


def test_a_level_that_was_not_told_makes_it_unknown(measured) -> None:
    doctored = one_pair(measured)
    events = doctored["rounds"][0]["transcript"]["events"]
    events.remove(next(e for e in events if e["label"] == "level"))
    assert {verdict for _, verdict in verdicts(doctored)} == {"unknown"}


@pytest.mark.parametrize("change", [{"rounds": []}, {"rounds": [{}]}, {"rounds": [{"pairs": 10**12}]}, {"rounds": 1}])
def test_a_damaged_result_is_refused(measured, change) -> None:
    with pytest.raises(FormatError):
        findings_deadlocks({**measured, **change})


def test_names_of_sessions() -> None:
    assert sessions(3) == ("3A", "3B")
