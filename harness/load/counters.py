"""Counts requests in batches: outcomes and histograms of each phase, and of the measured window.

Counting runs every few milliseconds over columns of numbers, not at each response: `Counter`, `map` and `sum` walk a
column without the interpreter, which costs a fifth of counting each request separately. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, compress
from operator import sub
from typing import NamedTuple

from harness.load.outcome import OK, OUTCOMES
from harness.load.results import histogram, stalls

TABLE_LIMIT = 1000
MOST_NAMES = 64
"""Most names counted in a second; a rig has at most this many app hosts."""
OTHERS = "(others)"
NEVER_US = 1 << 62
"""Sentinel "never" timestamp; an int, because comparing ints is faster than comparing with float infinity."""


class TextNumbers(dict[str, int]):
    """Text -> its number, in the order of arrival; all texts beyond a thousand share one entry."""

    def __init__(self) -> None:
        super().__init__({"": 0})

    def __missing__(self, text: str) -> int:
        if len(self) >= TABLE_LIMIT and text != OTHERS:
            return self[OTHERS]
        self[text] = len(self)
        return self[text]


class SecondNames:
    """Responses by app host and requests by error in the current second: shown while the load runs."""

    def __init__(self, hosts: TextNumbers, errors: TextNumbers) -> None:
        self._tables = {"hosts": (hosts, Counter[int]()), "errors": (errors, Counter[int]())}

    def count(self, hosts: list[int], errors: list[int]) -> None:
        """Adds requests by the numbers of their texts; 0 is none."""
        self._tables["hosts"][1].update(hosts)
        self._tables["errors"][1].update(errors)

    def take(self) -> dict[str, dict[str, int]]:
        """Returns `hosts` and `errors`, text -> number of the most frequent ones, and begins the next second."""
        taken = {}
        for name, (texts, counts) in self._tables.items():
            known = list(texts)
            taken[name] = {known[number]: count for number, count in counts.most_common(MOST_NAMES + 1) if number}
            counts.clear()
        return taken


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
_ALL_OK = bytes([OK])


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
        self.refused: histogram.Counts = {}
        """The part of `latency` that is of requests that were not acknowledged."""
        self.last_due_us = self.last_sent_us = 0
        """Times of the last request sent (open mode); also set by the engine."""
        self.last_done_us = 0
        self._begin_second()

    def _begin_second(self) -> None:
        self._sent_before = self.sent
        self.second_outcomes = [0, 0, 0]
        self._second_latency, self._second_service, self._second_refused = Durations(), Durations(), Durations()

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
        if rows.outcome.strip(_ALL_OK):  # rare, so that acknowledged requests cost nothing more
            self._second_refused.count(
                list(compress(rows.done_us, rows.outcome)), list(compress(rows.due_us, rows.outcome))
            )
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
        self._second_refused.fold()

    def end_second(self) -> None:
        """Add the current second to the phase and begin the next."""
        for outcome, number in enumerate(self.second_outcomes):
            self.outcomes[outcome] += number
        histogram.add(self.latency, self.second_latency)
        histogram.add(self.service, self._second_service.counts)
        histogram.add(self.refused, self._second_refused.counts)
        self._begin_second()


class MeasuredWindow:
    """The measured window, from `begin_us` until `until_us`."""

    def __init__(self) -> None:
        self.begin_us = self.until_us = NEVER_US
        self.outcomes = [0, 0, 0]
        """Requests completed inside the window, by outcome."""
        self.busy_us = 0
        """Time that requests spent in flight inside the window, summed over all requests."""
        self.stalls: list[stalls.Stall] = []
        """Stretches of the window in which requests were in flight and none ended; only the longest are kept."""
        self._last_done_us = 0

    def count(self, rows: Columns) -> None:
        """Add completed requests of any phase."""
        last_us, before_us = rows.done_us[-1], self._last_done_us
        self._last_done_us = last_us
        if last_us < self.begin_us:
            return
        if last_us - before_us >= stalls.LEAST_US:
            ended_us = [before_us, *rows.done_us]
            if max(map(sub, rows.done_us, ended_us)) >= stalls.LEAST_US:
                self._find_stalls(rows, ended_us)
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

    def _find_stalls(self, rows: Columns, ended_us: list[int]) -> None:
        """Adds the stalls before each of these requests; `ended_us`: when the request before each of them ended.

        A stall begins when the earliest of the requests that end after it was sent: without one in flight nothing can
        be answered. Requests beyond the batch are left out, so a stall is never longer than it was.
        """
        oldest = list(accumulate(reversed(rows.sent_us), min))[::-1]
        for ended, done, sent in zip(ended_us, rows.done_us, oldest, strict=False):
            start, end = max(ended, sent, self.begin_us), min(done, self.until_us)
            if end - start >= stalls.LEAST_US:
                self.stalls.append((start, end))
        if len(self.stalls) > 2 * stalls.MOST:
            self.stalls = stalls.longest(self.stalls)
