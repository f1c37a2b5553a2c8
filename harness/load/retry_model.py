"""The open model with retries: a request that ended `unknown` or with 503 is sent again, with the same Idempotency-Key.

It waits longer before each attempt, with random jitter, so clients do not return at the same instant. Each attempt is a
separate sample with the due instant of the first, so the latency of the acknowledged attempt includes all waits. The
increment must be applied once, however often the request was sent.
"""

from __future__ import annotations

import asyncio
import random

from harness.load.clock import now_us
from harness.load.connection import HttpConnection
from harness.load.job import Job
from harness.load.open_model import OpenModel
from harness.load.outcome import UNKNOWN, Answer
from harness.load.request_builder import builder
from harness.load.sample_buffer import PackedOutcome, SampleBuffer, SentRequest

FIRST_DELAY_S, GROWTH = 0.1, 3.0
"""The delay before the first retry, and the factor from one to the next; each is drawn from 0.5 to 1.5 times that."""
BUSY = 503


class DueAgain(int):
    """The due instant of a request that is sent again, in µs: that of the first time, with what is the same."""

    first: int
    """Sequence number of the first time."""
    op: int
    key: int


class RetryModel(OpenModel):
    """Sends a request at most 1 + `retries` times, never later than `timeout_s` after it was due."""

    def __init__(self, job: Job, buffer: SampleBuffer) -> None:
        super().__init__(job, buffer)
        self._record, self._pack = self._record_and_retry, self._pack_and_mark
        self._make_new = self._make_request
        self._make_request, self._build = self._make_new_or_same, builder(job)
        self._draw = random.Random(f"{job.seed}/retries/{job.host_index}/{job.host_count}").uniform
        self._to_retry: set[bytes] = set()
        """Outcomes after which a request is sent again."""
        self._retries: dict[int, int] = {}
        """First sequence number -> how often it was sent again."""
        self._delayed: dict[int, asyncio.TimerHandle] = {}
        """First sequence number -> the timer of what waits to be sent again."""
        self._again: DueAgain | None = None
        """The request that is being sent, where it is one that is sent again."""

    def _pack_and_mark(self, status: int, answer: Answer) -> PackedOutcome:
        outcome = self.buffer.pack(status, answer)
        if answer.outcome == UNKNOWN or status == BUSY:
            self._to_retry.add(outcome.packed)
        return outcome

    def _record_and_retry(self, request: SentRequest, done_us: int, outcome: PackedOutcome) -> None:
        self.buffer.record(request, done_us, outcome)
        if outcome.packed in self._to_retry and not self.interrupted:
            self._delay(request, done_us)

    def _delay(self, request: SentRequest, done_us: int) -> None:
        first = self.buffer.twins.get(request.seq, request.seq)
        number = self._retries.get(first, 0)
        delay_s = FIRST_DELAY_S * GROWTH**number * self._draw(0.5, 1.5)
        too_late = done_us + delay_s * 1e6 > request.due_us + self._timeout_us
        if number >= self._job.operations[request.op].retries or too_late:
            return
        self._retries[first] = number + 1
        again = DueAgain(request.due_us)
        again.first, again.op, again.key = first, request.op, request.key
        self._delayed[first] = self._loop.call_later(delay_s, self._send_again, again)

    def _send_again(self, again: DueAgain) -> None:
        del self._delayed[again.first]
        connection = self._take_idle(now_us())
        if connection is not None:
            self._send(connection, again)
        elif self._unopened:
            self._unopened -= 1
            self._reopen(again)
        else:
            self.late += 1
            self._waiting.append(again)

    def _make_new_or_same(self, seq: int) -> tuple[int, int, bytes]:
        again = self._again
        if again is None:
            return self._make_new(seq)
        self.buffer.twins[seq] = again.first
        return again.op, again.key, self._build(again.op, again.key, again.first)

    def _send(self, connection: HttpConnection, due_us: int) -> None:
        if not isinstance(due_us, DueAgain):
            super()._send(connection, due_us)
            return
        phase = self._phases[due_us >= self.buffer.measure_from_us]
        last_us = phase.last_due_us, phase.last_sent_us
        self._again = due_us
        super()._send(connection, due_us)
        self._again = None
        phase.last_due_us, phase.last_sent_us = last_us  # a retry says nothing of how the schedule was kept

    def _record_not_sent(self, due_us: int, error: str) -> None:
        self._again = due_us if isinstance(due_us, DueAgain) else None
        super()._record_not_sent(due_us, error)
        self._again = None

    def _end_if_done(self) -> None:
        if not self._delayed:
            super()._end_if_done()

    def interrupt(self) -> None:
        """Stop sending, also what waits to be sent again."""
        self._forget_delayed()
        super().interrupt()

    def close(self) -> None:
        """Close all connections and timers."""
        self._forget_delayed()
        super().close()

    def _forget_delayed(self) -> None:
        for handle in self._delayed.values():
            handle.cancel()
        self._delayed.clear()
