"""Coordinates the agents of one trial: they are released together and end their warm-up in the same second.

It does no I/O, so the same rules serve the processes of one load host and the load hosts of one rig: pass it each
event that an agent prints, and send the lines that it returns to every agent.
"""

from __future__ import annotations

import math
from typing import Any

from harness.load.spec import Warmup
from harness.load.steady_state import STEP_MS, Row, is_steady, together

Event = dict[str, Any]
AHEAD_MS = 1000
"""Advance notice (ms) of the measured phase: enough to reach every process or host. A single process needs one step.

The notice is part of the warm-up: merge.py checks afterwards whether the last steps before the measured phase were
steady.
"""
ENOUGH_ROWS = 5
"""Steps before a warm-up may end early: a first one that is not compared, and half a second twice."""


class Coordinator:
    """Coordinates `count` agents whose job has this warm-up (None: they measure from the release on)."""

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
        """The first error; it makes the trial invalid."""

    @property
    def finished(self) -> bool:
        return bool(self.error) or len(self.done) == self._count

    def handle(self, agent: int, event: Event) -> list[str]:
        """Returns the lines to send to every agent after `agent` printed `event`."""
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
        """Records that an agent ended; without a `done` event before, the trial is invalid."""
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
