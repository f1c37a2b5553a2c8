"""The checks of trials with faults: each passes on a sound trial and fails on one that is doctored."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checks import names
from harness.checks.fault_recovery import check_no_failed_request
from harness.checks.faults import SURVIVED, check_faults
from harness.fault_record import PERHAPS
from harness.model import Finding
from tests.support.fault_trials import AT_S, HEAL_S, FaultTrial, S, cell, planned, record, trial


def findings(doctored: FaultTrial, fault: str = "app-kill", **wanted: Any) -> dict[str, Finding]:
    wanted = {"timeout_s": 30.0, **wanted}
    found = check_faults(cell(fault), doctored.samples, doctored.evidence, [planned(fault)], **wanted)  # type: ignore[arg-type]
    return {each.check: each for each in found}


def verdicts(doctored: FaultTrial, fault: str = "app-kill", **wanted: Any) -> dict[str, str]:
    return {name: each.verdict for name, each in findings(doctored, fault, **wanted).items()}


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


def test_an_outage_until_the_end_is_no_recovery() -> None:
    doctored = trial("db-crash", observed_us={})
    for row, due in enumerate(doctored.samples.due_us):
        if due > AT_S * S:
            doctored.set(row, outcome="unknown", value=None)
    found = findings(doctored, "db-crash")[names.RECOVERS]
    assert found.verdict == "fail"
    assert "no request succeeded in 9.0 s after the heal" in found.detail
    assert found.numbers["gap_s"] == pytest.approx(12, abs=0.1)


@pytest.mark.parametrize(("accepts_s", "verdict"), [(15.5, "unknown"), (13.0, "fail")])
def test_a_database_that_is_back_when_the_load_ends_leaves_it_unknown(accepts_s: float, verdict: str) -> None:
    doctored = trial("db-crash", observed_us={"accepts": round(accepts_s * S)})
    for row, due in enumerate(doctored.samples.due_us):
        if due > AT_S * S:
            doctored.set(row, outcome="unknown", value=None)
    found = findings(doctored, "db-crash")[names.RECOVERS]
    assert found.verdict == verdict
    assert "after PostgreSQL accepted connections" in found.detail


def test_a_fault_that_no_request_noticed_needs_no_recovery() -> None:
    late = {"healing_us": round(20 * S), "healed_us": round(21 * S)}
    assert verdicts(trial("app-roll", **late), "app-roll")[names.RECOVERS] == "pass"
    slow = trial("app-roll", out=(AT_S, AT_S + 2), **late)
    assert verdicts(slow, "app-roll")[names.RECOVERS] == "unknown"


def _fail_from(doctored: FaultTrial, since_s: float, *, until_s: float = 99.0) -> None:
    for row, due in enumerate(doctored.samples.due_us):
        if since_s * S <= due < until_s * S:
            doctored.set(row, outcome="fail", value=None, status=503)


def test_a_relapse_that_lasts_until_the_end_is_no_recovery() -> None:
    """Good from 7 to 14 s, then dead: shorter than the fault's own outage, so not the longest time without success."""
    doctored = trial("db-crash", out=(AT_S, HEAL_S))
    _fail_from(doctored, 14.0)
    found = findings(doctored, "db-crash")[names.RECOVERS]
    assert found.verdict == "fail"
    assert "no request succeeded any more in the last 2.0 s" in found.detail


@pytest.mark.parametrize(
    ("since_s", "until_s", "healing_s", "verdict"),
    [(14.0, 15.9, HEAL_S, "pass"), (15.5, 99.0, HEAL_S, "pass"), (14.9, 99.0, 14.5, "unknown")],
)
def test_a_relapse_that_ends_or_is_short_or_hardly_watched_is_none(
    since_s: float, until_s: float, healing_s: float, verdict: str
) -> None:
    late = {"healing_us": round(healing_s * S), "healed_us": round((healing_s + 0.1) * S), "observed_us": {}}
    doctored = trial("app-roll", **late)
    _fail_from(doctored, since_s, until_s=until_s)
    assert verdicts(doctored, "app-roll")[names.RECOVERS] == verdict


def test_requests_that_succeed_after_the_load_end_the_outage() -> None:
    """A busy machine that answers late is not dead: its answers count, though none came before the last due instant."""
    doctored = trial("db-crash")
    for row, due in enumerate(doctored.samples.due_us):
        if due >= 14 * S:
            doctored.set(row, done_us=round(17 * S) + row)
    assert verdicts(doctored, "db-crash")[names.RECOVERS] == "pass"


