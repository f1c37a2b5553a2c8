"""The end of the service: it serves on until the load balancer sends it no more requests.

After SIGTERM, `GET /ready` is 503 and every response closes its connection, while new connections are still accepted.
So no request arrives on a connection that the service is closing. The drain ends when `/ready` was refused often enough
for a load balancer to notice and no other request has come since, and after `seconds` in any case. A service without
requests in its last second does not drain: nothing would be lost, and restarts between two loads stay quick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic

from app.metrics import Counters

_TICK_SECONDS = 0.1
_QUIET_SECONDS = 1.0
"""Time without requests before SIGTERM that makes a drain needless."""
_SETTLED_SECONDS = 0.3
"""Time without requests after the last needed refusal."""
_REFUSALS = 2
"""Failed checks after which a load balancer takes a host out."""
_PROBES = ("ready", "live", "health", "metrics", "pool-stats")
"""Operations of load balancers and monitoring, which do not count as requests here."""


class Drain:
    """Knows when the last request arrived; `seconds` limits the drain."""

    def __init__(self, counters: Counters, seconds: float) -> None:
        self.begun = False
        self._counters = counters
        self._seconds = seconds
        self._arrived: Callable[[], int] = int
        self._requests = 0
        self._last_request = -inf
        self._refusals = 0
        self._last_refusal = inf

    async def observe(self, arrived: Callable[[], int]) -> None:
        """Observes until it is cancelled; `arrived()` is the number of requests, with probes, so far."""
        self._arrived = arrived
        while True:
            self._quiet_seconds()
            await asyncio.sleep(_TICK_SECONDS)

    def refuse(self) -> None:
        """Counts an answer to /ready since the drain began."""
        self._refusals += 1
        if self._refusals == _REFUSALS:
            self._last_refusal = monotonic()

    async def run(self) -> None:
        """Begins the drain, and returns when the service may close."""
        self.begun = True
        if self._quiet_seconds() >= _QUIET_SECONDS:
            return
        end = monotonic() + self._seconds
        while monotonic() < end:
            settled = min(self._quiet_seconds(), monotonic() - self._last_refusal)
            if settled >= _SETTLED_SECONDS:
                return
            await asyncio.sleep(_TICK_SECONDS)

    def _quiet_seconds(self) -> float:
        probes = sum(sum(self._counters.requests[op].values()) for op in _PROBES)
        requests = self._arrived() - probes
        if requests != self._requests:
            self._requests = requests
            self._last_request = monotonic()
        return monotonic() - self._last_request
