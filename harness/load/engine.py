"""Sends one stripe of a job over its connections, in one event loop and without a task per request.

What is common to both load models; `closed_model` and `open_model` decide when the next request is sent. Only
`twin_model` and `retry_model` repeat one. Requests in flight at the end are waited for, each for at most `timeout_s`.
"""

from __future__ import annotations

import asyncio
import errno
from abc import ABC, abstractmethod
from collections import deque
from time import monotonic_ns
from typing import Any, ClassVar

from harness.load.clock import PreciseTimer, now_us
from harness.load.connection import HttpConnection
from harness.load.connector import Connector, reason
from harness.load.counters import NEVER_US
from harness.load.job import Job
from harness.load.outcome import CLOSED_WHILE_IDLE, FAIL, UNKNOWN, Answer, classify_answer
from harness.load.request_builder import request_maker
from harness.load.results import histogram
from harness.load.results.process_usage import TICK_US
from harness.load.sample_buffer import PackedOutcome, SampleBuffer
from harness.load.self_monitor import SelfMonitor

_IDLE_US = 200_000
"""A connection idle for so long may meet the idle time-out of the service, which closes it as the request is sent.

Services with an idle time-out of 0.5 s exist. In less time a busy connection could be taken for an idle one.
"""
_WAIT_US = 1_000_000
"""A connection that was closed while idle ends within a round trip, but the release of many delays its reading."""
_CONNECT_TRIES = 3
"""A service may close a connection before its first request is written; after this many tries it is not sent."""
_GRACE_S = 2.0
"""Time for requests in flight to complete after an interruption."""