def test_a_backlog_that_is_answered_after_the_heal_is_no_rate() -> None:
    doctored = trial("db-crash", out=(AT_S, HEAL_S))
    for row, due in enumerate(doctored.samples.due_us):
        if due > HEAL_S * S and row % 4:
            doctored.set(row, outcome="fail", value=None, status=503)
    found = findings(doctored, "db-crash")[names.RECOVERS]
    assert found.verdict == "fail"
    assert "95% of the rate" in found.detail


def test_half_the_rate_is_no_recovery() -> None:
    doctored = trial("db-crash")
    for row, due in enumerate(doctored.samples.due_us):
        if due > AT_S * S and row % 2:
            doctored.set(row, outcome="unknown", value=None)
    found = findings(doctored, "db-crash")[names.RECOVERS]
    assert found.verdict == "fail"
    assert "95% of the rate" in found.detail


@pytest.mark.parametrize(
    ("accepts_s", "verdict"),
    [(HEAL_S + 4, "pass"), (HEAL_S + 0.5, "fail"), (AT_S + 1, "fail"), (None, "unknown")],
)
def test_the_first_success_counts_from_the_instant_at_which_postgresql_accepts(
    accepts_s: float | None, verdict: str
) -> None:
    observed = {} if accepts_s is None else {"accepts": round(accepts_s * S)}
    doctored = trial("db-crash", out=(AT_S, HEAL_S + 6), observed_us=observed)
    assert verdicts(doctored, "db-crash")[names.RECOVERS] == verdict


def test_a_database_that_never_refused_has_its_bound_too() -> None:
    """A success just after the injection is none after the outage, which begins with it."""
    doctored = trial("db-backend-kill", out=(AT_S + 0.05, AT_S + 9), observed_us={"accepts": round(AT_S * S)})
    found = findings(doctored, "db-backend-kill")[names.RECOVERS]
    assert found.verdict == "fail"
    assert "9.0 s without a success after PostgreSQL accepted connections, limit 5 s" in found.detail


def test_a_second_outage_has_its_bound_too() -> None:
    """The longest outage is the restart itself, which is in time; the one after it is not."""
    doctored = trial("db-crash", out=(AT_S, AT_S + 6.2), observed_us={"accepts": round((AT_S + 6) * S)})
    for row, due in enumerate(doctored.samples.due_us):
        if (AT_S + 6.25) * S <= due < (AT_S + 11.5) * S:
            doctored.set(row, done_us=round((AT_S + 11.5) * S))
    assert verdicts(doctored, "db-crash")[names.RECOVERS] == "fail"


def test_a_fault_that_lasts_has_its_bound_from_its_heal() -> None:
    """A full disk: PostgreSQL may accept connections all the time, and no write succeeds before there is space."""
    held = {"healing_us": round((AT_S + 5) * S), "healed_us": round((AT_S + 5.5) * S)}
    accepts = {"accepts": round(AT_S * S)}
    for out_s, verdict in ((AT_S + 6, "pass"), (AT_S + 10.5, "fail")):
        doctored = trial("db-full", out=(AT_S, out_s), observed_us=accepts, **held)
        assert verdicts(doctored, "db-full")[names.RECOVERS] == verdict


def test_a_late_success_is_unknown_where_postgresql_was_not_watched() -> None:
    problem = "db-1: postgres was not watched: no line for 10 s"
    doctored = trial("db-crash", out=(AT_S, AT_S + 9), observed_us={"accepts": round(AT_S * S)}, problem=problem)
    found = findings(doctored, "db-crash")[names.RECOVERS]
    assert found.verdict == "unknown"
    assert "postgres was not watched" in found.detail


def test_app_hosts_that_do_not_serve_again_are_no_recovery() -> None:
    doctored = trial("host-down")
    doctored.more["misrouted"] = ("HAProxy served from app-2 after the load, not from app-1, app-2",)
    assert verdicts(doctored, "host-down")[names.RECOVERS] == "fail"


@pytest.mark.parametrize(
    ("out_s", "back_s", "verdict"),
    [(2.9, 4.9, "pass"), (3.2, 1.0, "fail"), (1.0, 5.4, "fail"), (1.0, None, "unknown"), (1.0, -1.0, "fail")],
)
def test_a_sick_host_leaves_the_rotation_and_returns_in_time(out_s: float, back_s: float | None, verdict: str) -> None:
    observed = {"out-of-rotation": round((AT_S + out_s) * S)}
    observed |= {} if back_s is None else {"in-rotation": round((HEAL_S + back_s) * S)}
    assert verdicts(trial("app-pause", observed_us=observed), "app-pause")[names.OUT_OF_ROTATION] == verdict


