"""Counts requests in batches: outcomes and histograms of each phase, and of the measured window.

Counting runs every few milliseconds over columns of numbers, not at each response: `Counter`, `map` and `sum` walk a
column without the interpreter, which costs a fifth of counting each request separately. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress
from operator import sub
from typing import NamedTuple

from harness.load.outcome import OUTCOMES
from harness.load.results import histogram

TABLE_LIMIT = 1000
OTHERS = "(others)"
NEVER_US = 1 << 62
"""Sentinel "never" timestamp; an int, because comparing ints is faster than comparing with float infinity."""


class Columns(NamedTuple):
    """Completed requests in the order of completion, one column per field; times in absolute µs."""

    due_us: list[int]
    sent_us: list[int]
    done_us: list[int]
    outcome: bytes
    error: list[int]
    """Numbers of error texts; empty if no request has an error."""

    def split(self, at_us: float) -> tuple[Columns, Columns]:
        """Splits into requests due before an instant and requests due from it on."""
        if min(self.due_us) >= at_us:
            return _NONE, self
        if max(self.due_us) < at_us:
            return self, _NONE
        early = [due < at_us for due in self.due_us]
        return self._where(early), self._where([not is_early for is_early in early])

    def _where(self, keep: list[bool]) -> Columns:
        due, sent, done, outcome, error = (list(compress(column, keep)) for column in self)
        return Columns(due, sent, done, bytes(outcome), error)


_NONE = Columns([], [], [], b"", [])


class Durations:
    """A histogram of the time between instants; exact until `fold`."""

    def __init__(self) -> None:
        self.counts: histogram.Counts = {}
        self._exact_us: Counter[int] = Counter()

    def count(self, ends_us: list[int], begins_us: list[int]) -> None:
        self._exact_us.update(map(sub, ends_us, begins_us))

    def fold(self) -> None:
        """Add the exact durations to the slots of the histogram."""
        counts = self.counts
        for taken_us, number in self._exact_us.items():
            index = histogram.slot(taken_us)
            counts[index] = counts.get(index, 0) + number
        self._exact_us.clear()


class PhaseCounters:
    """Counts and histograms of one phase, and of its current second."""

    def __init__(self) -> None:
        self.sent = 0
        """Requests written or given up, counted by the engine; at the end equal to ok + fail + unknown."""
        self.outcomes = [0, 0, 0]
        self.errors: dict[str, int] = {}
        self.latency: histogram.Counts = {}
        self.service: histogram.Counts = {}
        self.last_due_us = self.last_sent_us = 0
        """Times of the last request sent (open mode); also set by the engine."""
        self.last_done_us = 0
        self._begin_second()

    def _begin_second(self) -> None:
        self._sent_before = self.sent
        self.second_outcomes = [0, 0, 0]
        self._second_latency, self._second_service = Durations(), Durations()

    @property
    def second_sent(self) -> int:
        return self.sent - self._sent_before

    @property
    def second_latency(self) -> histogram.Counts:
        self.fold()
        return self._second_latency.counts

    def count(self, rows: Columns, errors: Sequence[str]) -> None:
        """Add completed requests of this phase; `errors`: the texts that the error column refers to."""
        for outcome in range(len(OUTCOMES)):
            self.second_outcomes[outcome] += rows.outcome.count(outcome)
        self._second_latency.count(rows.done_us, rows.due_us)
        self._second_service.count(rows.done_us, rows.sent_us)
        self.last_done_us = rows.done_us[-1]
        for number, count in Counter(rows.error).items():
            error = errors[number]
            if error:
                name = error if error in self.errors or len(self.errors) < TABLE_LIMIT else OTHERS
                self.errors[name] = self.errors.get(name, 0) + count

    def fold(self) -> None:
        """Fold the durations; called while no response waits."""
        self._second_latency.fold()
        self._second_service.fold()

    def end_second(self) -> None:
        """Add the current second to the phase and begin the next."""
        for outcome, number in enumerate(self.second_outcomes):
            self.outcomes[outcome] += number
        histogram.add(self.latency, self.second_latency)
        histogram.add(self.service, self._second_service.counts)
        self._begin_second()


class MeasuredWindow:
    """The measured window, from `begin_us` until `until_us`."""

    def __init__(self) -> None:
        self.begin_us = self.until_us = NEVER_US
        self.outcomes = [0, 0, 0]
        """Requests completed inside the window, by outcome."""
        self.busy_us = 0
        """Time that requests spent in flight inside the window, summed over all requests."""

    def count(self, rows: Columns) -> None:
        """Add completed requests of any phase."""
        last_us = rows.done_us[-1]
        if last_us < self.begin_us:
            return
        if last_us < self.until_us and min(rows.sent_us) >= self.begin_us:
            self.busy_us += sum(rows.done_us) - sum(rows.sent_us)
            inside = rows.outcome
        else:
            self.busy_us += sum(
                max(0, min(done, self.until_us) - max(sent, self.begin_us))
                for sent, done in zip(rows.sent_us, rows.done_us, strict=True)
            )
            inside = bytes(
                outcome
                for outcome, done in zip(rows.outcome, rows.done_us, strict=True)
                if self.begin_us <= done < self.until_us
            )
        for outcome in range(len(OUTCOMES)):
            self.outcomes[outcome] += inside.count(outcome)
