"""What is said of a trial while it runs: now and then one whole second of it, over all load hosts and both phases."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

EVERY_S = 2.0
"""Seconds between two lines."""


class ProgressPrinter:
    """Takes the agents' progress events, from several threads, and says the newest second that is surely whole.

    A load host tells of a second once for each phase that touched it, and hosts do so one after the other: a second
    is whole when two later ones have begun. Only the lane `main` is told of.
    """

    def __init__(self, echo: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._echo = echo
        self._clock = clock
        self._said_s = clock()
        self._newest = 0
        self._seconds: dict[int, Counter[str]] = {}
        self._lock = threading.Lock()

    def __call__(self, lane: str, event: Mapping[str, Any]) -> None:
        if lane != "main":
            return
        with self._lock:
            ended = {name: event[name] for name in ("ok", "fail", "unknown")}
            self._seconds.setdefault(event["second"], Counter()).update(ended)
            if event["second"] > self._newest:
                self._newest = event["second"]
                self._say(self._newest - 2)

    def _say(self, second: int) -> None:
        whole = self._seconds.get(second)
        if whole is not None and self._clock() - self._said_s >= EVERY_S:
            self._said_s = self._clock()
            self._echo(f"      {second:>4} s  {whole['ok']:,} ok/s  {whole['fail'] + whole['unknown']:,} not ok")
        for past in [known for known in self._seconds if known <= second]:
            del self._seconds[past]