def _rotated(out_s: float, back_s: float) -> dict[str, int]:
    return {"out-of-rotation": round((AT_S + out_s) * S), "in-rotation": round((HEAL_S + back_s) * S)}


def test_a_host_is_not_back_before_it_is_well() -> None:
    found = findings(trial("partition-db", observed_us=_rotated(1, -1.5)), "partition-db")[names.OUT_OF_ROTATION]
    assert (found.verdict, found.detail) == ("fail", "partition-db on app-1: back in rotation 1.5 s before the heal")
    assert verdicts(trial("app-kill", observed_us=_rotated(1, -1.5)))[names.OUT_OF_ROTATION] == "pass", (
        "systemd was fast"
    )
    measured = trial("partition-db", observed_us=_rotated(1, -0.05))
    assert verdicts(measured, "partition-db")[names.OUT_OF_ROTATION] == "pass", "two hosts' clocks are compared"
    beside = trial("partition-db", observed_us=_rotated(1, -1.5))
    beside.more["faults"] += (record("lb-kill", observed_us={}),)
    assert verdicts(beside, "partition-db")[names.OUT_OF_ROTATION] == "unknown"


def test_a_host_that_flaps_while_it_is_sick_is_back_too_soon() -> None:
    observed = _rotated(1, 1) | {"out-again": round((HEAL_S - 1.5) * S)}
    found = findings(trial("partition-db", observed_us=observed), "partition-db")[names.OUT_OF_ROTATION]
    assert (found.verdict, found.detail) == ("fail", "partition-db on app-1: back in rotation 1.5 s before the heal")
    assert verdicts(trial("app-kill", observed_us=observed))[names.OUT_OF_ROTATION] == "pass", "systemd started it"


@pytest.mark.parametrize(
    ("back_s", "again_s", "until_s", "verdict", "detail"),
    [
        (4.0, 2.0, 9.0, "pass", "out of rotation after 1.0 s, back 4.0 s after the heal"),
        (8.2, 7.0, 9.0, "fail", "for good 8.2 s after the heal, limit 5 s: it was back, and left again 7.0 s after"),
        (None, 7.0, 9.0, "fail", "not back in rotation 9.0 s after the heal, limit 5 s: it was back, and left again"),
        (None, 2.0, 4.0, "unknown", "not back in rotation 4.0 s after the heal, and no longer watched"),
        (None, None, 9.0, "fail", "not back in rotation 9.0 s after the heal, limit 5 s"),
        (None, None, 4.9, "unknown", "not back in rotation 4.9 s after the heal, and no longer watched"),
    ],
)
def test_a_host_is_back_when_it_stays_back(
    back_s: float | None, again_s: float | None, until_s: float, verdict: str, detail: str
) -> None:
    seconds = {"in-rotation": back_s, "out-again": again_s, "watched-until": until_s}
    observed = {"out-of-rotation": round((AT_S + 1) * S)}
    observed |= {name: round((HEAL_S + value) * S) for name, value in seconds.items() if value is not None}
    doctored = trial("app-pause", observed_us=observed)
    found = findings(doctored, "app-pause")[names.OUT_OF_ROTATION]
    assert (found.verdict, detail in found.detail) == (verdict, True), found.detail
    doctored.more["faults"] += (record("db-pause", observed_us={}),)
    beside = findings(doctored, "app-pause")[names.OUT_OF_ROTATION]
    assert beside.verdict == ("unknown" if verdict == "fail" else verdict), "the other fault may have caused it"


def test_a_host_that_leaves_late_beside_another_fault_is_unknown() -> None:
    """A database that is stopped takes every app host out of rotation, the killed one too, long after its kill."""
    late = {"observed_us": _rotated(3.5, 1)}
    assert verdicts(trial("app-kill", **late))[names.OUT_OF_ROTATION] == "fail"
    beside = trial("app-kill", **late)
    beside.more["faults"] += (record("db-pause", observed_us={}),)
    assert verdicts(beside)[names.OUT_OF_ROTATION] == "unknown"


def test_a_host_that_is_back_may_leave_again_when_the_watch_is_lost() -> None:
    problem = "lb-1: haproxy was not watched: no line for 10 s"
    found = findings(trial("app-pause", observed_us=_rotated(1, 1), problem=problem), "app-pause")
    assert found[names.OUT_OF_ROTATION].verdict == "unknown"
    assert "haproxy was not watched" in found[names.OUT_OF_ROTATION].detail


