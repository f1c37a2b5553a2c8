"""Leads several agents through one trial: all ready, released together, warmed up together, all done.

Sans I/O, so that the same rules serve the processes of one load host and the load hosts of one rig: feed each
event an agent printed, send the lines that come back to every agent.
"""

from __future__ import annotations

import math
from typing import Any

from harness.load.spec import Warmup
from harness.load.steady_state import STEP_MS, Row, is_steady, together

Event = dict[str, Any]
AHEAD_MS = 1000
"""What several processes or hosts need to hear of the measured phase before it begins; one alone needs only a step.
It is warm-up too: whether the load was steady is seen afterwards, in the last steps before the measured phase
(merge.py)."""
ENOUGH_ROWS = 5
"""Steps before a warm-up may end early: a first one that does not count, and half a second twice."""


class Coordinator:
    """For `count` agents whose job has this warm-up (None: measure from the release on)."""

    def __init__(self, count: int, warmup: Warmup | None, *, ahead_ms: int = AHEAD_MS) -> None:
        self._count = count
        self._warmup = warmup
        self._ahead_ms = ahead_ms
        self._ready: set[int] = set()
        self._steps: dict[int, dict[int, Event]] = {}
        self._rows: list[Row] = []
        self.released = self.measuring = False
        self.done: dict[int, Event] = {}
        self.error = ""
        """The first thing that went wrong: the trial is invalid."""

    @property
    def finished(self) -> bool:
        return bool(self.error) or len(self.done) == self._count

    def handle(self, agent: int, event: Event) -> list[str]:
        """The lines to send to every agent after `agent` printed this event."""
        kind = event.get("event")
        if kind == "ready":
            self._ready.add(agent)
            if len(self._ready) == self._count and not self.released:
                self.released = True
                return ["go"]
        elif kind == "step":
            return self._step(agent, event)
        elif kind == "done":
            self.done[agent] = event["summary"]
        elif kind == "error":
            self.error = self.error or str(event.get("message", "unknown error"))
        return []

    def lost(self, agent: int) -> None:
        """The agent's stream ended; without a `done` before, the trial is invalid."""
        if agent not in self.done:
            self.error = self.error or f"load agent {agent + 1} of {self._count} ended before its results were complete"

    def _step(self, agent: int, event: Event) -> list[str]:
        if self._warmup is None or self.measuring:
            return []
        step = int(event["step"])
        rows = self._steps.setdefault(step, {})
        rows[agent] = event
        if len(rows) < self._count:
            return []
        del self._steps[step]
        self._rows.append(together((row["done"], row["p95_ms"]) for row in rows.values()))
        start, next_start = (math.ceil(((step + n) * STEP_MS + self._ahead_ms) / 1000) for n in (1, 2))
        enough = start >= self._warmup.seconds and len(self._rows) >= ENOUGH_ROWS
        self.measuring = (enough and is_steady(self._rows)) or next_start > self._warmup.max_seconds
        return [f"measure {start}"] if self.measuring else []
