"""Ends the warm-up of all agents of a lane in the same second, once their load together is steady.

It does no I/O, so the same rules serve the processes of one load host and the load hosts of one rig: pass it each
event that an agent prints, and send the line that it returns to every agent.
"""

from __future__ import annotations

import math

from harness.load.events import Event
from harness.load.spec import Warmup
from harness.load.steady_state import STEP_MS, Row, is_steady, together

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
        self._steps: dict[int, dict[int, Event]] = {}
        self._rows: list[Row] = []
        self.measuring = False

    def handle(self, agent: int, event: Event) -> str:
        """Returns the line to send to every agent after `agent` printed `event`; "" for none."""
        if self._warmup is None or self.measuring or event.get("event") != "step":
            return ""
        step = int(event["step"])
        rows = self._steps.setdefault(step, {})
        rows[agent] = event
        if len(rows) < self._count:
            return ""
        del self._steps[step]
        self._rows.append(together((row["done"], row["p95_ms"]) for row in rows.values()))
        start, next_start = (math.ceil(((step + n) * STEP_MS + self._ahead_ms) / 1000) for n in (1, 2))
        enough = start >= self._warmup.seconds and len(self._rows) >= ENOUGH_ROWS
        self.measuring = (enough and is_steady(self._rows)) or next_start > self._warmup.max_seconds
        return f"measure {start}" if self.measuring else ""
