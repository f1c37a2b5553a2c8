"""The clock of a trial's samples: microseconds since the start of the run."""

from __future__ import annotations

import time


class TrialClock:
    """Counts on the controller's monotonic clock from when this is built; `began_s`: start of the run, since 1970."""

    def __init__(self, began_s: float) -> None:
        self._began_us = time.monotonic_ns() // 1000 - round((time.time() - began_s) * 1e6)

    def now_us(self) -> int:
        """Returns the time now."""
        return self.at_us(time.monotonic_ns() // 1000)

    def at_us(self, monotonic_us: int) -> int:
        """Returns the time at an instant of the controller's monotonic clock."""
        return monotonic_us - self._began_us
