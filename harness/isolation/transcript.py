"""The record of one run of a case: stored, printed as witness, and evaluated. Pure.

It holds facts only (statements, times, results, observed waits), so it can be evaluated again from disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import FormatError

Rows = tuple[tuple[Any, ...], ...]

LEVEL = "level"
"""Label of the step in which a transaction reports the level at which it runs."""
ROLLBACK_AFTER_ERROR = "rollback after error"
"""Label of the ROLLBACK that the stepper sends after a failed statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One statement from send to end. Times are milliseconds since the case began, on a monotonic clock."""

    session: str
    sql: str
    label: str = ""
    sent_ms: float = 0.0
    done_ms: float = 0.0
    waited_for: tuple[str, ...] = ()
    """The sessions it was observed to wait for; empty if it was never observed to wait."""
    rows: Rows = ()
    code: str = ""
    """SQLSTATE (PostgreSQL) or result code name (SQLite) if it failed, else empty."""
    message: str = ""

    @property
    def ms(self) -> float:
        """The statement's duration, waiting included."""
        return self.done_ms - self.sent_ms

    def __str__(self) -> str:
        text = f"{self.sent_ms:9.1f} ms  {self.session}: {self.sql}"
        if self.waited_for:
            text += f"  [waited {self.ms:.1f} ms for {', '.join(self.waited_for)}]"
        if self.code:
            return f"{text}  -> {self.code} {self.message}"
        return f"{text}  -> {list(self.rows)}" if self.rows else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """All statements of one run, in the order in which they ended."""

    level: str
    events: tuple[Event, ...] = ()
    final: Rows = ()
    """The table after all sessions had ended."""
    trouble: str = ""
    """Why the run could not be completed, or empty."""
    pids: Mapping[str, int] = field(default_factory=dict)
    """The server process of each session, to find it in the server's log."""

    def event(self, label: str) -> Event:
        """Returns the event with that label. Raises KeyError if it never ended."""
        for event in self.events:
            if event.label == label:
                return event
        raise KeyError(label)

    def read(self, label: str) -> dict[Any, Any]:
        """Returns the rows read in that step, as {id: value}."""
        return {row[0]: row[1] for row in self.event(label).rows}

    def after(self) -> dict[Any, Any]:
        """Returns the table at the end, as {id: value}."""
        return {row[0]: row[1] for row in self.final}

    def ended_before(self, label: str, other: str) -> bool:
        """Whether one step had ended when the other was sent."""
        return self.event(label).done_ms <= self.event(other).sent_ms

    def of(self, session: str) -> list[Event]:
        """Returns the events of one session, in order."""
        return [event for event in self.events if event.session == session]

    def committed(self, session: str) -> bool:
        """Whether the session's COMMIT was acknowledged."""
        return any(e.sql == "COMMIT" and not e.code for e in self.of(session))

    def witness(self) -> tuple[str, ...]:
        """Returns the transcript as printable lines."""
        lines = [str(event) for event in sorted(self.events, key=lambda e: e.sent_ms)]
        lines.append(f"{'finally':>12}  {list(self.final)}")
        return (*lines, f"{'trouble':>12}  {self.trouble}") if self.trouble else tuple(lines)


def to_json(transcript: Transcript) -> dict[str, object]:
    """Converts a transcript to JSON types."""
    return asdict(transcript)


def from_json(data: Any) -> Transcript:
    """Parses a transcript from JSON types. Raises FormatError."""
    try:
        events = tuple(
            Event(
                session=str(e["session"]),
                sql=str(e["sql"]),
                label=str(e["label"]),
                sent_ms=float(e["sent_ms"]),
                done_ms=float(e["done_ms"]),
                waited_for=tuple(map(str, e["waited_for"])),
                rows=_rows(e["rows"]),
                code=str(e["code"]),
                message=str(e["message"]),
            )
            for e in data["events"]
        )
        return Transcript(
            level=str(data["level"]),
            events=events,
            final=_rows(data["final"]),
            trouble=str(data["trouble"]),
            pids={str(k): int(v) for k, v in data["pids"].items()},
        )
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"not a transcript of an isolation case: {type(error).__name__}: {error}") from error


def _rows(data: Any) -> Rows:
    return tuple(tuple(row) for row in data)
