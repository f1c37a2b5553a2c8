"""What one process keeps of its requests: rows in preallocated blocks, histograms, one line a second.

Inside the measured window nothing is formatted and no object a request is kept: `record` packs a row into bytes
and counts two slots. Texts (errors, app hosts) are interned into small tables. Without `samples` no row is kept:
the request is counted by its key and outcome, and memory does not grow with time.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from harness.load import hist
from harness.load.answer import OUTCOMES, Answer
from harness.load.job import Job
from harness.load.samples import Sample
from harness.model import Tally

_BLOCK_ROWS = 1 << 16
_TABLE_LIMIT = 1000
_OTHERS = "(others)"
_SECOND = 1_000_000
_MOST = 1e200  # beyond, a total might overflow; infinity and NaN, which json reads too, are no numbers either
_HAS_VALUE, _MEASURED = 1, 2
WARMUP, MEASURE = 0, 1
PHASES = ("warmup", "measure")


class Table(dict[str, int]):
    """Texts as small numbers, in the order they came; beyond a thousand different ones, all others are one entry."""

    def __init__(self) -> None:
        super().__init__({"": 0})

    def __missing__(self, text: str) -> int:
        if len(self) >= _TABLE_LIMIT and text != _OTHERS:
            return self[_OTHERS]
        self[text] = len(self)
        return self[text]


class Phase:
    """Counts and histograms of one phase, and of the second that is running in it."""

    def __init__(self) -> None:
        self.sent = 0
        self.outcomes = [0, 0, 0]
        self.errors: dict[str, int] = {}
        self.latency: hist.Counts = {}
        self.service: hist.Counts = {}
        self.first_sent_us = self.last_due_us = self.last_sent_us = self.last_done_us = 0
        self.begin_second()

    def begin_second(self) -> None:
        self.second_sent = 0
        self.second_outcomes = [0, 0, 0]
        self.second_latency: hist.Counts = {}
        self.second_service: hist.Counts = {}

    def count_error(self, error: str) -> None:
        if error not in self.errors and len(self.errors) >= _TABLE_LIMIT:
            error = _OTHERS
        self.errors[error] = self.errors.get(error, 0) + 1

    def end_second(self) -> None:
        """Add the running second to the phase and begin the next."""
        self.sent += self.second_sent
        for outcome, count in enumerate(self.second_outcomes):
            self.outcomes[outcome] += count
        hist.add(self.latency, self.second_latency)
        hist.add(self.service, self.second_service)
        self.begin_second()


class Call(Protocol):
    """A request as its sender keeps it, times in absolute µs."""

    seq: int
    op: int
    key: int
    due_us: int
    sent_us: int


class Recorder:
    """Takes each finished request once. Times given are absolute µs on CLOCK_MONOTONIC."""

    def __init__(self, job: Job, folder: Path, on_second: Callable[[dict[str, Any]], None]) -> None:
        self._job = job
        self._on_second = on_second
        self._captures = job.captures
        self._columns = [[self._captures.index(name) for name in op.capture] for op in job.operations]
        self.captured = {name: [0.0, 0] for name in self._captures}
        """Captured field -> sum and number of its values in answers of the measured phase, refusals among them."""
        self._totals = list(self.captured.values())
        self._row = struct.Struct("<qqqqqIHHHHBB" + "d" * len(self._captures))
        self._block = bytearray(self._row.size * _BLOCK_ROWS) if job.samples else bytearray()
        self._blocks = [self._block]
        self._offset = 0
        self.lists: list[tuple[int, dict[str, Any]]] = []
        """(seq, captured fields that are no numbers)."""
        self._keep = job.samples
        self._ended: tuple[tuple[dict[int, int], ...], ...] = tuple(({}, {}, {}) for _ in job.operations)
        self._pack_into = self._row.pack_into
        self._hosts, self._errors = Table(), Table()
        self.phases = (Phase(), Phase())
        self.t0_us = 0
        self.measure_from_us: float = math.inf
        """Requests due from this instant on belong to the measured phase."""
        self.until_us: float = math.inf
        """End of the measured window; outcomes after it do not count for the rate."""
        self.window = [0, 0, 0]
        """Outcomes that became known inside the measured window."""
        self.busy_us = 0.0
        """Time that requests spent in flight inside the measured window, summed over all of them."""
        self._seconds = (folder / "seconds.jsonl").open("w", encoding="utf-8")
        self._second = 0
        self._second_ends_us: float = math.inf

    def begin(self, t0_us: int) -> None:
        """The release: second 0 starts."""
        self.t0_us = t0_us
        self._second_ends_us = t0_us + _SECOND
        if self._job.warmup is None:
            self.measure_from_us = t0_us

    def measure_from_second(self, second: int) -> None:
        """The measured phase starts with this second since the release."""
        self.measure_from_us = self.t0_us + second * _SECOND

    def sending(self, due_us: int, sent_us: int) -> None:
        """A request is about to be written, or given up; `sent` counts both, so it is ok + fail + unknown."""
        phase = self.phases[due_us >= self.measure_from_us]
        phase.second_sent += 1
        phase.last_due_us = due_us
        phase.last_sent_us = sent_us
        if not phase.first_sent_us:
            phase.first_sent_us = sent_us

    def record(self, call: Call, done_us: int, status: int, answer: Answer) -> None:
        """The request has its outcome."""
        if done_us >= self._second_ends_us:
            self.tick(done_us)
        outcome, error, host, value, captured = answer
        due_us, sent_us = call.due_us, call.sent_us
        measured = due_us >= self.measure_from_us
        phase = self.phases[measured]
        phase.second_outcomes[outcome] += 1
        phase.last_done_us = done_us
        begin_us, until_us = self.measure_from_us, self.until_us
        if begin_us <= done_us:
            begin_us = sent_us if measured else max(begin_us, sent_us)
            if done_us < until_us:
                self.window[outcome] += 1
                self.busy_us += done_us - begin_us
            elif begin_us < until_us:
                self.busy_us += until_us - begin_us
        counts = phase.second_latency
        taken = done_us - due_us
        # hist.slot() by hand, twice: a call would cost as much as the rest of this function
        shift = taken.bit_length() - 11
        index = (shift << 10) + (taken >> shift) if shift > 0 else taken
        counts[index] = counts.get(index, 0) + 1
        if sent_us != due_us:
            taken = done_us - sent_us
            shift = taken.bit_length() - 11
            index = (shift << 10) + (taken >> shift) if shift > 0 else taken
        counts = phase.second_service
        counts[index] = counts.get(index, 0) + 1
        if error:
            phase.count_error(error)
        numbers = self._numbers(call.seq, call.op, captured, measured) if self._captures else ()
        if not self._keep:
            key, ended = call.key, self._ended[call.op][outcome]
            ended[key] = ended.get(key, 0) + 1
            return
        offset = self._offset
        if offset == len(self._block):
            self._block = bytearray(self._row.size * _BLOCK_ROWS)
            self._blocks.append(self._block)
            offset = 0
        self._offset = offset + self._row.size
        self._pack_into(
            self._block,
            offset,
            call.seq,
            due_us,
            sent_us,
            done_us,
            value or 0,
            call.key,
            call.op,
            self._hosts[host],
            self._errors[error],
            status,
            outcome,
            (_HAS_VALUE if value is not None else 0) | (_MEASURED if measured else 0),
            *numbers,
        )

    def _numbers(self, seq: int, op: int, captured: tuple[Any, ...], counts: bool) -> list[float]:
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
        if others and self._keep:
            self.lists.append((seq, others))
        return numbers

    def tick(self, now_us: int) -> None:
        """Close every second that is over."""
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
                p50, p95, p99 = hist.quantiles_us(latency, (0.5, 0.95, 0.99))
                self._on_second(row | {"p50_ms": _ms(p50), "p95_ms": _ms(p95), "p99_ms": _ms(p99)})
        self._second += 1
        self._second_ends_us += _SECOND

    def finish(self, now_us: int) -> None:
        """Close the running second."""
        self.tick(now_us)
        self._close_second(last=True)
        self._second_ends_us = math.inf
        self.close()

    def close(self) -> None:
        """Close the file of seconds; the samples stay."""
        self._seconds.close()

    def tally(self) -> Tally:
        """How the requests of each key ended in both phases; empty where samples are kept, which say more."""
        tally = Tally()
        for operation, outcomes in zip(self._job.operations, self._ended, strict=True):
            for outcome, ended in zip(OUTCOMES, outcomes, strict=True):
                tally.update({(operation.name, self._job.keys.name(key), outcome): n for key, n in ended.items()})
        return tally

    def rows(self) -> Iterator[Sample]:
        """The samples in the order their outcomes became known, times relative to the release."""
        job, t0 = self._job, self.t0_us
        hosts, errors = list(self._hosts), list(self._errors)
        for block in self._blocks:
            used = self._offset if block is self._block else len(block)
            for fields in self._row.iter_unpack(memoryview(block)[:used]):
                seq, due, sent, done, value, key, op, host, error, status, outcome, flags = fields[:12]
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
                    value if flags & _HAS_VALUE else None,
                    errors[error],
                    job.id(seq) if operation.idempotency else "",
                    job.load_host,
                    PHASES[bool(flags & _MEASURED)],
                    fields[12:],
                )


def _ms(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / 1000
