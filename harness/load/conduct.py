"""Leads several agents through one trial: all ready, released together, warmed up together, all done.

Sans I/O, so that the same rules serve the processes of one load host and the load hosts of one rig: feed each
event an agent printed, send the lines that come back to every agent.
"""

from __future__ import annotations

from typing import Any

from harness.load.job import Warmup
from harness.load.steady import Row, is_steady

Event = dict[str, Any]
AHEAD = 2
"""Seconds that several agents need to hear of the measured phase before it begins; one alone needs only the next.
They are warm-up too: whether the load was steady is seen afterwards, in the last seconds before the measured phase
(merge.py)."""


class Conductor:
    """For `count` agents whose job has this warm-up (None: measure from the release on)."""

    def __init__(self, count: int, warmup: Warmup | None) -> None:
        self._count = count
        self._warmup = warmup
        self._ahead = AHEAD if count > 1 else 1
        self._ready: set[int] = set()
        self._seconds: dict[int, dict[int, Event]] = {}
        self._rows: list[Row] = []
        self.released = self.measuring = False
        self.done: dict[int, Event] = {}
        self.error = ""
        """The first thing that went wrong: the trial is invalid."""

    @property
    def finished(self) -> bool:
        return bool(self.error) or len(self.done) == self._count

    def feed(self, agent: int, event: Event) -> list[str]:
        """The lines to send to every agent after `agent` printed this event."""
        kind = event.get("event")
        if kind == "ready":
            self._ready.add(agent)
            if len(self._ready) == self._count and not self.released:
                self.released = True
                return ["go"]
        elif kind == "progress":
            return self._progress(agent, event)
        elif kind == "done":
            self.done[agent] = event["summary"]
        elif kind == "error":
            self.error = self.error or str(event.get("message", "unknown error"))
        return []

    def lost(self, agent: int) -> None:
        """The agent's stream ended; without a `done` before, the trial is invalid."""
        if agent not in self.done:
            self.error = self.error or f"load agent {agent + 1} of {self._count} ended before its results were complete"

    def _progress(self, agent: int, event: Event) -> list[str]:
        if self._warmup is None or self.measuring or event["phase"] != "warmup":
            return []
        rows = self._seconds.setdefault(event["second"], {})
        rows[agent] = event
        if len(rows) < self._count:
            return []
        del self._seconds[event["second"]]
        done = sum(row["ok"] + row["fail"] + row["unknown"] for row in rows.values())
        p95_ms = max((row["p95_ms"] for row in rows.values() if row["p95_ms"] is not None), default=None)
        self._rows.append((done, p95_ms))
        start = int(event["second"]) + 1 + self._ahead
        seen = len(self._rows) >= self._warmup.seconds and is_steady(self._rows)
        self.measuring = seen or start >= self._warmup.max_seconds
        return [f"measure {start}"] if self.measuring else []
