"""A trial with faults over time, and the stories of single requests."""

from __future__ import annotations

import pytest

from harness.analysis.fault_timeline import STEP_S, bands, steps, story
from harness.fault_record import LogLine
from harness.record import Evidence
from tests.support.fault_trials import AT_S, END_S, HEAL_S, S, planned, record, trial
from tests.support.histories import history


def test_steps_show_the_outage_and_the_wait_after_it() -> None:
    course = steps(trial("db-crash", out=(5.0, 6.0)).samples)  # type: ignore[arg-type]
    assert [step.at_s for step in course] == [number * STEP_S for number in range(len(course))]
    silent = [step for step in course if 5.0 < step.at_s < 5.75]
    assert silent
    assert all((step.ok, step.p50_ms, step.max_ms) == (0, None, None) for step in silent)
    late = next(step for step in course if step.at_s == 6.0)
    assert late.max_ms == pytest.approx(1001, abs=11)
    assert late.ok == pytest.approx((100 + 25) / STEP_S, rel=0.05)
    assert course[4].ok == 100
    assert course[4].p50_ms == 1.0


def test_steps_count_refused_and_unknown_requests_apart() -> None:
    doctored = trial("db-crash")
    doctored.set(500, outcome="fail")
    doctored.set(501, outcome="unknown")
    step = steps(doctored.samples)[20]  # type: ignore[arg-type]
    assert (step.fail, step.unknown) == (1 / STEP_S, 1 / STEP_S)


def test_no_request_has_no_course() -> None:
    assert steps(history()) == []  # type: ignore[arg-type]
    assert bands(history(), Evidence(faults=(record("db-crash"),))) == []  # type: ignore[arg-type]


def test_bands_last_from_the_injection_to_the_heal() -> None:
    faulty = trial("app-kill")
    evidence = Evidence(
        faults=(record("app-kill"), record("app-pause", healing_us=None), record("x", injected_us=None))
    )
    found = bands(faulty.samples, evidence)  # type: ignore[arg-type]
    assert [(one.fault, one.from_s, one.to_s) for one in found] == [
        ("app-kill", AT_S, HEAL_S),
        ("app-pause", AT_S, pytest.approx(END_S, abs=0.02)),
    ]


def told(doctored: object, evidence: Evidence, ident: str) -> list[tuple[float, str, str]]:
    return [(event.at_ms, event.where, event.what) for event in story(doctored, evidence, ident)]  # type: ignore[arg-type]


def test_the_story_of_a_lost_write_has_what_every_part_tells() -> None:
    doctored = trial("db-crash")
    ident = doctored.at(399)
    del doctored.ledger[ident]
    sent = doctored.samples.sent_us[399]
    doctored.more = {
        "faults": (record("db-crash"),),
        "logs": (
            LogLine(at_us=sent + 20_000, host="db-1", unit="postgresql", text="terminated by signal 9"),
            LogLine(at_us=sent + 60 * S, host="db-1", unit="postgresql", text="much later"),
            LogLine(at_us=sent + 90 * S, host="app-1", unit="app", text=f"about {ident}"),
        ),
    }
    events = told(doctored.samples, doctored.evidence, ident)
    assert [(where, what) for _, where, what in events] == [
        ("client", "sent to 'fault3-1'"),
        ("client", f"answered 200: acknowledged with value {doctored.samples.value[399]}"),
        ("fault", "db-crash on app-1: pid 812 became 944"),
        ("postgresql on db-1", "terminated by signal 9"),
        ("fault", "db-crash: heal"),
        ("app on app-1", f"about {ident}"),
        ("database, afterwards", "the ledger does not have it"),
    ]
    assert [at for at, _, _ in events][:4] == [0.0, 1.0, 10.0, 20.0]
    assert planned("db-crash").at_s == AT_S


def test_a_request_that_was_never_sent_is_told_of_by_the_ledger_alone() -> None:
    faulty = trial("app-kill")
    evidence = Evidence(ledger={"ghost": ("fault3-0", 7)}, faults=(record("app-kill"),))
    assert told(faulty.samples, evidence, "ghost") == [
        (0.0, "database, afterwards", "the ledger has it, with value 7 of 'fault3-0'")
    ]
