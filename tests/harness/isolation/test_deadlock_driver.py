"""Deadlocks on a real PostgreSQL, and a failing result for each check."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from harness.checks.isolation import findings_deadlocks
from harness.errors import FormatError
from harness.isolation.__main__ import deadlocks
from harness.isolation.deadlock_driver import measure
from harness.isolation.deadlock_pairs import evaluate_pair, sessions
from harness.isolation.postgres_driver import Postgres
from harness.isolation.transcript import from_json

CHECKS = ["one victim per pair", "survivor commits", "deadlocks counted", "detected after deadlock_timeout"]


@pytest.fixture(scope="module")
def measured(dsn: str, server) -> dict[str, Any]:
    """1 pair and 20 pairs at once, and the number of deadlocks in the server's log."""
    before = server.log.read_text(encoding="utf-8").count("ERROR:  deadlock detected")
    with Postgres(dsn, "isolation") as driver:
        result = {"backend": "postgres", **driver.facts(), **deadlocks(driver, (1, 20), lambda *_: None)}
    logged = server.log.read_text(encoding="utf-8").count("ERROR:  deadlock detected") - before
    return {**json.loads(json.dumps(result)), "logged": logged}


def verdicts(result: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    return [(f.check, f.verdict) for f in findings_deadlocks(result, **options)]


def one_pair(result: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy with the first round only, for tests that change it."""
    return {**result, "rounds": deepcopy(result["rounds"][:1])}


def test_each_pair_has_one_victim_and_all_counts_agree(measured) -> None:
    findings = findings_deadlocks(measured, log_count=measured["logged"])
    assert [(f.check, f.verdict) for f in findings] == [
        *((check, "pass") for _ in range(2) for check in CHECKS),
        ("deadlocks in the log", "pass"),
    ], [f.detail for f in findings]
    assert findings[4].numbers["single"] == 20
    assert findings[6].numbers == {"pairs": 20, "clients": 20, "server": 20}
    assert len(findings[7].numbers["detection_ms"]) == 20


def test_the_victims_pid_is_in_the_servers_log(measured, server) -> None:
    transcript = from_json(measured["rounds"][0]["transcript"])
    victim = evaluate_pair(transcript, 1).victims[0]
    assert f"[{transcript.pids[victim]}] ERROR:  deadlock detected" in server.log.read_text(encoding="utf-8")


def test_without_crossed_order_all_checks_fail(pg, measured) -> None:
    result = {**measured, "rounds": [measure(pg, 2, crossed=False)]}
    findings = findings_deadlocks(result)
    assert [(f.check, f.verdict) for f in findings[:4]] == [(check, "fail") for check in CHECKS]
    assert "0 of 2 pairs crossed and had exactly one victim" in findings[0].detail


def test_a_run_that_ends_before_deadlock_timeout_is_unknown(pg, measured) -> None:
    result = {**measured, "rounds": [measure(pg, 1, limit_s=0.02)]}  # far below deadlock_timeout
    assert {verdict for _, verdict in verdicts(result)} == {"unknown"}


def test_a_server_that_does_not_count_is_not_accused(measured) -> None:
    doctored = one_pair(measured)
    doctored["rounds"][0]["counted_after"] = doctored["rounds"][0]["counted_before"]
    assert measured["settings"]["track_counts"] == "on"
    assert verdicts(doctored)[2] == ("deadlocks counted", "fail")
    doctored["settings"] = {**measured["settings"], "track_counts": "off"}
    assert [verdict for _, verdict in verdicts(doctored)[:4]] == ["pass", "pass", "unknown", "pass"]


def test_a_different_count_in_statistics_or_log_fails(measured) -> None:
    doctored = one_pair(measured)
    doctored["rounds"][0]["counted_after"] += 1
    assert verdicts(doctored)[2] == ("deadlocks counted", "fail")
    assert verdicts(measured, log_count=20)[-1] == ("deadlocks in the log", "fail")


def test_the_log_count_is_unknown_if_the_log_was_not_read(measured) -> None:
    assert verdicts(measured)[-1] == ("deadlocks in the log", "unknown")


def test_two_victims_in_a_pair_fail(measured) -> None:
    doctored = one_pair(measured)
    events = doctored["rounds"][0]["transcript"]["events"]
    next(e for e in events if e["sql"] == "COMMIT")["code"] = "40P01"
    assert [verdict for _, verdict in verdicts(doctored)[:2]] == ["fail", "fail"]


@pytest.mark.parametrize("final", [[[1, 0], [2, 0]], [[1, 11], [2, 11]], [[1, 1], [2, 10]], [[1, 2], [2, 2]], []])
def test_final_values_other_than_the_survivors_fail(measured, final) -> None:
    doctored = one_pair(measured)
    doctored["rounds"][0]["transcript"]["final"] = final
    assert verdicts(doctored)[1] == ("survivor commits", "fail")


def test_detection_before_deadlock_timeout_fails(measured) -> None:
    assert verdicts({**one_pair(measured), "deadlock_timeout_ms": 10_000})[3] == (CHECKS[3], "fail")


def test_a_second_update_before_both_sessions_hold_a_lock_fails(measured) -> None:
    doctored = one_pair(measured)
    events = doctored["rounds"][0]["transcript"]["events"]
    next(e for e in events if e["label"] == "1A second")["sent_ms"] = 0.0
    findings = findings_deadlocks(doctored)
    assert findings[0].verdict == "fail"
    assert "did not each hold a lock" in findings[0].detail


def test_another_error_is_in_the_detail(measured) -> None:
    doctored = one_pair(measured)
    events = doctored["rounds"][0]["transcript"]["events"]
    next(e for e in events if e["code"] == "40P01").update(code="55P03", message="lock timeout")
    assert "55P03 lock timeout" in findings_deadlocks(doctored)[0].detail


def test_a_missing_level_report_is_unknown(measured) -> None:
    doctored = one_pair(measured)
    events = doctored["rounds"][0]["transcript"]["events"]
    events.remove(next(e for e in events if e["label"] == "level"))
    assert {verdict for _, verdict in verdicts(doctored)} == {"unknown"}


@pytest.mark.parametrize("change", [{"rounds": []}, {"rounds": [{}]}, {"rounds": [{"pairs": 10**12}]}, {"rounds": 1}])
def test_a_damaged_result_is_rejected(measured, change) -> None:
    with pytest.raises(FormatError):
        findings_deadlocks({**measured, **change})


def test_session_names() -> None:
    assert sessions(3) == ("3A", "3B")
