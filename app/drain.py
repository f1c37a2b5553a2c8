"""The end of the service: it serves on until the load balancer sends it no more requests.

After SIGTERM, `GET /ready` is 503 and every response closes its connection, while new connections are still accepted.
So no request arrives on a connection that the service is closing. The drain ends when `/ready` was refused often enough
for a load balancer to notice and no other request has come since, and after `seconds` in any case. A service without
requests in its last second does not drain: nothing would be lost, and restarts between two loads stay quick.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic

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

    def __init__(self, seconds: float) -> None:
        self.begun = False
        self._seconds = seconds
        self._last_request = -inf
        self._refusals = 0
        self._last_refusal = inf

    def arrive(self, op: str) -> None:
        """Notes the arrival of a request. A probe is none, however long its answer takes."""
        if op not in _PROBES:
            self._last_request = monotonic()

    def refuse(self) -> None:
        """Counts an answer to /ready since the drain began."""
        self._refusals += 1
        if self._refusals == _REFUSALS:
            self._last_refusal = monotonic()

    async def run(self) -> None:
        """Begins the drain, and returns when the service may close."""
        self.begun = True
        if monotonic() - self._last_request >= _QUIET_SECONDS:
            return
        end = monotonic() + self._seconds
        while monotonic() < end:
            if monotonic() - max(self._last_request, self._last_refusal) >= _SETTLED_SECONDS:
                return
            await asyncio.sleep(_TICK_SECONDS)
