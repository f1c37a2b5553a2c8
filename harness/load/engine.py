"""The driver: sends what the schedule says over its connections, in one event loop, without a task a request.

Closed mode: a client sends its next request in the very call that read the answer to its last. Open mode: an
alarm rings when a request is due; it goes to a free connection, or waits in a queue for one: late, not lost.
Latency counts from the due instant, so the wait is in it. A request is never repeated. Requests in flight when
the schedule ends are waited for (each at most `timeout_s`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic_ns
from typing import Any

from harness.load.clock import PreciseTimer, now_us
from harness.load.connection import HttpConnection
from harness.load.connector import Connector, reason
from harness.load.counters import NEVER_US
from harness.load.job import Job
from harness.load.outcome import FAIL, UNKNOWN, Answer, classify_answer
from harness.load.request_builder import request_maker
from harness.load.results import histogram
from harness.load.sample_buffer import Meaning, SampleBuffer
from harness.load.schedule import arrivals
from harness.load.self_monitor import TICK_US, SelfMonitor

CONNECT_PAUSE_S = 0.1
"""Closed mode: how long a client whose connection was refused waits before its next request."""
RAMP_US = 1_000_000
_GRACE_S = 2.0
"""After an interruption: how long requests in flight are waited for."""


class Engine:
    """One stripe of a job. `finished` resolves when every request has its outcome."""

    def __init__(self, job: Job, recorder: SampleBuffer) -> None:
        self._job = job
        self.recorder = recorder
        self._loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self._closed = job.mode == "closed"
        self._make = request_maker(job)
        self._record, self._meaning, self._phases = recorder.record, recorder.meaning, recorder.phases
        self._known: list[dict[bytes, Any]] = [{} for _ in job.operations]
        self._timeout_us = round(job.timeout_s * 1_000_000)
        self._dialer = Connector(job, lambda: HttpConnection(self))
        self._links: set[HttpConnection] = set()
        self._free: deque[HttpConnection] = deque()
        self._waiting: deque[int] = deque()
        """Open mode: when the requests were due that wait for a connection. Without a bound, because a request that
        is late is not lost: under overload it grows by what is offered beyond what is answered, 40 bytes a request."""
        self._missing = 0
        """Open mode: connections that ended and have not been opened again."""
        self._opening: set[asyncio.Task[None]] = set()
        self._next_seq, self._stripes = job.host_index, job.host_count
        self._left = None if job.requests is None else job.stripe(job.requests)
        """Requests of the measured phase that are still to be sent, where their number is what ends the job."""
        self.until_us = NEVER_US
        self._released = self._exhausted = self.interrupted = False
        self._drain_until_us = NEVER_US
        self._alarm = PreciseTimer(self._loop, self._ring)
        self._arrivals = arrivals(job) if job.mode == "open" else iter(())
        self._due_us = 0
        self.in_flight = self.peak_in_flight = 0
        self.opened = self.reopened = self.out_of_step = 0
        self.late = self.not_sent = 0
        self.dispatch_lag: histogram.Counts = {}
        self.watch = SelfMonitor()

    # -- connections

    async def open(self) -> None:
        """Open what is not open yet, or was closed while it waited for the release; raises `RigError`."""
        wanted = self._job.stripe(self._job.clients) - len(self._links)
        self._links.update(await self._dialer.open(wanted))
        self.opened += wanted

    def _reopen(self, due_us: int) -> None:
        """Open a connection for a request that has none."""
        task = self._loop.create_task(self._connect_and_send(due_us))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        task.add_done_callback(lambda _: self._end_if_done())

    async def _connect_and_send(self, due_us: int) -> None:
        try:
            link = await self._dialer.connect()
        except OSError as error:
            self._unsent(due_us, f"connect: {reason(error)}")
            if self._job.mode == "closed" and not self.interrupted:
                await asyncio.sleep(CONNECT_PAUSE_S)
            self._next(None, now_us())
        except asyncio.CancelledError:
            self._unsent(due_us, "not sent")
        else:
            self._links.add(link)
            self.opened += 1
            self.reopened += 1
            if self.interrupted:
                self._unsent(due_us, "not sent")
                self._next(link, now_us())
            else:
                self._send(link, due_us)

    # -- sending

    def release(self, t0_us: int) -> None:
        """Start: all clients at once, or the first arrival. Call when `t0_us` has come."""
        self._released = True
        self.recorder.begin(t0_us)
        self._set_until()
        self._next_tick_us = t0_us + TICK_US
        self._sweep_us = t0_us
        self._tick()
        links = [link for link in self._links if link.usable]
        if self._job.mode == "open":
            self._free.extend(links)
            self._due_us = t0_us + next(self._arrivals)
            self._alarm.set(self._due_us)
        elif self._job.release == "together":
            for link in links:
                self._next(link, t0_us)
        else:
            step = RAMP_US / len(links)
            for number, link in enumerate(links):
                self._loop.call_later(number * step / 1e6, self._next, link, t0_us + round(number * step))
        self._end_if_done()

    def measure_from(self, second: int) -> None:
        """The warm-up ends where this second begins, or the next one if the word came too late."""
        running = (now_us() - self.recorder.t0_us) // 1_000_000
        self.recorder.measure_from_second(max(second, running + 1))
        self._set_until()

    def _set_until(self) -> None:
        if self._job.seconds is not None:
            self.until_us = self.recorder.measure_from_us + round(self._job.seconds * 1_000_000)
        self.recorder.window.until_us = self.until_us

    def _more(self, due_us: int) -> bool:
        """Whether a request due then is still part of the job; if so, it is counted."""
        if due_us >= self.until_us or self._left == 0 or self.interrupted:
            self._exhausted = True
            return False
        if self._left is not None and due_us >= self.recorder.measure_from_us:
            self._left -= 1
        return True

    def _send(self, link: HttpConnection, due_us: int) -> None:
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._write(link, due_us)

    def _write(self, link: HttpConnection, due_us: int) -> None:
        link.seq = seq = self._next_seq
        self._next_seq = seq + self._stripes
        link.op, link.key, request = self._make(seq)
        link.known = self._known[link.op]
        link.due_us = due_us
        link.busy = True
        phase = self._phases[due_us >= self.recorder.measure_from_us]
        phase.sent += 1
        link.sent_us = sent_us = monotonic_ns() // 1000
        if not self._closed:
            phase.last_due_us, phase.last_sent_us = due_us, sent_us
        link.write(request)

    def _unsent(self, due_us: int, error: str) -> None:
        """A sample of a request that never left: surely not applied."""
        call = HttpConnection(self)
        call.seq = self._next_seq
        self._next_seq += self._stripes
        call.op, call.key, _ = self._make(call.seq)
        call.due_us = due_us
        call.sent_us = now = now_us()
        self.not_sent += 1
        phase = self._phases[due_us >= self.recorder.measure_from_us]
        phase.sent += 1
        if not self._closed:
            phase.last_due_us, phase.last_sent_us = due_us, now
        self._record(call, now, self._meaning(0, Answer(FAIL, error)))

    def _next(self, link: HttpConnection | None, now: int) -> None:
        """A client is free: give it its next request, over `link` or, without one, a new connection."""
        if link is not None and not link.usable:
            self._links.discard(link)
            link = None
        if self._closed:
            if self._more(now):
                if link is not None:
                    self._send(link, now)
                else:
                    self._reopen(now)
                return
        elif self._waiting and not self.interrupted:
            due_us = self._waiting.popleft()
            if link is not None:
                self._send(link, due_us)
            else:
                self._reopen(due_us)
            return
        elif link is not None:
            self._free.append(link)
        else:
            self._missing += 1
        self._end_if_done()

    def _ring(self) -> None:
        """Open mode: send everything that is due."""
        now = now_us()
        while self._due_us <= now:
            due_us = self._due_us
            if not self._more(due_us):
                self._end_if_done()
                return
            if due_us >= self.recorder.measure_from_us:
                index = histogram.slot(now - due_us)
                self.dispatch_lag[index] = self.dispatch_lag.get(index, 0) + 1
            if self._free:
                self._send(self._free.popleft(), due_us)
            elif self._missing:
                self._missing -= 1
                self._reopen(due_us)
            else:
                self.late += 1
                self._waiting.append(due_us)
            self._due_us = self.recorder.t0_us + next(self._arrivals)
        self._alarm.set(self._due_us)

    # -- what links report

    def answered(self, link: HttpConnection, done_us: int, status: int, body: bytes, is_json: bool) -> Meaning:
        meaning = self._meaning(status, classify_answer(self._job.operations[link.op], status, body, is_json))
        self.repeated(link, done_us, meaning)
        return meaning

    def repeated(self, link: HttpConnection, done_us: int, meaning: Meaning) -> None:
        self._record(link, done_us, meaning)
        if self._closed and link.usable and self._more(done_us):
            # _write() by hand: the call is 3 % of the generator's own CPU. As many as before are in flight
            link.seq = seq = self._next_seq
            self._next_seq = seq + self._stripes
            link.op, link.key, request = self._make(seq)
            link.known = self._known[link.op]
            link.due_us = done_us
            link.busy = True
            self._phases[done_us >= self.recorder.measure_from_us].sent += 1
            link.sent_us = monotonic_ns() // 1000
            link.write(request)
        else:
            self.in_flight -= 1
            self._next(link, done_us)

    def broken(self, link: HttpConnection, done_us: int, error: str) -> None:
        self.in_flight -= 1
        self._record(link, done_us, self._meaning(0, Answer(UNKNOWN, error)))
        self._next(link, done_us)

    def lost(self, link: HttpConnection, out_of_step: bool) -> None:
        self.out_of_step += out_of_step
        self._links.discard(link)
        if self._released and self._job.mode == "open":
            self._free.remove(link)
            self._missing += 1

    # -- time

    def _tick(self) -> None:
        """Every 10 ms: time-outs, the second's row, and how late the loop itself is."""
        if self.finished.done():
            return
        now = now_us()
        self.recorder.tick(now)
        if self.recorder.measure_from_us <= now < self.until_us:
            self.watch.look(now, self.in_flight, now - self._next_tick_us)
        elif now >= self.until_us:
            self.watch.end(now)
        if now >= self._sweep_us:
            self._sweep_us = now + min(100_000, self._timeout_us // 10)
            for link in [link for link in self._links if link.busy and now - link.sent_us >= self._timeout_us]:
                link.fail("timeout", now)
        if now >= self.until_us and not self._closed and self._due_us >= self.until_us:
            self._exhausted = True  # the next arrival, which would say so, may be minutes away
            self._end_if_done()
        if self._exhausted and self._drain_until_us == NEVER_US:
            self._drain_until_us = now + self._timeout_us
        if self._waiting and now > self._drain_until_us:
            self._give_up_waiting()
        self._next_tick_us = now + TICK_US
        self._loop.call_later(TICK_US / 1e6, self._tick)

    def _give_up_waiting(self) -> None:
        while self._waiting:
            self._unsent(self._waiting.popleft(), "not sent")
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.in_flight or self._waiting or self._opening or not self._released or self.finished.done():
            return
        if self._exhausted or self._left == 0:
            self.watch.end(now_us())
            self.finished.set_result(None)

    def interrupt(self) -> None:
        """Stop sending, wait briefly for what is in flight, give up the rest as unknown."""
        self.interrupted = self._exhausted = True
        self._give_up_waiting()
        self._loop.call_later(min(_GRACE_S, self._job.timeout_s), self._abandon)

    def _abandon(self) -> None:
        for link in [link for link in self._links if link.busy]:
            link.fail("interrupted", now_us())
        for task in self._opening:
            task.cancel()
        self._end_if_done()

    def close(self) -> None:
        """Close all connections."""
        self._alarm.close()
        for link in self._links:
            if link.usable:
                link.close()
