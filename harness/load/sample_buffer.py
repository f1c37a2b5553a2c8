"""What one process keeps of its requests: rows in preallocated blocks, histograms, one line a second.

At each answer a row is packed into bytes and nothing else: no text is formatted, nothing is counted. Rows are counted
many at a time, a column at a time, and at least at every `tick`. Texts (errors, app hosts) are interned into small
tables. Without `samples` rows are given up once they are counted, by key and outcome too, so memory does not grow
with time.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from harness.load.counters import NEVER_US, OTHERS, TABLE_LIMIT, Columns, MeasuredWindow, PhaseCounters
from harness.load.job import Job
from harness.load.outcome import OUTCOMES, Answer
from harness.load.results import histogram
from harness.load.results.samples import Sample
from harness.load.results.summary import CapturedTotal
from harness.model import OutcomeCounts

_BLOCK_ROWS = 1 << 16
_BATCH = 256
"""Rows counted at once: some tenths of a millisecond in which no answer is noticed."""
_SECOND = 1_000_000
_MOST = 1e200  # beyond, a total might overflow; infinity and NaN, which json reads too, are no numbers either
WARMUP, MEASURE = 0, 1
PHASES = ("warmup", "measure")
_MEANING = struct.Struct("<3H2B2xq")
"""host, error, status; outcome, whether there is a value; the value."""
_ROW = struct.Struct(f"<4qIH{_MEANING.size}s")
"""seq, due, sent, done (µs); key; op; the meaning of the answer. Captured numbers follow as doubles. The places of the
columns that are counted, in units of their own size:"""
_DUE, _SENT, _DONE, _KEY, _OP, _ERROR, _OUTCOME = 1, 2, 3, 8, 18, 20, 44


class Table(dict[str, int]):
    """Texts as small numbers, in the order they came; beyond a thousand different ones, all others are one entry."""

    def __init__(self) -> None:
        super().__init__({"": 0})

    def __missing__(self, text: str) -> int:
        if len(self) >= TABLE_LIMIT and text != OTHERS:
            return self[OTHERS]
        self[text] = len(self)
        return self[text]


class Call(Protocol):
    """A request as its sender keeps it, times in absolute µs."""

    seq: int
    op: int
    key: int
    due_us: int
    sent_us: int


class Meaning(NamedTuple):
    """What an answer said, ready for a row: the same bytes again mean the same again."""

    packed: bytes
    captured: tuple[Any, ...]


class SampleBuffer:
    """Takes each finished request once, in the order they finish. Times given are absolute µs on CLOCK_MONOTONIC."""

    def __init__(self, job: Job, folder: Path, on_second: Callable[[dict[str, Any]], None]) -> None:
        self._job = job
        self._on_second = on_second
        self._captures = job.captures
        self._columns = [[self._captures.index(name) for name in op.capture] for op in job.operations]
        self._totals: list[list[Any]] = [[0.0, 0] for _ in self._captures]
        """Of each captured field the sum and the number of its values in the measured phase."""
        self._numbers = struct.Struct(f"<{len(self._captures)}d")
        self._width = _ROW.size + self._numbers.size
        self._blocks: list[bytearray] = []
        self._block = bytearray()
        self._offset = self._counted = self._count_at = 0
        """Where the next row goes, the first row that is not counted yet, and where to stop and count."""
        self._begin_block()
        self.lists: list[tuple[int, dict[str, Any]]] = []
        """(seq, captured fields that are no numbers)."""
        self._ended: Counter[tuple[int, int, int]] = Counter()
        """Without samples: (operation, key, outcome) -> requests."""
        self._pack_into = _ROW.pack_into
        self._hosts, self._errors = Table(), Table()
        self.phases = (PhaseCounters(), PhaseCounters())
        self.window = MeasuredWindow()
        self.t0_us = 0
        self.measure_from_us = NEVER_US
        """Requests due from this instant on belong to the measured phase."""
        self._seconds = (folder / "seconds.jsonl").open("w", encoding="utf-8")
        self._second = 0
        self._second_ends_us = NEVER_US

    def begin(self, t0_us: int) -> None:
        """The release: second 0 starts."""
        self.t0_us = t0_us
        self._second_ends_us = t0_us + _SECOND
        if self._job.warmup is None:
            self.measure_from_second(0)

    def measure_from_second(self, second: int) -> None:
        """The measured phase starts with this second since the release, which has not begun, or with the release."""
        self.measure_from_us = self.window.begin_us = self.t0_us + second * _SECOND

    def meaning(self, status: int, answer: Answer) -> Meaning:
        """The part of a row that is the answer's alone."""
        outcome, error, host, value, captured = answer
        has_value = value is not None
        packed = _MEANING.pack(self._hosts[host], self._errors[error], status, outcome, has_value, value or 0)
        return Meaning(packed, captured)

    def record(self, call: Call, done_us: int, meaning: Meaning) -> None:
        """The request has its outcome."""
        if done_us >= self._second_ends_us:
            self.tick(done_us)
        elif self._offset == self._count_at:
            self._count()
        offset = self._offset
        self._offset = offset + self._width
        packed, captured = meaning
        self._pack_into(self._block, offset, call.seq, call.due_us, call.sent_us, done_us, call.key, call.op, packed)
        if self._captures:
            measured = call.due_us >= self.measure_from_us
            self._capture(offset + _ROW.size, call.seq, call.op, captured, measured)

    def _capture(self, offset: int, seq: int, op: int, captured: tuple[Any, ...], counts: bool) -> None:
        """Captured numbers in the columns' order (NaN: none), totalled if they count; others go to `lists`."""
        numbers, others = [math.nan] * len(self._captures), {}
        for column, value in zip(self._columns[op], captured, strict=False):
            if isinstance(value, (int, float)) and -_MOST < value < _MOST:
                numbers[column] = value
                if counts:
                    total = self._totals[column]
                    total[0] += value
                    total[1] += 1
            elif value is not None:
                others[self._captures[column]] = value
        if others and self._job.samples:
            self.lists.append((seq, others))
        self._numbers.pack_into(self._block, offset, *numbers)

    # -- counting

    def _begin_block(self) -> None:
        self._block = bytearray(self._width * _BLOCK_ROWS)
        self._blocks.append(self._block)
        self._offset = self._counted = 0
        self._count_at = _BATCH * self._width

    def _count(self) -> None:
        """Count the rows that are not counted yet, and make room."""
        if self._counted < self._offset:
            new = slice(self._counted, self._offset)
            error = self._column("H", _ERROR, new)
            rows = Columns(
                self._column("q", _DUE, new).tolist(),
                self._column("q", _SENT, new).tolist(),
                self._column("q", _DONE, new).tolist(),
                self._column("B", _OUTCOME, new).tobytes(),
                error.tolist() if error.tobytes().strip(b"\0") else [],
            )
            self.window.count(rows)
            for phase, part in zip(self.phases, rows.split(self.measure_from_us), strict=True):
                if part.due_us:
                    phase.count(part, list(self._errors))
            if not self._job.samples:
                keys = self._column("I", _KEY, new).tolist()
                self._ended.update(zip(self._column("H", _OP, new).tolist(), keys, rows.outcome, strict=True))
        if not self._job.samples:
            self._offset = 0
        elif self._offset == len(self._block):
            self._begin_block()
        self._counted = self._offset
        self._count_at = min(self._offset + _BATCH * self._width, len(self._block))

    def _column(self, kind: Literal["q", "I", "H", "B"], place: int, rows: slice) -> memoryview[int]:
        """One field of the running block's rows; `place` and `kind` as the row's layout has them."""
        numbers = memoryview(self._block)[rows].cast(kind)
        return numbers[place :: self._width // numbers.itemsize]

    def tick(self, now_us: int) -> None:
        """Count what is new, and close every second that is over."""
        self._count()
        for phase in self.phases:
            phase.fold()
        while now_us >= self._second_ends_us:
            self._close_second()

    def _close_second(self, last: bool = False) -> None:
        current = self.t0_us + self._second * _SECOND >= self.measure_from_us
        for number, phase in enumerate(self.phases):
            if (number == current and not last) or phase.second_sent or any(phase.second_outcomes):
                row: dict[str, Any] = {"second": self._second, "phase": PHASES[number], "sent": phase.second_sent}
                row |= dict(zip(OUTCOMES, phase.second_outcomes, strict=True))
                latency = phase.second_latency
                self._seconds.write(json.dumps(row | {"latency": latency}) + "\n")
                phase.end_second()
                p50, p95, p99 = histogram.quantiles_us(latency, (0.5, 0.95, 0.99))
                self._on_second(row | {"p50_ms": _ms(p50), "p95_ms": _ms(p95), "p99_ms": _ms(p99)})
        self._second += 1
        self._second_ends_us += _SECOND

    def finish(self, now_us: int) -> None:
        """Close the running second."""
        self.tick(now_us)
        self._close_second(last=True)
        self._second_ends_us = NEVER_US
        self.close()

    def close(self) -> None:
        """Close the file of seconds; the samples stay."""
        self._seconds.close()

    # -- what was kept

    def captured_totals(self) -> dict[str, CapturedTotal]:
        """Captured field -> sum and number of its values in answers of the measured phase, refusals among them."""
        return {name: (total, number) for name, (total, number) in zip(self._captures, self._totals, strict=True)}

    def tally(self) -> OutcomeCounts:
        """How the requests of each key ended in both phases; empty where samples are kept, which say more."""
        name = self._job.keys.name
        operations = [operation.name for operation in self._job.operations]
        tally = OutcomeCounts()
        for (op, key, outcome), number in self._ended.items():
            tally[operations[op], name(key), OUTCOMES[outcome]] += number
        return tally

    def rows(self) -> Iterator[Sample]:
        """The samples in the order their outcomes became known, times relative to the release."""
        job, t0 = self._job, self.t0_us
        hosts, errors = list(self._hosts), list(self._errors)
        whole = struct.Struct("<4qIH" + (_MEANING.format + self._numbers.format).replace("<", ""))
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
                    job.id(seq) if operation.idempotency else "",
                    job.load_host,
                    PHASES[due >= self.measure_from_us],
                    fields[12:],
                )


def _ms(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / 1000
