"""Recovery from faults: outages, relapses and the rate afterwards."""

from __future__ import annotations

import pytest

from harness.checks import names
from tests.support.fault_trials import AT_S, HEAL_S, FaultTrial, S, findings, record, trial, verdicts


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


def test_faults_that_overlap_are_judged_by_their_first_success() -> None:
    doctored = trial("db-crash", out=(AT_S, HEAL_S + 6), observed_us={})
    doctored.more["faults"] += (record("lb-kill", observed_us={}),)
    assert verdicts(doctored, "db-crash")[names.RECOVERS] == "pass"
