"""Where the slowest requests of a trial spent their time: queue, pool, row lock, WAL, CPU, network. Pure.

A latency has parts that are measured: due to sent (queue), sent to done minus the service's own duration (outside of
the service), and the wait for a connection of the pool. The rest, in which the request held a session of the database,
is divided like the samples of that session in that time (`Active Session History`, as pg_wait_sampling does it): a
request of 20 ms is rarely sampled at 20 Hz, but all slow requests of a trial together are sampled often enough.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.record import Samples, SessionWaits

SHARE = 0.01
LEAST_REQUESTS = 10
"""The slowest requests that are divided: one in a hundred, but no fewer than this."""
LEAST_TICKS = 10
"""Samples of the sessions below which the time in the database is not divided."""

QUEUE, NETWORK, OUTSIDE, POOL = "queue before the send", "network", "outside of the service", "pool"
LOCK, WAL, IO = "row lock", "WAL", "database I/O"
DATABASE_CPU, APP_CPU, RETRIES = "database CPU", "app CPU", "back-off before a retry"
OTHER, NOT_SAMPLED, NO_RESPONSE = "other waits of the database", "in the database (too few samples)", "no response"
CPU_OUTSIDE = ("app CPU", "HAProxy CPU", "load CPU", "machine")
"""Saturated parts that explain time outside of the service, by name, in the order in which they are blamed."""
_COMMIT_WAITS = ("IPC:SyncRep", "Timeout:CommitDelay")
_IN_TRANSACTION = "idle in transaction"
BLOCKS = "blocks:"
"""Start of the entry of a session that others wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowestSplit:
    """`shares`: cause -> its share of the slowest requests' time, largest first; they add up to 1.

    `requests`: how many these are, `from_ms`: the least latency of them. `blocker`: the session that most waits for a
    lock were for, empty where there was none. `ticks`: samples of their sessions.
    """

    requests: int
    from_ms: float
    shares: Mapping[str, float]
    blocker: str = ""
    ticks: int = 0

    @property
    def first(self) -> str:
        """The largest cause."""
        return next(iter(self.shares))

    @property
    def sentence(self) -> str:
        """The causes of at least 5 %, with their shares."""
        held = f" (held by {self.blocker})" if self.blocker else ""
        parts = [
            f"{cause} {share:.0%}{held * (cause == LOCK)}"
            for cause, share in self.shares.items()
            if share >= 0.05 or cause == self.first
        ]
        return f"the slowest {self.requests:,} requests (from {self.from_ms:,.1f} ms): {', '.join(parts)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The parts of one request's latency in µs, and the time in which it held the session `pid`.

    `answered`: whether a response reported the service's duration; if not, `outside_us` is its whole service time.
    """

    queue_us: float
    outside_us: float
    pool_us: float = 0.0
    begins_us: float = 0.0
    ends_us: float = 0.0
    pid: int = 0
    retries: float = 0.0
    answered: bool = False

    @classmethod
    def of(cls, samples: Samples, n: int) -> _Request:
        """The parts of the request `n` of the samples; half of the time outside of the service is after it."""
        queue_us, service_us = samples.sent_us[n] - samples.due_us[n], samples.done_us[n] - samples.sent_us[n]
        inside_us = min(_captured(samples, "duration", n) * 1000, service_us)
        if inside_us <= 0:
            return cls(queue_us=queue_us, outside_us=service_us)
        pool_us = min(_captured(samples, "pool_wait_ms", n) * 1000, inside_us)
        ends_us = samples.done_us[n] - (service_us - inside_us) / 2
        return cls(
            queue_us=queue_us,
            outside_us=service_us - inside_us,
            pool_us=pool_us,
            begins_us=ends_us - (inside_us - pool_us),
            ends_us=ends_us,
            pid=int(_captured(samples, "backend", n)),
            retries=_captured(samples, "retries", n),
            answered=True,
        )


def split_slowest(
    samples: Samples, waits: SessionWaits, saturated: Collection[str] | None = None
) -> SlowestSplit | None:
    """Divides the time of the slowest 1 % of the measured requests.

    `saturated`: the parts that telemetry shows as saturated (analysis/bottleneck.py); None where that is not known.
    Returns None where the responses do not name their session and duration, or there are too few requests.
    """
    measured = [n for n, phase in enumerate(samples.phase) if phase == "measure"]
    number = max(LEAST_REQUESTS, math.ceil(len(measured) * SHARE))
    if len(measured) < 2 * number:
        return None
    slowest = sorted(measured, key=lambda n: samples.due_us[n] - samples.done_us[n])[:number]
    requests = [_Request.of(samples, n) for n in slowest]
    if not any(request.pid for request in requests):
        return None
    spent: Counter[str] = Counter()
    outside = _outside(saturated)
    for request in requests:
        spent[QUEUE] += round(request.queue_us)
        spent[outside if request.answered else NO_RESPONSE] += round(request.outside_us)
        spent[POOL] += round(request.pool_us)
    ticks, blockers = _ticks(requests, waits)
    total = ticks.total()
    held_us = sum(request.ends_us - request.begins_us for request in requests)
    if total < LEAST_TICKS:
        spent[NOT_SAMPLED] += round(held_us)
    else:
        for cause, count in ticks.items():
            spent[cause] += round(held_us * count / total)
    whole = spent.total()
    if whole <= 0:
        return None
    return SlowestSplit(
        requests=number,
        from_ms=min(samples.done_us[n] - samples.due_us[n] for n in slowest) / 1000,
        shares={cause: us / whole for cause, us in spent.most_common() if us > 0},
        blocker=next((name for name, _ in blockers.most_common(1)), ""),
        ticks=total,
    )


def _captured(samples: Samples, name: str, n: int) -> float:
    """A number of a response; 0 where the response had none."""
    column = samples.captured.get(name)
    return max(column[n], 0.0) if column is not None and column[n] == column[n] else 0.0


def _outside(saturated: Collection[str] | None) -> str:
    """The name of the time outside of the service: the saturated CPU that explains it, else the network."""
    if saturated is None:
        return OUTSIDE
    return next((part for part in CPU_OUTSIDE if part in saturated), NETWORK)


def _ticks(requests: Sequence[_Request], waits: SessionWaits) -> tuple[Counter[str], Counter[str]]:
    """Counts the samples of the requests' sessions by cause, and the sessions that those in a lock wait waited for."""
    sessions, blocking = _by_session(waits)
    causes, blockers = Counter[str](), Counter[str]()
    for request in requests:
        own = sessions.get(request.pid, {})
        first = bisect_left(waits.tick_us, request.begins_us)
        for at_us in waits.tick_us[first : bisect_right(waits.tick_us, request.ends_us, lo=first)]:
            cause = _cause(own.get(at_us, ""), request.retries)
            causes[cause] += 1
            if cause == LOCK:
                blockers.update(blocking.get(at_us, ()))
    return causes, blockers


def _by_session(waits: SessionWaits) -> tuple[dict[int, dict[int, str]], dict[int, list[str]]]:
    """Process id -> instant -> its wait; and instant -> the sessions that others waited for."""
    sessions: dict[int, dict[int, str]] = {}
    blocking: dict[int, list[str]] = {}
    for at_us, pid, wait in zip(waits.at_us, waits.pid, waits.wait, strict=True):
        if wait.startswith(BLOCKS):
            blocking.setdefault(at_us, []).append(wait.removeprefix(BLOCKS))
        else:
            sessions.setdefault(pid, {})[at_us] = wait
    return sessions, blocking


def _cause(wait: str, retries: float) -> str:
    """The cause of one sample of a session while a request held it; an empty wait is an idle session."""
    if wait == "on CPU":
        return DATABASE_CPU
    if not wait or wait.startswith((_IN_TRANSACTION, "Client:")):
        return RETRIES if not wait and retries else APP_CPU
    kind, _, event = wait.partition(":")
    if kind == "Lock":
        return LOCK
    if event.startswith("WAL") or wait in _COMMIT_WAITS:
        return WAL
    return IO if kind == "IO" else OTHER
