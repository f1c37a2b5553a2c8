"""Evaluates a transcript: whether the anomaly occurred, and if not, what prevented it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from harness.isolation.case_model import Case, Level, Rule
from harness.isolation.transcript import LEVEL, ROLLBACK_AFTER_ERROR, Transcript
from harness.model import Verdict

Kind = Literal["occurred", "waited", "aborted", "snapshot", "unknown"]

OPENING = ("begin", "report the level")
"""The statements of each session before the steps of its case."""
PREVENTING = {
    "40001": "serialization failure",
    "40P01": "deadlock detected",
    "SQLITE_BUSY": "database is locked",
    "SQLITE_BUSY_SNAPSHOT": "snapshot is too old to write",
    "SQLITE_LOCKED": "table is locked",
}
"""The errors with which a database rejects an interleaving. Other errors carry no information about isolation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The result of one run.

    If the anomaly did not occur, `kind` is the strongest mechanism that was observed: `aborted` (a transaction failed
    with `code`), else `waited` (statements waited for `ms` in total), else `snapshot` (neither: a reader was shown
    another version). `ms` is how long the schedule made the statements wait, not a property of the database.
    `unknown` has a `reason`.
    """

    kind: Kind
    ms: float = 0.0
    code: str = ""
    reason: str = ""

    def __str__(self) -> str:
        shown = {
            "occurred": "OCCURRED",
            "waited": f"waited {self.ms:.0f} ms",
            "aborted": f"abort {self.code}",
            "snapshot": "snapshot",
            "unknown": "unknown",
        }
        return shown[self.kind]


def wrong_levels(level: str, transcript: Transcript) -> list[str]:
    """Returns one sentence for each transaction at another level, or in another server process, than requested."""
    problems = []
    for event in transcript.events:
        if event.label != LEVEL or event.code:
            continue
        if _level(event.rows) != level:
            problems.append(f"{event.session} requested {level} but ran at {_level(event.rows)}")
        pids = [row[1] for row in event.rows if len(row) > 1]
        if any(pid != transcript.pids.get(event.session) for pid in pids):
            problems.append(f"{event.session} ran in another server process than its own: is a pooler between?")
    return problems


def _level(rows: tuple[tuple[object, ...], ...]) -> str:
    return str(rows[0][0]).upper() if rows and rows[0] else "an unknown level"


def observe(case: Case, level: Level, transcript: Transcript) -> Observation:
    """Evaluates the transcript of `case` at `level`. An incomplete or inconsistent one gives `unknown`."""
    problems = list(_problems(case, level, transcript))
    if problems:
        return Observation(kind="unknown", reason="; ".join(problems))
    waits = [event for event in transcript.events if event.waited_for]
    ms = round(sum(event.ms for event in waits), 3)
    codes = [event.code for event in transcript.events if event.code]
    code = codes[0] if codes else ""
    try:
        occurred = all(map(transcript.committed, case.needs)) and case.anomaly(transcript)
    except (LookupError, TypeError, ValueError) as error:
        return Observation(kind="unknown", reason=f"rows that are impossible in this case: {error!r}")
    kind: Kind = "snapshot"
    if occurred:
        kind = "occurred"
    elif codes:
        kind = "aborted"
    elif waits:
        kind = "waited"
    return Observation(kind=kind, ms=ms, code=code)


def _problems(case: Case, level: Level, transcript: Transcript) -> Iterator[str]:
    """Yields the reasons why the transcript cannot be evaluated."""
    if transcript.trouble:
        yield transcript.trouble
    if transcript.level != level:
        yield f"the transcript is of {transcript.level}"
    yield from wrong_levels(level, transcript)
    for event in transcript.events:
        if event.code and event.code not in PREVENTING:
            yield f"{event.session}: {event.sql} failed with {event.code} {event.message}"
    for session in case.sessions:
        events = transcript.of(session)
        if any(event.code for event in events):
            continue  # it failed, so its remaining steps were not run
        if not any(event.label == LEVEL for event in events):
            yield f"{session} did not report its isolation level"
        if [event.sql for event in events][2:] != [s.sql for s in case.steps if s.session == session]:
            yield f"{session} did not run the steps of {case.name}"


def not_interleaved(case: Case, transcript: Transcript) -> str:
    """Returns the first statement that was sent out of the schedule's order, by the times of the transcript, or "".

    Only a session that is observed to wait may fall behind the schedule. Sessions that run one after the other cannot
    show an anomaly, so the case would prove nothing.
    """
    own = {
        session: [event for event in transcript.of(session) if event.label != ROLLBACK_AFTER_ERROR]
        for session in case.sessions
    }
    queues = {session: iter(events) for session, events in own.items()}
    order = [session for session, step in case.schedule for _ in (OPENING if step is None else (step,))]
    planned = [event for session in order if (event := next(queues[session], None)) is not None]
    for earlier, later in combinations(planned, 2):
        waited = any(e.waited_for and e.sent_ms <= later.sent_ms <= e.done_ms for e in own[earlier.session])
        if earlier.sent_ms >= later.sent_ms and not waited:
            return (
                f"the sessions did not interleave: {later.session}: {later.sql} was not sent after "
                f"{earlier.session}: {earlier.sql}"
            )
    return ""


def verdict(documented: Rule, observation: Observation) -> Verdict:
    """Returns `fail` if the anomaly occurred although documented as prevented."""
    if observation.kind == "unknown":
        return "unknown"
    return "fail" if documented == "prevented" and observation.kind == "occurred" else "pass"
