"""Reads a transcript and says whether the anomaly occurred, and if not, what prevented it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.isolation.case_model import Case, Level, Rule
from harness.isolation.transcript import LEVEL, Transcript
from harness.model import Verdict

Kind = Literal["occurred", "waited", "aborted", "snapshot", "unknown"]

PREVENTING = {
    "40001": "serialization failure",
    "40P01": "deadlock detected",
    "SQLITE_BUSY": "database is locked",
    "SQLITE_BUSY_SNAPSHOT": "snapshot is too old to write",
    "SQLITE_LOCKED": "table is locked",
}
"""The errors by which a database refuses an interleaving. Any other error says nothing about isolation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one run showed.

    If the anomaly did not occur, `kind` is the strongest means seen: `aborted` (a transaction was refused, by
    `code`), else `waited` (a statement had to wait, `ms` in all), else `snapshot` (neither: a reader was
    shown another version). `ms` tells how long the schedule kept the waiters waiting; it is no property of
    the database. `unknown` has a `reason`.
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


def wrong_levels(level: str, seen: Transcript) -> list[str]:
    """One sentence for each transaction that said it runs at another level than it was asked to."""
    return [
        f"{event.session} asked for {level} and ran {_level(event.rows)}"
        for event in seen.events
        if event.label == LEVEL and not event.code and _level(event.rows) != level
    ]


def _level(rows: tuple[tuple[object, ...], ...]) -> str:
    return str(rows[0][0]).upper() if rows and rows[0] else "an unknown level"


def observe(case: Case, level: Level, seen: Transcript) -> Observation:
    """What the transcript of `case` at `level` shows. Whatever casts doubt on it makes `unknown`."""
    doubts = list(_doubts(case, level, seen))
    if doubts:
        return Observation(kind="unknown", reason="; ".join(doubts))
    waits = [event for event in seen.events if event.waited_for]
    ms = round(sum(event.ms for event in waits), 3)
    codes = [event.code for event in seen.events if event.code]
    code = codes[0] if codes else ""
    try:
        occurred = all(map(seen.committed, case.needs)) and case.anomaly(seen)
    except (LookupError, TypeError, ValueError) as error:
        return Observation(kind="unknown", reason=f"rows that this case cannot show: {error!r}")
    kind: Kind = "occurred" if occurred else "aborted" if codes else "waited" if waits else "snapshot"
    return Observation(kind=kind, ms=ms, code=code)


def _doubts(case: Case, level: Level, seen: Transcript) -> Iterator[str]:
    """Why the transcript proves nothing: nothing, if it does."""
    if seen.trouble:
        yield seen.trouble
    if seen.level != level:
        yield f"the transcript is of {seen.level}"
    yield from wrong_levels(level, seen)
    for event in seen.events:
        if event.code and event.code not in PREVENTING:
            yield f"{event.session}: {event.sql} failed with {event.code} {event.message}"
    for session in case.sessions:
        events = seen.of(session)
        if any(event.code for event in events):
            continue  # refused: it need not have come further
        if not any(event.label == LEVEL for event in events):
            yield f"{session} never said at which level it ran"
        if [event.sql for event in events][2:] != [s.sql for s in case.steps if s.session == session]:
            yield f"{session} did not run the steps of {case.name}"


def verdict(documented: Rule, observation: Observation) -> Verdict:
    """`fail` if what is documented as prevented occurred. Possible but not observed is no failure."""
    if observation.kind == "unknown":
        return "unknown"
    return "fail" if documented == "prevented" and observation.kind == "occurred" else "pass"
