"""The open model: requests are due by the schedule, whether or not earlier ones have completed.

A timer fires when a request is due. The request goes to an idle connection, or waits for one: it is late, not lost.
Latency counts from the due instant, so it includes the wait.
"""

from __future__ import annotations

from collections import deque

from harness.load.clock import PreciseTimer, now_us
from harness.load.connection import HttpConnection
from harness.load.engine import Engine
from harness.load.job import Job
from harness.load.results import histogram
from harness.load.sample_buffer import SampleBuffer
from harness.load.schedule import arrivals


class OpenModel(Engine):
    """Sends each request at the instant it is due."""

    def __init__(self, job: Job, buffer: SampleBuffer) -> None:
        super().__init__(job, buffer)
        self._idle: deque[HttpConnection] = deque()
        self._unopened = 0
        """Connections that ended and have not been opened again."""
        self._timer = PreciseTimer(self._loop, self._send_due)
        self._arrivals = arrivals(job)
        self._due_us = 0

    def _start(self, connections: list[HttpConnection], t0_us: int) -> None:
        self._idle.extend(connections)
        self._unopened = self.missing
        self._due_us = t0_us + next(self._arrivals)
        self._timer.set(self._due_us)

    def _send_due(self) -> None:
        """Send everything that is due."""
        now = now_us()
        while self._due_us <= now:
            due_us = self._due_us
            if not self._admit(due_us):
                self._end_if_done()
                return
            if due_us >= self.buffer.measure_from_us:
                index = histogram.slot(now - due_us)
                self.dispatch_lag[index] = self.dispatch_lag.get(index, 0) + 1
            connection = self._take_idle(now)
            if connection is not None:
                self._send(connection, due_us)
            elif self._unopened:
                self._unopened -= 1
                self._reopen(due_us)
            else:
                self.late += 1
                self._waiting.append(due_us)
            self._due_us = self.buffer.t0_us + next(self._arrivals)
        self._timer.set(self._due_us)

    def _take_idle(self, now: int) -> HttpConnection | None:
        while self._idle:
            connection = self._idle.popleft()
            if not self._is_gone(connection, now):
                return connection
            self._unopened += 1
        return None

    def _was_idle(self, connection: HttpConnection) -> bool:  # noqa: ARG002  # `idle_since_us` is that of each request
        return True

    def _next(self, connection: HttpConnection | None, now: int) -> None:
        if connection is not None and not connection.usable:
            self._connections.discard(connection)
            connection = None
        if self._waiting and not self.interrupted:
            due_us = self._waiting.popleft()
            if connection is not None:
                self._send(connection, due_us)
            else:
                self._reopen(due_us)
            return
        if connection is not None:
            connection.idle_since_us = now
            self._idle.append(connection)
        else:
            self._unopened += 1
        self._end_if_done()

    def lost(self, connection: HttpConnection, out_of_step: bool) -> None:
        super().lost(connection, out_of_step)
        if self._released:
            self._idle.remove(connection)
            self._unopened += 1

    def _tick(self) -> None:
        now = now_us()
        if now >= self.until_us and self._due_us >= self.until_us:
            self._exhausted = True  # the next arrival, which would show it, may be minutes away
            self._end_if_done()
        super()._tick()

    def close(self) -> None:
        """Close all connections and the timer."""
        super().close()
        self._timer.close()