class Engine(ABC):
    """One stripe of a job. `finished` resolves when every request has its outcome."""

    connect_pause_s: ClassVar[float] = 0.0
    """Pause after a refused connection, before the next request."""

    def __init__(self, job: Job, buffer: SampleBuffer) -> None:
        self._job = job
        self.buffer = buffer
        self._loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self._is_open_model = job.mode == "open"
        self._make_request = request_maker(job)
        self._record, self._pack, self._phases = buffer.record, buffer.pack, buffer.phases
        self._known_answers: list[dict[bytes, Any]] = [{} for _ in job.operations]
        self._timeout_us = round(job.timeout_s * 1_000_000)
        self._connector = Connector(job, lambda: HttpConnection(self))
        self._connections: set[HttpConnection] = set()
        self._waiting: deque[int] = deque()
        """Due times of requests that wait for a connection (open model). It has no bound, because a late request is
        not lost: under overload it grows by the offered minus the completed requests, 40 bytes each."""
        self._opening: set[asyncio.Task[None]] = set()
        self._next_seq, self._stripes = job.host_index, job.host_count
        self._remaining = None if job.requests is None else job.stripe(job.requests)
        """Requests of the measured phase still to be sent; None if the job ends by time."""
        self.until_us = NEVER_US
        self._released = self._exhausted = self.interrupted = False
        self._drain_until_us = NEVER_US
        self.in_flight = self.peak_in_flight = 0
        self.opened = self.reopened = self.out_of_step = self.missing = 0
        self.late = self.not_sent = 0
        self.dispatch_lag: histogram.Counts = {}
        self.monitor = SelfMonitor()
        self._ticker = PreciseTimer(self._loop, self._tick)
        self._next_tick_us = self._next_timeout_check_us = NEVER_US

    @abstractmethod
    def _start(self, connections: list[HttpConnection], t0_us: int) -> None:
        """Send the first requests, or schedule them; open the connections that are `missing` with their requests."""

    @abstractmethod
    def _next(self, connection: HttpConnection | None, now: int) -> None:
        """A request has ended: use its connection (None: it is gone) for the next one."""

    # -- connections

    async def open(self) -> None:
        """Open the connections that are not open; raises `RigError`.

        Called again until the release, because a server may close some in between. If it closes them as fast as they
        are opened, the rest is opened at the release.
        """
        count = self._job.stripe(self._job.clients) - len(self._connections)
        if count:
            connections = await self._connector.open(count)
            self._connections.update(connection for connection in connections if connection.usable)
            self.opened += count

    def _reopen(self, due_us: int) -> None:
        """Open a connection and send the request over it."""
        task = self._loop.create_task(self._connect_and_send(due_us))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        task.add_done_callback(lambda _: self._end_if_done())

    async def _connect_and_send(self, due_us: int) -> None:
        try:
            connection = await self._connect()
        except OSError as error:
            self._record_not_sent(due_us, f"connect: {reason(error)}")
            if self.connect_pause_s and not self.interrupted:
                await asyncio.sleep(self.connect_pause_s)
            self._next(None, now_us())
        except asyncio.CancelledError:
            self._record_not_sent(due_us, "not sent")
        else:
            self._connections.add(connection)
            self.opened += 1
            self.reopened += 1
            if self.interrupted:
                self._record_not_sent(due_us, "not sent")
                self._next(connection, now_us())
            else:
                self._send(connection, due_us)

    async def _connect(self) -> HttpConnection:
        for _ in range(_CONNECT_TRIES):
            connection = await self._connector.connect()
            if connection.usable:
                return connection
        raise ConnectionResetError(errno.ECONNRESET, "closed before a request")

    # -- sending

    def release(self, t0_us: int) -> None:
        """Start the load; call it at the instant `t0_us`."""
        self._released = True
        self.buffer.begin(t0_us)
        self._set_until()
        self._next_tick_us = self._next_timeout_check_us = t0_us
        self._tick()
        # the oldest first, because a service ends idle connections in that order
        connections = sorted((c for c in self._connections if c.usable), key=lambda c: c.idle_since_us)
        self.missing = self._job.stripe(self._job.clients) - len(connections)
        self._start(connections, t0_us)
        self._end_if_done()

    def measure_from(self, second: int) -> None:
        """End the warm-up when this second begins, or the next one if that is past."""
        running = (now_us() - self.buffer.t0_us) // 1_000_000
        self.buffer.measure_from_second(max(second, running + 1))
        self._set_until()

    def _set_until(self) -> None:
        if self._job.seconds is not None:
            self.until_us = self.buffer.measure_from_us + round(self._job.seconds * 1_000_000)
        self.buffer.window.until_us = self.until_us

    def _admit(self, due_us: int) -> bool:
        """Whether a request due at this instant is part of the job; counts it if so."""
        if due_us >= self.until_us or self._remaining == 0 or self.interrupted:
            self._exhausted = True
            return False
        if self._remaining is not None and due_us >= self.buffer.measure_from_us:
            self._remaining -= 1
        return True

    def _send(self, connection: HttpConnection, due_us: int) -> None:
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        connection.seq = seq = self._next_seq
        self._next_seq = seq + self._stripes
        connection.op, connection.key, request = self._make_request(seq)
        connection.known_answers = self._known_answers[connection.op]
        connection.due_us = due_us
        connection.busy = True
        phase = self._phases[due_us >= self.buffer.measure_from_us]
        phase.sent += 1
        connection.sent_us = sent_us = monotonic_ns() // 1000
        if self._is_open_model:
            phase.last_due_us, phase.last_sent_us = due_us, sent_us
        connection.write(request)

    def _record_not_sent(self, due_us: int, error: str) -> None:
        """Record a request that was never written: certainly not applied."""
        request = HttpConnection(self)
        request.seq = self._next_seq
        self._next_seq += self._stripes
        request.op, request.key, _ = self._make_request(request.seq)
        request.due_us = due_us
        request.sent_us = now = now_us()
        self.not_sent += 1
        phase = self._phases[due_us >= self.buffer.measure_from_us]
        phase.sent += 1
        if self._is_open_model:
            phase.last_due_us, phase.last_sent_us = due_us, now
        self._record(request, now, self._pack(0, Answer(FAIL, error)))

    # -- called by connections

    def answered(
        self, connection: HttpConnection, done_us: int, status: int, body: bytes, is_json: bool
    ) -> PackedOutcome:
        answer = classify_answer(self._job.operations[connection.op], status, body, is_json)
        outcome = self._pack(status, answer)
        self.repeated(connection, done_us, outcome)
        return outcome

    def repeated(self, connection: HttpConnection, done_us: int, outcome: PackedOutcome) -> None:
        self._record(connection, done_us, outcome)
        self.in_flight -= 1
        self._next(connection, done_us)

    def broken(self, connection: HttpConnection, done_us: int, error: str) -> None:
        self.in_flight -= 1
        idle_us, waited_us = connection.sent_us - connection.idle_since_us, done_us - connection.sent_us
        unread = error in ("eof", "reset") and not connection.was_read
        if unread and waited_us < _WAIT_US and idle_us >= _IDLE_US and self._was_idle(connection):
            error = CLOSED_WHILE_IDLE  # unknown all the same: a reset does not prove it
        self._record(connection, done_us, self._pack(0, Answer(UNKNOWN, error)))
        self._next(connection, done_us)

    def _is_gone(self, connection: HttpConnection, now: int) -> bool:
        """Whether the service has ended a connection that is about to be used; drops it then.

        It is no request lost, because none was written. Asked only of a connection idle for long, as it costs 2 µs.
        """
        if now - connection.idle_since_us < _IDLE_US or not connection.has_ended():
            return False
        connection.drop()
        self._connections.discard(connection)
        return True

    @abstractmethod
    def _was_idle(self, connection: HttpConnection) -> bool:
        """Whether the connection carried no request between `idle_since_us` and the current one."""

    def lost(self, connection: HttpConnection, out_of_step: bool) -> None:
        self.out_of_step += out_of_step
        self._connections.discard(connection)

    # -- time

    def _tick(self) -> None:
        """Every 9.7 ms, on a fixed grid: count the new rows, observe the process, end requests that timed out."""
        if self.finished.done():
            return
        now = now_us()
        late_us = max(0, now - self._next_tick_us)
        self.buffer.tick(now)
        if self.buffer.measure_from_us <= now < self.until_us:
            self.monitor.look(now, self.in_flight, late_us)
        elif now >= self.until_us:
            self.monitor.end(now)
        if now >= self._next_timeout_check_us:
            self._next_timeout_check_us = now + min(100_000, self._timeout_us // 10)
            for connection in self._busy():
                if now - connection.sent_us >= self._timeout_us:
                    connection.fail("timeout", now)
        if self._exhausted and self._drain_until_us == NEVER_US:
            self._drain_until_us = now + self._timeout_us
        if self._waiting and now > self._drain_until_us:
            self._give_up_waiting()
        self._next_tick_us += TICK_US * (late_us // TICK_US + 1)
        self._ticker.set(self._next_tick_us)

    def _busy(self) -> list[HttpConnection]:
        return [connection for connection in self._connections if connection.busy]

    def _give_up_waiting(self) -> None:
        while self._waiting:
            self._record_not_sent(self._waiting.popleft(), "not sent")
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.in_flight or self._waiting or self._opening or not self._released or self.finished.done():
            return
        if self._exhausted or self._remaining == 0:
            self.monitor.end(now_us())
            self.finished.set_result(None)

    def interrupt(self) -> None:
        """Stop sending, wait briefly for requests in flight, record the rest as unknown."""
        self.interrupted = self._exhausted = True
        self._give_up_waiting()
        self._loop.call_later(min(_GRACE_S, self._job.timeout_s), self._abandon)

    def _abandon(self) -> None:
        for connection in self._busy():
            connection.fail("interrupted", now_us())
        for task in self._opening:
            task.cancel()
        self._end_if_done()

    def close(self) -> None:
        """Close all connections and the timer."""
        self._ticker.close()
        for connection in self._connections:
            if connection.usable:
                connection.close()
