"""Requests counted many at a time: outcomes and histograms of a phase, and what fell into the measured window.

Counting is done every few milliseconds over columns of numbers, not at each answer: `Counter`, `map` and `sum` walk
a column without the interpreter, so a request costs a fifth of what it costs to count it by itself. Pure.
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
"""An instant that does not come: a whole number, which those of the clock are compared with faster than infinity."""


class Columns(NamedTuple):
    """Finished requests in the order they finished, a column a field; times in absolute µs."""

    due_us: list[int]
    sent_us: list[int]
    done_us: list[int]
    outcome: bytes
    error: list[int]
    """Numbers of error texts; empty where no request has one."""

    def split(self, at_us: float) -> tuple[Columns, Columns]:
        """Those due before an instant, and those due from it on."""
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
    """A histogram of what lies between instants; exact until `fold`."""

    def __init__(self) -> None:
        self.counts: histogram.Counts = {}
        self._exact_us: Counter[int] = Counter()

    def count(self, ends_us: list[int], begins_us: list[int]) -> None:
        self._exact_us.update(map(sub, ends_us, begins_us))

    def fold(self) -> None:
        """Round what was counted to the histogram's slots."""
        counts = self.counts
        for taken_us, number in self._exact_us.items():
            index = histogram.slot(taken_us)
            counts[index] = counts.get(index, 0) + number
        self._exact_us.clear()


class PhaseCounters:
    """Counts and histograms of one phase, and of the second that is running in it."""

    def __init__(self) -> None:
        self.sent = 0
        """Requests written or given up, counted by their sender: in the end it is ok + fail + unknown."""
        self.outcomes = [0, 0, 0]
        self.errors: dict[str, int] = {}
        self.latency: histogram.Counts = {}
        self.service: histogram.Counts = {}
        self.last_due_us = self.last_sent_us = 0
        """Open mode: of the last request that was sent; kept by its sender too."""
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
        """Add finished requests, all of this phase; `errors`: the texts that the error column numbers."""
        for outcome in range(len(OUTCOMES)):
            self.second_outcomes[outcome] += rows.outcome.count(outcome)
        self._second_latency.count(rows.done_us, rows.due_us)
        self._second_service.count(rows.done_us, rows.sent_us)
        self.last_done_us = rows.done_us[-1]
        for number, times in Counter(rows.error).items():
            error = errors[number]
            if error:
                name = error if error in self.errors or len(self.errors) < TABLE_LIMIT else OTHERS
                self.errors[name] = self.errors.get(name, 0) + times

    def fold(self) -> None:
        """What can be put off until no answer waits: see `Durations`."""
        self._second_latency.fold()
        self._second_service.fold()

    def end_second(self) -> None:
        """Add the running second to the phase and begin the next."""
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
        """Outcomes that became known inside the window."""
        self.busy_us = 0
        """Time that requests spent in flight inside the window, summed over all of them."""

    def count(self, rows: Columns) -> None:
        """Add finished requests of any phase."""
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
