"""The stepper on a real PostgreSQL: order by observed waits, a limit for every wait, complete clean-up."""

from __future__ import annotations

from time import monotonic, sleep

import psycopg
import pytest

from harness.errors import RigError
from harness.isolation.case_model import LEVELS, Script, Step
from harness.isolation.cases import CASES, CLEANUP, FINAL, SETUP
from harness.isolation.observe import observe
from harness.isolation.stepper import StatementError, run_schedule, script

RC, SER = LEVELS[1], LEVELS[3]
ADD = "UPDATE test SET value = value + 1 WHERE id = 1"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgcrucible%'"
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'isolation'"


def plan(*steps: Step, setup: tuple[str, ...] = SETUP, final: str = FINAL) -> Script:
    return Script(level=RC, setup=setup, rounds=tuple((s,) for s in steps), final=final, cleanup=CLEANUP)


def cleaned_up(query) -> bool:
    """Whether only the observer's connection and no table remain. The server needs a moment to end a backend."""
    deadline = monotonic() + 10
    while query(CONNECTIONS) > 1 and monotonic() < deadline:
        sleep(0.01)
    return query(CONNECTIONS) == 1 and query(TABLES) == 0


def test_a_waiting_session_keeps_its_order_and_the_others_go_on(pg, query) -> None:
    transcript = run_schedule(
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
    assert not transcript.trouble
    assert [(e.session, e.sql) for e in transcript.events if e.waited_for] == [("T2", ADD)]
    assert next(e for e in transcript.events if e.waited_for).waited_for == ("T1",)
    assert transcript.event("T2 reads").rows == ((12,),)
    assert transcript.ended_before("T1 goes on", "T2 reads")
    assert transcript.final == ((1, 12), (2, 20))
    assert set(transcript.pids) == {"T1", "T2"}
    assert cleaned_up(query)


def test_a_slow_statement_is_not_recorded_as_waiting(pg) -> None:
    transcript = run_schedule(pg, plan(Step("T1", "SELECT pg_sleep(0.05)", "slow"), Step("T2", "SELECT 1", "next")))
    assert not transcript.event("slow").waited_for
    assert transcript.ended_before("slow", "next")


def test_a_slow_statement_ends_before_the_next_step_while_another_session_waits(pg) -> None:
    transcript = run_schedule(
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
    assert transcript.event("T2 waits").waited_for == ("T1",)
    assert transcript.ended_before("slow", "next")


def test_after_an_error_the_sessions_remaining_steps_are_not_sent(pg) -> None:
    steps = (Step("T1", "BEGIN"), Step("T1", ADD), Step("T2", "BEGIN"), Step("T2", ADD), Step("T2", "SELECT 1 / 0"))
    later = (Step("T2", "SELECT 'queued'"), Step("T1", "COMMIT"), Step("T2", "SELECT 'sent'"), Step("T2", "COMMIT"))
    transcript = run_schedule(pg, plan(*steps, *later))
    assert [e.sql for e in transcript.of("T2")] == ["BEGIN", ADD, "SELECT 1 / 0", "ROLLBACK"]
    assert transcript.final == ((1, 11), (2, 20))


def test_the_server_ends_a_deadlock_and_the_victim_is_rolled_back(pg, query) -> None:
    other = ADD.replace("id = 1", "id = 2")
    steps = [Step(t, sql) for t, sql in (("T1", ADD), ("T2", other), ("T1", other), ("T2", ADD))]
    transcript = run_schedule(
        pg, plan(*(Step(t, "BEGIN") for t in ("T1", "T2")), *steps, Step("T1", "COMMIT"), Step("T2", "COMMIT"))
    )
    assert [e.code for e in transcript.events if e.code] == ["40P01"]
    assert sum(map(transcript.committed, ("T1", "T2"))) == 1
    assert transcript.final == ((1, 11), (2, 21))
    assert cleaned_up(query)


def test_a_hung_statement_is_unknown(pg, query) -> None:
    hung = Step("T1", "SELECT pg_sleep(600)")
    transcript = run_schedule(pg, plan(Step("T1", "BEGIN"), hung, Step("T2", "SELECT 1")), limit_s=0.3)
    assert transcript.trouble == "neither ended nor observed to wait within 0.3 s: T1: SELECT pg_sleep(600)"
    observed = observe(CASES["G0"], RC, transcript)
    assert observed.kind == "unknown"
    assert "pg_sleep(600)" in observed.reason
    assert cleaned_up(query)


def test_a_wait_for_another_client_is_not_recorded_as_waiting(pg, dsn, query) -> None:
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(7)")
        transcript = run_schedule(
            pg, plan(Step("T1", "SELECT pg_advisory_lock(7)"), Step("T2", "SELECT 1")), limit_s=0.3
        )
    assert "neither ended nor observed to wait" in transcript.trouble
    assert cleaned_up(query)


def test_a_lock_that_is_never_released_is_unknown(pg, query) -> None:
    transcript = run_schedule(pg, plan(Step("T1", "BEGIN"), Step("T1", ADD), Step("T2", ADD)), limit_s=0.3)
    assert transcript.trouble == f"still waiting after 0.3 s: T2 waits for T1 in {ADD}"
    assert cleaned_up(query)


@pytest.mark.parametrize("broken", [{"setup": ("SELECT 1 / 0",)}, {"final": "SELECT 1 / 0"}])
def test_an_error_outside_the_sessions_is_recorded(pg, query, broken) -> None:
    transcript = run_schedule(pg, plan(Step("T1", "SELECT 1"), **broken))
    assert transcript.trouble == "22012 division by zero"
    assert cleaned_up(query)


def test_a_session_that_cannot_connect_is_recorded(pg, query, monkeypatch) -> None:
    connect = pg._connect
    monkeypatch.setattr(pg, "_connect", lambda: connect() if len(pg._sessions) < 1 else _connection_refused())
    transcript = run_schedule(pg, script(CASES["G0"], SER, pg))
    assert "T2 cannot connect" in transcript.trouble
    assert cleaned_up(query)


def _connection_refused() -> None:
    raise RigError("sorry, too many clients already")


def test_an_interrupted_run_cleans_up(pg, query, monkeypatch) -> None:
    def interrupt(sessions: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pg, "waiting", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_schedule(pg, plan(Step("T1", "BEGIN"), Step("T1", "SELECT pg_sleep(600)")))
    assert cleaned_up(query)


def test_a_failed_clean_up_is_recorded(pg, monkeypatch) -> None:
    admin = pg.admin

    def failing_drop(sql: str, parameters: object = None) -> object:
        if sql == "drop it":
            raise StatementError("42501", "must be owner")
        return admin(sql, parameters)

    monkeypatch.setattr(pg, "admin", failing_drop)
    broken = Script(level=RC, setup=SETUP, rounds=((Step("T1", "SELECT 1"),),), final=FINAL, cleanup=("drop it",))
    assert run_schedule(pg, broken).trouble == "clean-up failed: 42501 must be owner"
    for sql in CLEANUP:
        admin(sql)
