"""The checks of trials with faults: each passes on a sound trial and fails on one that is doctored."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checks import names
from harness.checks.fault_recovery import check_no_failed_request
from harness.checks.faults import SURVIVED
from harness.fault_record import PERHAPS
from tests.support.fault_trials import FaultTrial, cell, findings, planned, trial, verdicts


@pytest.mark.parametrize("fault", ["app-kill", "db-crash", "lb-reload", "partition-db", "host-down"])
def test_a_sound_trial_passes(fault: str) -> None:
    found = verdicts(trial(fault), fault)
    assert found.pop(names.AVAILABILITY) == "shown"
    assert set(found.values()) == {"pass"}
    assert (names.OUT_OF_ROTATION in found) == (fault in ("app-kill", "partition-db"))
    assert (names.NO_FAILED_REQUEST in found) == (fault == "lb-reload")


def test_findings_count_the_faults_that_were_seen() -> None:
    assert {each.numbers["faults"] for each in findings(trial("app-kill")).values()} == {1}
    unseen = trial("app-kill", seen="", problem="the pid stayed 812")
    assert {each.numbers["faults"] for each in findings(unseen).values()} == {0}


def test_healed_names_the_faults_that_were_seen_and_are_gone() -> None:
    """A mixed schedule does not name them in its cell."""
    assert findings(trial("app-kill"))[names.HEALED].numbers[SURVIVED] == ["app-kill"]
    for doubt in ({"seen": ""}, {"healed": ""}, {"left": "not removed"}):
        assert findings(trial("app-kill", **doubt))[names.HEALED].numbers[SURVIVED] == []


def _lost(one: FaultTrial) -> None:
    del one.ledger[one.at(9)]


def _doubled(one: FaultTrial) -> None:
    one.final["fault3-0"] += 1


def _invented(one: FaultTrial) -> None:
    one.ledger["run-3-main-load-1-9999"] = ("fault3-0", 801)
    one.final["fault3-0"] += 1


def _refused(one: FaultTrial) -> None:
    one.set(9, outcome="fail", value=None, status=503, error="aborted")


def _other_value(one: FaultTrial) -> None:
    one.set(9, value=77)


@pytest.mark.parametrize(
    ("doctor", "check", "named"),
    [
        (_lost, names.NOTHING_LOST, "load-1-9 "),
        (_doubled, names.NOTHING_DOUBLED, "'fault3-0'"),
        (_invented, names.NOTHING_INVENTED, "load-1-9999"),
        (_refused, names.HONEST, "load-1-9 "),
        (_other_value, names.HONEST, "load-1-9 "),
    ],
)
def test_each_error_of_the_account_fails_its_check_alone(doctor: Any, check: str, named: str) -> None:
    doctored = trial("db-crash")
    doctor(doctored)
    found = findings(doctored, "db-crash")
    assert [name for name in names.ACCOUNTED if found[name].verdict == "fail"] == [check]
    assert named in found[check].detail


def test_nothing_is_proved_by_a_trial_that_acknowledged_nothing() -> None:
    doctored = trial("db-crash")
    for row in range(len(doctored.samples)):
        doctored.set(row, outcome="unknown", value=None)
    doctored.ledger.clear()
    doctored.final.clear()
    found = verdicts(doctored, "db-crash")
    assert {found[name] for name in names.ACCOUNTED} == {"unknown"}
    assert found[names.RECOVERS] == "fail"


def test_the_account_is_unknown_where_requests_have_ids_and_there_is_no_ledger() -> None:
    doctored = trial("db-crash")
    doctored.more["ledger"] = None
    assert {findings(doctored, "db-crash")[name].verdict for name in names.ACCOUNTED} == {"unknown"}
    doctored.final["fault3-0"] -= 1
    assert verdicts(doctored, "db-crash")[names.NOTHING_LOST] == "fail", "the counters show it all the same"


@pytest.mark.parametrize(
    ("values", "check"),
    [
        ({"seen": "", "problem": "the pid stayed 812"}, names.FAULT_SEEN),
        ({"healed": "", "problem": "still stopped"}, names.HEALED),
        ({"left": "not removed: umount: target is busy"}, names.HEALED),
        ({"helped": "started PostgreSQL"}, names.RECOVERS),
    ],
)
def test_a_fault_that_was_not_seen_or_healed_fails(values: dict[str, Any], check: str) -> None:
    doctored = trial("app-kill", **values)
    found = findings(doctored)
    assert found[check].verdict == "fail"
    assert (values.get("problem") or values.get("left") or values["helped"]) in found[check].detail


def test_help_that_is_not_certain_is_unknown() -> None:
    found = findings(trial("app-kill", helped=f"{PERHAPS}an earlier attempt failed: no answer"))[names.RECOVERS]
    assert (found.verdict, "an earlier attempt failed" in found.detail) == ("unknown", True)


def test_a_planned_fault_without_a_record_fails() -> None:
    doctored = trial("app-kill")
    doctored.more["faults"] = ()
    found = verdicts(doctored)
    assert (found[names.FAULT_SEEN], found[names.HEALED], found[names.RECOVERS]) == ("fail", "fail", "unknown")


def test_one_failed_request_of_a_reload_fails() -> None:
    doctored = trial("lb-reload")
    doctored.set(600, outcome="unknown", value=None, error="eof")
    found = findings(doctored, "lb-reload")[names.NO_FAILED_REQUEST]
    assert found.verdict == "fail"
    assert doctored.at(600) in found.detail
    assert check_no_failed_request(cell("mixed"), doctored.samples, [planned("lb-reload"), planned("db-crash")]) == []  # type: ignore[arg-type]


def test_findings_of_a_killed_load_host_say_that_they_account_for_it() -> None:
    doctored = trial("load-host-kill")
    doctored.ledger["run-3-main-load-2-4"] = ("fault3-0", 801)
    doctored.final["fault3-0"] += 1
    found = findings(doctored, "load-host-kill", dead=("load-2",))
    assert {each.numbers["perhaps_sent"] for each in found.values()} == {1}
    assert found[names.NOTHING_INVENTED].verdict == "pass"
    assert "1 applied of a load host that was killed" in found[names.NOTHING_LOST].detail
