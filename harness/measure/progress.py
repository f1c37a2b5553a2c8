"""Prints a trial's progress: one complete second at intervals, added up over all load hosts and both phases."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from harness.load.events import Event

EVERY_S = 2.0
"""Time between two lines."""


class ProgressPrinter:
    """Receives the agents' progress events, from several threads, and prints the newest second that is complete.

    A load host reports a second once for each phase in it, and hosts report at different times: a second counts as
    complete when two later ones have begun. Only the lane `main` is printed.
    """

    def __init__(self, echo: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._echo = echo
        self._clock = clock
        self._printed_s = clock()
        self._newest = 0
        self._seconds: dict[int, Counter[str]] = {}
        self._lock = threading.Lock()

    def __call__(self, lane: str, event: Event) -> None:
        if lane != "main":
            return
        with self._lock:
            counts = {name: event[name] for name in ("ok", "fail", "unknown")}
            self._seconds.setdefault(event["second"], Counter()).update(counts)
            if event["second"] > self._newest:
                self._newest = event["second"]
                self._print(self._newest - 2)

    def _print(self, second: int) -> None:
        counts = self._seconds.get(second)
        if counts is not None and self._clock() - self._printed_s >= EVERY_S:
            self._printed_s = self._clock()
            self._echo(f"      {second:>4} s  {counts['ok']:,} ok/s  {counts['fail'] + counts['unknown']:,} not ok")
        for earlier in [key for key in self._seconds if key <= second]:
            del self._seconds[earlier]
