"""The closed model: each client sends its next request as soon as it has the response to its last."""

from __future__ import annotations

from time import monotonic_ns
from typing import ClassVar

from harness.load.clock import now_us
from harness.load.connection import HttpConnection
from harness.load.engine import Engine
from harness.load.sample_buffer import PackedOutcome

RAMP_US = 1_000_000
"""Time over which the clients start with `release: ramp`."""


class ClosedModel(Engine):
    """Sends the next request in the same call that read the last response."""

    connect_pause_s: ClassVar[float] = 0.1

    def _start(self, connections: list[HttpConnection], t0_us: int) -> None:
        clients = [*connections, *[None] * self.missing]
        if self._job.release == "together":
            for connection in clients:
                self._first(connection, t0_us)
            return
        step = RAMP_US / len(clients)
        for number, connection in enumerate(clients):
            self._loop.call_later(number * step / 1e6, self._first, connection, t0_us + round(number * step))

    def _first(self, connection: HttpConnection | None, due_us: int) -> None:
        """Send the first request of a client."""
        if connection is not None:
            connection.first_due_us = due_us
            if connection.usable and self._is_gone(connection, now_us()):
                connection = None
        self._next(connection, due_us)

    def _next(self, connection: HttpConnection | None, now: int) -> None:
        if connection is not None and not connection.usable:
            self._connections.discard(connection)
            connection = None
        if not self._admit(now):
            self._end_if_done()
        elif connection is not None:
            self._send(connection, now)
        else:
            self._reopen(now)

    def _was_idle(self, connection: HttpConnection) -> bool:
        return connection.due_us == connection.first_due_us  # the next request is sent with each response

    def repeated(self, connection: HttpConnection, done_us: int, outcome: PackedOutcome) -> None:
        self._record(connection, done_us, outcome)
        if connection.usable and self._admit(done_us):
            # _send() inline, because the call is 3 % of the generator's CPU time. The number in flight stays the same
            connection.seq = seq = self._next_seq
            self._next_seq = seq + self._stripes
            connection.op, connection.key, request = self._make_request(seq)
            connection.known_answers = self._known_answers[connection.op]
            connection.due_us = done_us
            connection.busy = True
            self._phases[done_us >= self.buffer.measure_from_us].sent += 1
            connection.sent_us = monotonic_ns() // 1000
            connection.write(request)
        else:
            self.in_flight -= 1
            self._next(connection, done_us)
