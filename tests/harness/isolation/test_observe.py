"""Evaluation of transcripts written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.isolation.cases import CASES
from harness.isolation.observe import observe, verdict, wrong_levels
from harness.isolation.transcript import LEVEL, ROLLBACK_AFTER_ERROR, Event, Transcript, from_json, to_json

CASE = CASES["P4"]
READ = "SELECT id, value FROM test WHERE id = 1"


def event(session: str, sql: str, ms: float, label: str = "", **fields: object) -> Event:
    return Event(session=session, sql=sql, label=label, sent_ms=ms, done_ms=ms + 0.5, **fields)  # type: ignore[arg-type]


def lost_update(level: str = "SERIALIZABLE", t2_reads: int = 10, **fields: object) -> Transcript:
    """A transcript in which both transactions read, write and commit."""
    level_rows = ((level.lower(),),)
    return Transcript(
        level=level,
        events=(
            event("T1", f"BEGIN ISOLATION LEVEL {level}", 0),
            event("T1", "SHOW transaction_isolation", 1, LEVEL, rows=level_rows),
            event("T2", f"BEGIN ISOLATION LEVEL {level}", 2),
            event("T2", "SHOW transaction_isolation", 3, LEVEL, rows=level_rows),
            event("T1", READ, 4, "T1 reads", rows=((1, 10),)),
            event("T2", READ, 5, "T2 reads", rows=((1, t2_reads),)),
            event("T1", "UPDATE test SET value = 11 WHERE id = 1", 6),
            event("T1", "COMMIT", 7),
            event("T2", "UPDATE test SET value = 12 WHERE id = 1", 6.5, waited_for=("T1",)),
            event("T2", "COMMIT", 9),
        ),
        final=((1, 12), (2, 20)),
        **fields,  # type: ignore[arg-type]
    )


def without(transcript: Transcript, sql: str, session: str) -> Transcript:
    events = tuple(e for e in transcript.events if (e.sql, e.session) != (sql, session))
    assert len(events) == len(transcript.events) - 1
    return replace(transcript, events=events)


def failed_update(code: str) -> Transcript:
    transcript = lost_update()
    update = replace(transcript.events[8], code=code, message="no")
    rollback = event("T2", "ROLLBACK", 9, ROLLBACK_AFTER_ERROR)
    return replace(transcript, events=(*transcript.events[:8], update, rollback), final=((1, 11), (2, 20)))


def test_an_anomaly_that_occurred() -> None:
    observed = observe(CASE, "SERIALIZABLE", lost_update())
    assert (observed.kind, observed.ms, str(observed)) == ("occurred", 0.5, "OCCURRED")
    assert verdict("prevented", observed) == "fail"
    assert verdict("possible", observed) == "pass"


def test_prevented_by_waiting() -> None:
    observed = observe(CASE, "SERIALIZABLE", lost_update(t2_reads=11))
    assert (observed.kind, observed.ms) == ("waited", 0.5)
    assert verdict("prevented", observed) == verdict("possible", observed) == "pass"


def test_prevented_by_snapshot() -> None:
    transcript = lost_update(t2_reads=11)
    transcript = replace(transcript, events=tuple(replace(e, waited_for=()) for e in transcript.events))
    assert observe(CASE, "SERIALIZABLE", transcript).kind == "snapshot"


@pytest.mark.parametrize("code", ["40001", "40P01", "SQLITE_BUSY"])
def test_prevented_by_abort(code: str) -> None:
    observed = observe(CASE, "SERIALIZABLE", failed_update(code))
    assert (observed.kind, str(observed)) == ("aborted", f"abort {code}")


@pytest.mark.parametrize("code", ["42P01", "57014", "57P01", "08006", "23505", "SQLITE_ERROR"])
def test_other_errors_are_unknown(code: str) -> None:
    observed = observe(CASE, "SERIALIZABLE", failed_update(code))
    assert observed.kind == "unknown"
    assert code in observed.reason
    assert verdict("prevented", observed) == verdict("possible", observed) == "unknown"


def test_a_failed_commit_does_not_count_as_commit() -> None:
    transcript = lost_update()
    commit = replace(transcript.events[9], code="40001", message="pivot")
    rollback = event("T2", "ROLLBACK", 10, ROLLBACK_AFTER_ERROR)
    observed = observe(CASE, "SERIALIZABLE", replace(transcript, events=(*transcript.events[:9], commit, rollback)))
    assert (observed.kind, observed.code) == ("aborted", "40001")


def test_a_transaction_at_another_level_is_unknown() -> None:
    transcript = lost_update("READ COMMITTED")
    transcript = replace(transcript, level="SERIALIZABLE")
    observed = observe(CASE, "SERIALIZABLE", transcript)
    assert observed.kind == "unknown"
    assert observed.reason.startswith("T1 requested SERIALIZABLE but ran at READ COMMITTED")
    assert len(wrong_levels("SERIALIZABLE", transcript)) == 2


@pytest.mark.parametrize(
    ("transcript", "reason"),
    [
        (lost_update(trouble="T1 hung"), "T1 hung"),
        (lost_update("READ COMMITTED"), "is of READ COMMITTED"),
        (without(lost_update(), "SHOW transaction_isolation", "T2"), "T2 did not report its isolation level"),
        (without(lost_update(), "COMMIT", "T2"), "T2 did not run the steps of P4"),
        (without(lost_update(), READ, "T1"), "T1 did not run the steps of P4"),
        (Transcript(level="SERIALIZABLE"), "T1 did not report its isolation level"),
        (
            replace(
                lost_update(),
                events=tuple(replace(e, rows=()) if e.label == "T1 reads" else e for e in lost_update().events),
            ),
            "rows that are impossible in this case",
        ),
    ],
)
def test_an_incomplete_or_inconsistent_transcript_is_unknown(transcript: Transcript, reason: str) -> None:
    observed = observe(CASE, "SERIALIZABLE", transcript)
    assert observed.kind == "unknown"
    assert reason in observed.reason


def test_a_transcript_of_another_case_is_unknown() -> None:
    assert observe(CASES["G2-item"], "SERIALIZABLE", lost_update()).kind == "unknown"


def test_a_read_that_waited_for_the_commit_is_not_dirty() -> None:
    case = CASES["dirty-read"]

    def recorded(read_done: float) -> Transcript:
        rows = (("serializable",),)
        read = replace(event("T2", READ, 5, "T2 reads", rows=((1, 101),)), done_ms=read_done)
        return Transcript(
            level="SERIALIZABLE",
            events=(
                event("T1", "BEGIN", 0),
                event("T1", "SHOW", 1, LEVEL, rows=rows),
                event("T2", "BEGIN", 2),
                event("T2", "SHOW", 3, LEVEL, rows=rows),
                event("T1", "UPDATE test SET value = 101 WHERE id = 1", 4),
                event("T1", "COMMIT", 6, "T1 commits"),
                read,
                event("T2", "COMMIT", 8),
            ),
        )

    assert observe(case, "SERIALIZABLE", recorded(5.5)).kind == "occurred"
    assert observe(case, "SERIALIZABLE", recorded(6.2)).kind == "snapshot"


def test_a_transcript_survives_the_json_round_trip() -> None:
    transcript = lost_update(pids={"T1": 4711})
    assert from_json(to_json(transcript)) == transcript


def test_witness_lines() -> None:
    lines = lost_update().witness()
    assert "T2: UPDATE test SET value = 12 WHERE id = 1  [waited 0.5 ms for T1]" in lines[7]
    assert "[(1, 12), (2, 20)]" in lines[-1]
    assert "T1 hung" in lost_update(trouble="T1 hung").witness()[-1]
