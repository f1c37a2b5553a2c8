"""The stepper against a real PostgreSQL: order by observed blocking, an end to every wait, nothing left."""

from __future__ import annotations

from time import monotonic, sleep

import psycopg
import pytest

from harness.isolation.case_model import LEVELS, Script, Step
from harness.isolation.cases import CASES, CLEANUP, FINAL, SETUP
from harness.isolation.observe import observe
from harness.isolation.stepper import Refused, drive, script

RC, SER = LEVELS[1], LEVELS[3]
ADD = "UPDATE test SET value = value + 1 WHERE id = 1"
LEFT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgcrucible isolation'"
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'isolation'"


def plan(*steps: Step, setup: tuple[str, ...] = SETUP, final: str = FINAL) -> Script:
    return Script(level=RC, setup=setup, rounds=tuple((s,) for s in steps), final=final, cleanup=CLEANUP)


def nothing_left(look) -> bool:
    """Only the observer's connection, and no table; the server needs a moment to end a backend."""
    deadline = monotonic() + 10
    while look(LEFT) > 1 and monotonic() < deadline:
        sleep(0.01)
    return look(LEFT) == 1 and look(TABLES) == 0


def test_a_waiting_session_keeps_its_own_order_and_the_others_go_on(pg, look) -> None:
    seen = drive(
        pg,
        plan(
            Step("T1", "BEGIN"),
            Step("T1", ADD),
            Step("T2", "BEGIN"),
            Step("T2", ADD),  # waits
            Step("T2", "SELECT value FROM test WHERE id = 1", "T2 reads"),
            Step("T1", "SELECT 'while T2 waits'", "T1 goes on"),
            Step("T1", "COMMIT"),
            Step("T2", "COMMIT"),
        ),
    )
    assert not seen.trouble
    assert [(e.session, e.sql) for e in seen.events if e.waited_for] == [("T2", ADD)]
    assert next(e for e in seen.events if e.waited_for).waited_for == ("T1",)
    assert seen.event("T2 reads").rows == ((12,),)
    assert seen.ended_before("T1 goes on", "T2 reads")
    assert seen.final == ((1, 12), (2, 20))
    assert set(seen.pids) == {"T1", "T2"}
    assert nothing_left(look)


def test_a_slow_statement_is_waited_for_and_not_taken_for_waiting(pg) -> None:
    seen = drive(pg, plan(Step("T1", "SELECT pg_sleep(0.05)", "slow"), Step("T2", "SELECT 1", "next")))
    assert not seen.event("slow").waited_for
    assert seen.ended_before("slow", "next")


def test_a_slow_statement_is_waited_for_while_another_session_waits(pg) -> None:
    seen = drive(
        pg,
        plan(
            Step("T1", "BEGIN"),
            Step("T1", ADD),
            Step("T2", ADD, "T2 waits"),
            Step("T1", "SELECT pg_sleep(0.05)", "slow"),
            Step("T3", "SELECT 1", "next"),
            Step("T1", "COMMIT"),
        ),
    )
    assert seen.event("T2 waits").waited_for == ("T1",)
    assert seen.ended_before("slow", "next")


def test_after_an_error_the_rest_of_the_session_is_not_sent(pg) -> None:
    steps = (Step("T1", "BEGIN"), Step("T1", ADD), Step("T2", "BEGIN"), Step("T2", ADD), Step("T2", "SELECT 1 / 0"))
    later = (Step("T2", "SELECT 'queued'"), Step("T1", "COMMIT"), Step("T2", "SELECT 'sent'"), Step("T2", "COMMIT"))
    seen = drive(pg, plan(*steps, *later))
    assert [e.sql for e in seen.of("T2")] == ["BEGIN", ADD, "SELECT 1 / 0", "ROLLBACK"]
    assert seen.final == ((1, 11), (2, 20))


