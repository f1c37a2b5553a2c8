"""Accounts of trials that are doctored: each kind of error is counted once, and its first id is named."""

from __future__ import annotations

from typing import Any

from harness.checks.fault_account import FaultAccount, account
from tests.support.fault_trials import FaultTrial, trial


def accounted(doctored: FaultTrial, **wanted: Any) -> FaultAccount:
    return account(doctored.samples, doctored.evidence, **wanted)  # type: ignore[arg-type]


def errors(result: FaultAccount) -> dict[str, int]:
    names = ("lost", "doubled", "invented", "false_aborted", "other_value")
    return {name: getattr(result, name) for name in names if getattr(result, name)}


def test_a_sound_trial_has_no_error() -> None:
    result = accounted(trial("db-crash"))
    assert errors(result) == {}
    assert (result.acknowledged, result.unknown, result.aborted, result.foreign) == (1600, 0, 0, 0)


def test_a_deleted_row_is_a_lost_write() -> None:
    doctored = trial("db-crash")
    del doctored.ledger[doctored.at(5)]
    result = accounted(doctored)
    assert errors(result) == {"lost": 1}
    assert doctored.at(5) in result.first["lost"]
    assert result.ids["lost"] == (doctored.at(5),)


def test_a_write_that_a_crash_took_back_is_lost_once() -> None:
    doctored = trial("db-crash")
    for row in (100, 102):
        del doctored.ledger[doctored.at(row)]
        doctored.final["fault3-0"] -= 1
    assert errors(accounted(doctored)) == {"lost": 2}


def test_a_counter_that_grew_less_than_the_ledger_lost_updates() -> None:
    doctored = trial("db-crash")
    doctored.final["fault3-1"] -= 3
    doctored.set(3, value=1)
    doctored.ledger[doctored.at(3)] = ("fault3-1", 1)
    result = accounted(doctored)
    assert errors(result) == {"lost": 3}
    assert f"{doctored.at(1)} and {doctored.at(3)} both returned 1" in result.first["lost"]


def test_a_counter_that_grew_more_than_the_ledger_was_applied_twice() -> None:
    doctored = trial("app-kill")
    doctored.final["fault3-0"] += 2
    assert errors(accounted(doctored)) == {"doubled": 2}


def test_without_ids_the_counters_alone_show_lost_and_doubled() -> None:
    lost, doubled, unclear = trial("app-kill"), trial("app-kill"), trial("app-kill")
    for each in (lost, doubled, unclear):
        each.samples.id = [""] * len(each.samples)
        each.more["ledger"] = None
    lost.final["fault3-0"] -= 1
    doubled.final["fault3-0"] += 1
    unclear.final["fault3-0"] -= 1
    unclear.set(0, outcome="unknown", value=None)
    assert errors(accounted(lost)) == {"lost": 1}
    assert errors(accounted(doubled)) == {"doubled": 1}
    assert errors(accounted(unclear)) == {}


def test_a_row_that_was_not_sent_is_invented() -> None:
    doctored = trial("app-kill")
    doctored.ledger["run-3-main-load-1-9999"] = ("fault3-0", 801)
    doctored.final["fault3-0"] += 1
    result = accounted(doctored)
    assert errors(result) == {"invented": 1}
    assert "run-3-main-load-1-9999" in result.first["invented"]


def test_a_counter_that_nothing_named_is_invented() -> None:
    doctored = trial("app-kill")
    doctored.final["fault3-77"] = 2
    assert errors(accounted(doctored)) == {"invented": 2}


def test_a_refused_request_that_was_applied_is_a_false_refusal() -> None:
    doctored = trial("db-crash")
    doctored.set(7, outcome="fail", value=None, status=503, error="aborted")
    result = accounted(doctored)
    assert errors(result) == {"false_aborted": 1}
    assert doctored.at(7) in result.first["false_aborted"]
    assert result.phantom == 1


def test_an_answer_with_another_value_is_found() -> None:
    doctored = trial("db-crash")
    doctored.ledger[doctored.at(7)] = ("fault3-1", 5)
    assert errors(accounted(doctored)) == {"other_value": 1}


def test_unknown_requests_are_resolved_by_the_ledger() -> None:
    doctored = trial("db-crash")
    for row in (10, 12):
        doctored.set(row, outcome="unknown", value=None)
    del doctored.ledger[doctored.at(12)]
    doctored.final["fault3-0"] -= 1
    result = accounted(doctored)
    assert errors(result) == {}
    assert (result.unknown_applied, result.unknown_not_applied) == (1, 1)


def test_requests_with_one_id_are_one_increment() -> None:
    doctored = trial("db-crash")
    second = doctored.at(3)
    del doctored.ledger[second]
    doctored.final["fault3-1"] -= 1
    doctored.set(1, outcome="unknown", value=None)
    doctored.set(3, id=doctored.at(1), value=1)
    result = accounted(doctored)
    assert errors(result) == {}
    assert result.acknowledged == 1599


def test_a_refused_attempt_before_an_acknowledged_one_is_honest() -> None:
    doctored = trial("db-crash")
    del doctored.ledger[doctored.at(3)]
    doctored.final["fault3-1"] -= 1
    doctored.set(1, outcome="fail", value=None, status=503)
    doctored.set(3, id=doctored.at(1), value=1)
    assert errors(accounted(doctored)) == {}


def test_rows_of_an_earlier_trial_are_foreign_and_not_invented() -> None:
    doctored = trial("db-crash")
    doctored.ledger["run-2-main-load-1-7"] = ("fault2-0", 9)
    doctored.final["fault2-0"] = 9
    result = accounted(doctored)
    assert errors(result) == {}
    assert result.foreign == 1


def test_rows_of_a_killed_load_host_were_perhaps_sent() -> None:
    doctored = trial("load-host-kill")
    doctored.ledger["run-3-main-load-2-4"] = ("fault3-0", 801)
    doctored.ledger["run-3-main-load-3-4"] = ("fault3-0", 802)
    doctored.final["fault3-0"] += 2
    result = accounted(doctored, dead=("load-2",))
    assert result.perhaps_sent == 1
    assert errors(result) == {"invented": 1}
    assert "load-3-4" in result.first["invented"]


def test_a_counter_without_rows_is_invented_beside_a_killed_load_host_too() -> None:
    """All that the killed host sent has rows in the ledger: what has none was not sent."""
    doctored = trial("load-host-kill")
    doctored.final["fault3-77"] = 9
    assert errors(accounted(doctored, dead=("load-2",))) == {"invented": 9}
    doctored.samples.id = [""] * len(doctored.samples)
    doctored.more["ledger"] = None
    assert errors(accounted(doctored, dead=("load-2",))) == {}, "without ids it may have been sent"
