"""The course of a bench while it measures: which trial runs, and each complete second of its load.

The load hosts report once per second; the seconds of all hosts and both phases are added up here.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from harness.load.events import Event
from harness.model import Trial

EVERY_S = 2.0
"""Time between two lines."""
MOST_ERRORS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """One second of the lane `main`, over all load hosts.

    The percentiles are the largest of any load process, and thus bounds of those of all requests. `errors`: name ->
    requests; `hosts`: app host -> responses.
    """

    second: int
    ok: int
    fail: int
    unknown: int
    p50_ms: float | None = None
    p99_ms: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """Returns rate, percentiles and errors as one line."""
        times = [f"{name} ≤{ms:,.3g} ms" for name, ms in (("p50", self.p50_ms), ("p99", self.p99_ms)) if ms is not None]
        refused = self.fail + self.unknown
        named = sorted(self.errors.items(), key=lambda item: -item[1])[:MOST_ERRORS]
        names = ", ".join(f"{count:,} {name}" for name, count in named)
        return "  ".join(
            [f"{self.ok:,} ok/s", *times, f"{refused:,} not ok" + (f": {names}" if refused and names else "")]
        )

    def shares(self) -> str:
        """Returns each app host's share of the responses; empty where no host is known."""
        total = sum(self.hosts.values())
        return "  ".join(f"{host} {count / total:.0%}" for host, count in sorted(self.hosts.items()))


class Progress(Protocol):
    """Shows the course of a bench. Its functions return at once; `second` is called from several threads."""

    def trial(self, trial: Trial, total: int) -> None:
        """A trial begins; `total`: the number of trials, or the most that there may be."""

    def second(self, second: Second) -> None:
        """A second of the trial's load is complete."""


class PlainProgress:
    """Prints a second at intervals as one line."""

    def __init__(self, echo: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._echo, self._clock = echo, clock
        self._printed_s = clock()

    def trial(self, trial: Trial, total: int) -> None:  # noqa: ARG002 - the caller prints the trial
        """Begins to wait for the next line."""
        self._printed_s = self._clock()

    def second(self, second: Second) -> None:
        """Prints the second if the last line was EVERY_S ago."""
        if self._clock() - self._printed_s >= EVERY_S:
            self._printed_s = self._clock()
            shares = second.shares()
            self._echo(f"      {second.second:>4} s  {second.text()}" + (f"  {shares}" if shares else ""))


class SecondMeter:
    """Receives the agents' progress events, from several threads, and passes on each second that is complete.

    A load host reports a second once for each phase in it, and hosts report at different times: a second counts as
    complete when two later ones have begun. Only the lane `main` is shown.
    """

    def __init__(self, take: Callable[[Second], None]) -> None:
        self._take = take
        self._newest = 0
        self._seconds: dict[int, list[Event]] = {}
        self._lock = threading.Lock()

    def __call__(self, lane: str, event: Event) -> None:
        if lane != "main":
            return
        with self._lock:
            self._seconds.setdefault(event["second"], []).append(event)
            if event["second"] > self._newest:
                self._newest = event["second"]
                self._pass_on(self._newest - 2)

    def _pass_on(self, second: int) -> None:
        if events := self._seconds.get(second):
            self._take(_added(second, events))
        for earlier in [key for key in self._seconds if key <= second]:
            del self._seconds[earlier]


def _added(second: int, events: list[Event]) -> Second:
    errors, hosts = Counter[str](), Counter[str]()
    for event in events:
        errors.update(event.get("errors", {}))
        hosts.update(event.get("hosts", {}))
    p50, p99 = (
        max((event[name] for event in events if event.get(name) is not None), default=None)
        for name in ("p50_ms", "p99_ms")
    )
    ok, fail, unknown = (sum(event[name] for event in events) for name in ("ok", "fail", "unknown"))
    return Second(second=second, ok=ok, fail=fail, unknown=unknown, p50_ms=p50, p99_ms=p99, errors=errors, hosts=hosts)
