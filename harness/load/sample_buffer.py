"""Keeps the requests of one process: rows in preallocated blocks, histograms, one line per second.

Each response only packs a row into bytes: no text is formatted and nothing is counted. Rows are counted in batches, one
column at a time, and at least at every `tick`. Texts (errors, app hosts) are stored as small numbers. Without `samples`
rows are counted by key and outcome too and then overwritten, so memory does not grow with time.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

from harness.errors import RigError
from harness.load.counters import NEVER_US, Columns, MeasuredWindow, PhaseCounters, SecondNames, TextNumbers
from harness.load.events import Event
from harness.load.job import Job
from harness.load.outcome import OUTCOMES, Answer, captured_bytes
from harness.load.results import histogram, service_times
from harness.load.results.samples import Sample
from harness.load.results.service_times import ServiceTimes
from harness.load.results.summary import CapturedTotal
from harness.model import OutcomeCounts

_BLOCK_ROWS = 1 << 16
_BATCH = 256
"""Rows counted at once: a few tenths of a millisecond in which no response is read."""
_SECOND = 1_000_000
_MOST = 1e200  # a total of larger numbers might overflow; this excludes infinity and NaN, which json reads too
_MAX_LISTS_BYTES = 512 * 1024 * 1024
_HINT = "give fewer --requests, or repair the service: it sends more than the ids of its rows"
WARMUP, MEASURE = 0, 1
PHASES = ("warmup", "measure")

_REQUEST_FIELDS = {"seq": "q", "due_us": "q", "sent_us": "q", "done_us": "q", "key": "I", "op": "H"}
_OUTCOME_FIELDS = {
    "host": "H", "error": "H", "status": "H", "outcome": "B", "has_value": "B", "padding": "2x", "value": "q",
}  # fmt: skip
_ROW_FORMAT = "<" + "".join([*_REQUEST_FIELDS.values(), *_OUTCOME_FIELDS.values()])
"""A row; the captured numbers follow as doubles. The padding aligns `value` and keeps rows a multiple of 8 bytes."""
_OUTCOME = struct.Struct("<" + "".join(_OUTCOME_FIELDS.values()))
_ROW = struct.Struct("<" + "".join(_REQUEST_FIELDS.values()) + f"{_OUTCOME.size}s")


def _columns() -> dict[str, tuple[str, int]]:
    """Field -> its format and its offset in a row in bytes."""
    columns, preceding = {}, "<"
    for name, kind in (_REQUEST_FIELDS | _OUTCOME_FIELDS).items():
        columns[name] = kind, struct.calcsize(preceding)
        preceding += kind
    return columns


_COLUMNS = _columns()


class SentRequest(Protocol):
    """The fields of a connection that describe its request; times are absolute µs."""

    seq: int
    op: int
    key: int
    due_us: int
    sent_us: int


class PackedOutcome(NamedTuple):
    """The part of a row that depends on the response alone, so that equal responses share it."""

    packed: bytes
    captured: tuple[Any, ...]


class SampleBuffer:
    """Records each request once, in the order of completion. Times passed in are absolute µs on CLOCK_MONOTONIC."""

    def __init__(self, job: Job, folder: Path, on_second: Callable[[Event], None]) -> None:
        self._job = job
        self._on_second = on_second
        self._captures = job.captures
        self._capture_columns = [[self._captures.index(name) for name in op.capture] for op in job.operations]
        self._totals: list[list[Any]] = [[0.0, 0] for _ in self._captures]
        """Sum and number of the values of each captured field in the measured phase."""
        self._numbers = struct.Struct(f"<{len(self._captures)}d")
        self._width = _ROW.size + self._numbers.size
        self._blocks: list[bytearray] = []
        self._block = bytearray()
        self._offset = self._counted = self._count_at = 0
        """Offsets: of the next row, of the first row not counted yet, and where to stop and count."""
        self._begin_block()
        self.lists: list[tuple[int, dict[str, object]]] = []
        """(seq, captured fields that are not numbers)."""
        self._lists_bytes = 0
        self.twins: dict[int, int] = {}
        """Request -> the earlier one whose Idempotency-Key it repeats."""
        self._outcome_counts: Counter[tuple[int, int, int]] = Counter()
        """Without samples: (operation, key, outcome) -> requests."""
        self._pack_into = _ROW.pack_into
        self._hosts, self._errors = TextNumbers(), TextNumbers()
        self._names = SecondNames(self._hosts, self._errors)
        self.phases = (PhaseCounters(), PhaseCounters())
        self.window = MeasuredWindow()
        self.inside = ServiceTimes()
        self.t0_us = 0
        self.measure_from_us = NEVER_US
        """Requests due from this instant on belong to the measured phase."""
        self._seconds = (folder / "seconds.jsonl").open("w", encoding="utf-8")
        self._second = 0
        self._second_ends_us = NEVER_US

    def begin(self, t0_us: int) -> None:
        """Start second 0 at the release."""
        self.t0_us = t0_us
        self._second_ends_us = t0_us + _SECOND
        if self._job.warmup is None:
            self.measure_from_second(0)

    def measure_from_second(self, second: int) -> None:
        """Start the measured phase with this second since the release; it must not have begun, unless it is 0."""
        self.measure_from_us = self.window.begin_us = self.t0_us + second * _SECOND

    def pack(self, status: int, answer: Answer) -> PackedOutcome:
        """The part of a row that depends on the response alone."""
        outcome, error, host, value, captured = answer
        has_value = value is not None
        packed = _OUTCOME.pack(self._hosts[host], self._errors[error], status, outcome, has_value, value or 0)
        return PackedOutcome(packed, captured)

    def record(self, request: SentRequest, done_us: int, outcome: PackedOutcome) -> None:
        """Add a request that has its outcome."""
        if done_us >= self._second_ends_us:
            self.tick(done_us)
        elif self._offset == self._count_at:
            self._count()
        offset = self._offset
        self._offset = offset + self._width
        packed, captured = outcome
        self._pack_into(
            self._block, offset, request.seq, request.due_us, request.sent_us, done_us, request.key, request.op, packed
        )
        if self._captures:
            measured = request.due_us >= self.measure_from_us
            self._capture(offset + _ROW.size, request.seq, request.op, captured, measured)

    def _capture(self, offset: int, seq: int, op: int, captured: tuple[Any, ...], measured: bool) -> None:
        """Store captured numbers in column order (NaN: none), add measured ones to the totals; others go to `lists`."""
        numbers, others = [math.nan] * len(self._captures), {}
        for column, value in zip(self._capture_columns[op], captured, strict=False):
            if isinstance(value, (int, float)) and -_MOST < value < _MOST:
                numbers[column] = value
                if measured:
                    total = self._totals[column]
                    total[0] += value
                    total[1] += 1
            elif value is not None:
                others[self._captures[column]] = value
        if others and self._job.samples:
            self.lists.append((seq, others))
            self._lists_bytes += sum(map(captured_bytes, others.values()))
            if self._lists_bytes > _MAX_LISTS_BYTES:
                raise RigError(
                    f"{self._job.load_host}: the captured fields of the responses take too much memory", hint=_HINT
                )
        self._numbers.pack_into(self._block, offset, *numbers)

    # -- counting

    def _begin_block(self) -> None:
        self._block = bytearray(self._width * _BLOCK_ROWS)
        self._blocks.append(self._block)
        self._offset = self._counted = 0
        self._count_at = _BATCH * self._width

    def _count(self) -> None:
        """Count the rows that are not counted yet, and make room for more."""
        if self._counted < self._offset:
            new = slice(self._counted, self._offset)
            error = self._column("error", new)
            rows = Columns(
                self._column("due_us", new).tolist(),
                self._column("sent_us", new).tolist(),
                self._column("done_us", new).tolist(),
                self._column("outcome", new).tobytes(),
                error.tolist() if error.tobytes().strip(b"\0") else [],
            )
            self.window.count(rows)
            self._names.count(self._column("host", new).tolist(), rows.error)
            if service_times.FIELD in self._captures:
                durations_ms, window = self._captured(service_times.FIELD, new), self.window
                self.inside += service_times.sum_up(
                    durations_ms, rows.sent_us, rows.done_us, window.begin_us, window.until_us
                )
            for phase, part in zip(self.phases, rows.split(self.measure_from_us), strict=True):
                if part.due_us:
                    phase.count(part, list(self._errors))
            if not self._job.samples:
                ops, keys = self._column("op", new).tolist(), self._column("key", new).tolist()
                self._outcome_counts.update(zip(ops, keys, rows.outcome, strict=True))
        if not self._job.samples:
            self._offset = 0
        elif self._offset == len(self._block):
            self._begin_block()
        self._counted = self._offset
        self._count_at = min(self._offset + _BATCH * self._width, len(self._block))

    def _column(self, name: str, rows: slice) -> memoryview[int]:
        """One field of these rows of the current block."""
        kind, offset = _COLUMNS[name]
        numbers = memoryview(self._block)[rows].cast(cast(Literal["q", "I", "H", "B"], kind))
        return numbers[offset // numbers.itemsize :: self._width // numbers.itemsize]

    def _captured(self, name: str, rows: slice) -> memoryview[float]:
        """One captured field of these rows of the current block."""
        first = _ROW.size // 8 + self._captures.index(name)
        return memoryview(self._block)[rows].cast("d")[first :: self._width // 8]

    def tick(self, now_us: int) -> None:
        """Count new rows, and write every second that is over."""
        self._count()
        for phase in self.phases:
            phase.fold()
        while now_us >= self._second_ends_us:
            self._close_second()

    def _close_second(self, last: bool = False) -> None:
        current = self.t0_us + self._second * _SECOND >= self.measure_from_us
        for number, phase in enumerate(self.phases):
            if (number == current and not last) or phase.second_sent or any(phase.second_outcomes):
                row: Event = {"second": self._second, "phase": PHASES[number], "sent": phase.second_sent}
                row |= dict(zip(OUTCOMES, phase.second_outcomes, strict=True))
                latency = phase.second_latency
                self._seconds.write(json.dumps(row | {"latency": latency}) + "\n")
                phase.end_second()
                p50, p95, p99 = histogram.quantiles_us(latency, (0.5, 0.95, 0.99))
                row |= self._names.take() if number == current else {}
                self._on_second(row | {"p50_ms": _ms(p50), "p95_ms": _ms(p95), "p99_ms": _ms(p99)})
        self._second += 1
        self._second_ends_us += _SECOND

    def finish(self, now_us: int) -> None:
        """Write the current second and close the file."""
        self.tick(now_us)
        self._close_second(last=True)
        self._second_ends_us = NEVER_US
        self.close()

    def close(self) -> None:
        """Close seconds.jsonl; the samples are kept."""
        self._seconds.close()

    # -- results

    def captured_totals(self) -> dict[str, CapturedTotal]:
        """Captured field -> sum and number of its values in responses of the measured phase, rejections included."""
        return {name: (total, number) for name, (total, number) in zip(self._captures, self._totals, strict=True)}

    def outcome_counts(self) -> OutcomeCounts:
        """Outcomes by operation and key in both phases; empty if samples are kept, which hold more."""
        name = self._job.keys.name
        operations = [operation.name for operation in self._job.operations]
        counts = OutcomeCounts()
        for (op, key, outcome), number in self._outcome_counts.items():
            counts[operations[op], name(key), OUTCOMES[outcome]] += number
        return counts

    def rows(self) -> Iterator[Sample]:
        """The samples in the order of completion, times relative to the release."""
        job, t0 = self._job, self.t0_us
        hosts, errors = list(self._hosts), list(self._errors)
        whole = struct.Struct(_ROW_FORMAT + self._numbers.format.removeprefix("<"))
        for block in self._blocks:
            used = self._offset if block is self._block else len(block)
            for fields in whole.iter_unpack(memoryview(block)[:used]):
                seq, due, sent, done, key, op, host, error, status, outcome, has_value, value = fields[:12]
                operation = job.operations[op]
                yield Sample(
                    seq,
                    operation.name,
                    job.keys.name(key),
                    hosts[host],
                    due - t0,
                    sent - t0,
                    done - t0,
                    OUTCOMES[outcome],
                    status,
                    value if has_value else None,
                    errors[error],
                    job.id(self.twins.get(seq, seq)) if operation.idempotency else "",
                    job.load_host,
                    PHASES[due >= self.measure_from_us],
                    fields[12:],
                )


def _ms(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / 1000