def test_a_host_that_was_out_before_the_fault_says_nothing() -> None:
    found = findings(trial("app-pause", observed_us=_rotated(0, 1)), "app-pause")[names.OUT_OF_ROTATION]
    assert found.verdict == "unknown"
    assert "it was out of rotation before the fault" in found.detail


def test_a_host_that_haproxy_never_took_out_must_fail_no_request() -> None:
    assert verdicts(trial("app-kill", observed_us={}))[names.OUT_OF_ROTATION] == "pass"
    doctored = trial("app-kill", observed_us={})
    late = next(row for row, sent in enumerate(doctored.samples.sent_us) if sent > (AT_S + 3.5) * S)
    doctored.set(late, outcome="unknown", value=None)
    assert verdicts(doctored)[names.OUT_OF_ROTATION] == "fail"


@pytest.mark.parametrize("fault", ["app-pause", "partition-db", "partition-db-one-way", "partition-lb"])
def test_a_host_that_stays_sick_must_leave_the_rotation(fault: str) -> None:
    """Requests to a stopped service hang until it continues, and then succeed: outcomes show nothing."""
    held = {"observed_us": {}, "healing_us": round((AT_S + 5) * S), "healed_us": round((AT_S + 5.2) * S)}
    found = findings(trial(fault, **held), fault)[names.OUT_OF_ROTATION]
    assert found.verdict == "fail"
    assert f"{fault} on app-1: HAProxy did not take it out in 5.0 s, limit 3 s" in found.detail


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"healing_us": round((AT_S + 3.5) * S)}, "present for 3.5 s only"),
        ({"problem": "lb-1: haproxy was not watched: no line for 10 s"}, "haproxy was not watched"),
        ({"seen": "", "problem": "not seen within 10 s"}, "not seen within 10 s"),
    ],
)
def test_a_rotation_that_cannot_be_known_is_unknown(values: dict[str, Any], reason: str) -> None:
    held = {"observed_us": {}, "healing_us": round((AT_S + 5) * S), "healed_us": round((AT_S + 5.2) * S)}
    found = findings(trial("app-pause", **{**held, **values}), "app-pause")[names.OUT_OF_ROTATION]
    assert found.verdict == "unknown"
    assert reason in found.detail


def test_a_rotation_that_was_not_watched_is_unknown_for_a_crash_too() -> None:
    problem = "lb-1: haproxy was not watched: no line for 10 s"
    doctored = trial("app-kill", observed_us={}, problem=problem)
    late = next(row for row, sent in enumerate(doctored.samples.sent_us) if sent > (AT_S + 3.5) * S)
    assert verdicts(doctored)[names.OUT_OF_ROTATION] == "unknown"
    doctored.set(late, outcome="unknown", value=None)
    assert verdicts(doctored)[names.OUT_OF_ROTATION] == "unknown"


def test_a_sick_host_beside_another_fault_is_unknown() -> None:
    held = {"observed_us": {}, "healing_us": round((AT_S + 5) * S)}
    doctored = trial("app-pause", **held)
    doctored.more["faults"] += (record("lb-kill", observed_us={}),)
    assert verdicts(doctored, "app-pause")[names.OUT_OF_ROTATION] == "unknown"


def test_one_failed_request_of_a_reload_fails() -> None:
    doctored = trial("lb-reload")
    doctored.set(600, outcome="unknown", value=None, error="eof")
    found = findings(doctored, "lb-reload")[names.NO_FAILED_REQUEST]
    assert found.verdict == "fail"
    assert doctored.at(600) in found.detail
    assert check_no_failed_request(cell("mixed"), doctored.samples, [planned("lb-reload"), planned("db-crash")]) == []  # type: ignore[arg-type]


def test_faults_that_overlap_are_judged_by_their_first_success() -> None:
    doctored = trial("db-crash", out=(AT_S, HEAL_S + 6), observed_us={})
    doctored.more["faults"] += (record("lb-kill", observed_us={}),)
    assert verdicts(doctored, "db-crash")[names.RECOVERS] == "pass"


def test_findings_of_a_killed_load_host_say_that_they_account_for_it() -> None:
    doctored = trial("load-host-kill")
    doctored.ledger["run-3-main-load-2-4"] = ("fault3-0", 801)
    doctored.final["fault3-0"] += 1
    found = findings(doctored, "load-host-kill", dead=("load-2",))
    assert {each.numbers["perhaps_sent"] for each in found.values()} == {1}
    assert found[names.NOTHING_INVENTED].verdict == "pass"
    assert "1 applied of a load host that was killed" in found[names.NOTHING_LOST].detail
