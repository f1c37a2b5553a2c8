"""The closed model with twins: some requests repeat the Idempotency-Key of a request that is in flight.

A client that gave up on a response does the same. Both must get the same value, and the increment must be applied once:
without twins, the check that no id is applied twice could not fail.
"""

from __future__ import annotations

from harness.load.closed_model import ClosedModel
from harness.load.connection import HttpConnection
from harness.load.engine import Engine
from harness.load.job import Job
from harness.load.sample_buffer import PackedOutcome, SampleBuffer


class TwinModel(ClosedModel):
    """Sends as many twins as the operations' `twins` says, each right after the request whose id it repeats."""

    def __init__(self, job: Job, buffer: SampleBuffer) -> None:
        super().__init__(job, buffer)
        self._make_new = self._make_request
        self._make_request = self._make_new_or_twin
        self._last: HttpConnection | None = None
        """The connection with the latest request that is no twin and has none."""
        self._last_request = 0, 0, b""
        self._last_seq = -1
        self._made = self._twins = 0

    def _make_new_or_twin(self, seq: int) -> tuple[int, int, bytes]:
        first = self._last
        self._made += 1
        if first is not None and first.busy and first.seq == self._last_seq:
            share = self._job.operations[self._last_request[0]].twins
            if self._twins + 1 <= self._made * share + 1e-9:
                self._twins += 1
                self._last = None
                self.buffer.twins[seq] = first.seq
                return self._last_request
        self._last_request, self._last_seq = self._make_new(seq), seq
        return self._last_request

    def _send(self, connection: HttpConnection, due_us: int) -> None:
        super()._send(connection, due_us)
        if connection.seq == self._last_seq:
            self._last = connection

    def repeated(self, connection: HttpConnection, done_us: int, outcome: PackedOutcome) -> None:
        Engine.repeated(self, connection, done_us, outcome)