def test_a_deadlock_ends_by_the_server_and_the_victim_is_rolled_back(pg, look) -> None:
    other = ADD.replace("id = 1", "id = 2")
    steps = [Step(t, sql) for t, sql in (("T1", ADD), ("T2", other), ("T1", other), ("T2", ADD))]
    seen = drive(
        pg, plan(*(Step(t, "BEGIN") for t in ("T1", "T2")), *steps, Step("T1", "COMMIT"), Step("T2", "COMMIT"))
    )
    assert [e.code for e in seen.events if e.code] == ["40P01"]
    assert sum(map(seen.committed, ("T1", "T2"))) == 1
    assert seen.final == ((1, 11), (2, 21))
    assert nothing_left(look)


def test_a_hung_step_ends_in_unknown(pg, look) -> None:
    hung = Step("T1", "SELECT pg_sleep(600)")
    seen = drive(pg, plan(Step("T1", "BEGIN"), hung, Step("T2", "SELECT 1")), limit_s=0.3)
    assert seen.trouble == "neither ended nor seen waiting within 0.3 s: T1: SELECT pg_sleep(600)"
    observed = observe(CASES["G0"], RC, seen)
    assert observed.kind == "unknown"
    assert "pg_sleep(600)" in observed.reason
    assert nothing_left(look)


def test_who_waits_for_a_stranger_is_not_taken_for_blocked(pg, dsn, look) -> None:
    with psycopg.connect(dsn, autocommit=True) as stranger:
        stranger.execute("SELECT pg_advisory_lock(7)")
        seen = drive(pg, plan(Step("T1", "SELECT pg_advisory_lock(7)"), Step("T2", "SELECT 1")), limit_s=0.3)
    assert "neither ended nor seen waiting" in seen.trouble
    assert nothing_left(look)


def test_a_schedule_that_never_releases_the_lock_ends_in_unknown(pg, look) -> None:
    seen = drive(pg, plan(Step("T1", "BEGIN"), Step("T1", ADD), Step("T2", ADD)), limit_s=0.3)
    assert seen.trouble == f"T2 waits for T1 in {ADD} and nothing ended it within 0.3 s"
    assert nothing_left(look)


@pytest.mark.parametrize("broken", [{"setup": ("SELECT 1 / 0",)}, {"final": "SELECT 1 / 0"}])
def test_an_error_outside_the_sessions_is_trouble(pg, look, broken) -> None:
    seen = drive(pg, plan(Step("T1", "SELECT 1"), **broken))
    assert seen.trouble == "22012 division by zero"
    assert nothing_left(look)


def test_a_session_that_cannot_connect_is_trouble(pg, look, monkeypatch) -> None:
    connect = pg._connect
    monkeypatch.setattr(pg, "_connect", lambda: connect() if len(pg._sessions) < 1 else _full())
    seen = drive(pg, script(CASES["G0"], SER, pg))
    assert "T2 cannot connect" in seen.trouble
    assert nothing_left(look)


def _full() -> None:
    raise psycopg.OperationalError("sorry, too many clients already")


def test_what_is_interrupted_cleans_up_too(pg, look, monkeypatch) -> None:
    def interrupt(sessions: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pg, "waiting", interrupt)
    with pytest.raises(KeyboardInterrupt):
        drive(pg, plan(Step("T1", "BEGIN"), Step("T1", "SELECT pg_sleep(600)")))
    assert nothing_left(look)


def test_clean_up_that_fails_is_told(pg, monkeypatch) -> None:
    admin = pg.admin

    def stubborn(sql: str, parameters: object = None) -> object:
        if sql == "drop it":
            raise Refused("42501", "must be owner")
        return admin(sql, parameters)

    monkeypatch.setattr(pg, "admin", stubborn)
    broken = Script(level=RC, setup=SETUP, rounds=((Step("T1", "SELECT 1"),),), final=FINAL, cleanup=("drop it",))
    assert drive(pg, broken).trouble == "clean-up failed: 42501 must be owner"
    for sql in CLEANUP:
        admin(sql)
