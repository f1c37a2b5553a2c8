"""Linearizability of the counters: the order of the values respects real time. Pure.

    a.done < b.sent  =>  a.value < b.value
    a value that was not returned is an unknown increment's, sent before a larger value was returned

This is all of it for a counter whose increments return its new value (Herlihy and Wing 1990): the order of values is
the only candidate order, so it need only respect real time. An increment of unknown outcome may take effect at any time
after it was sent, or never. Its check is in counter_oracle.py.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from harness.record import Samples


def by_load_host(samples: Samples, rows: Sequence[int]) -> dict[str, list[int]]:
    """Rows by the load host whose clock measured them."""
    split: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        split[samples.load_host[row]].append(row)
    return split


def values_of(samples: Samples, rows: Sequence[int]) -> list[int]:
    """The values that rows returned, without those that returned none."""
    return [value for row in rows if (value := samples.value[row]) is not None]


def back_in_time(samples: Samples, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs (ended, sent later but with a smaller value): for each later row the earliest row that ended.

    O(n log n): values in descending order, with the earliest `done` of the larger ones.
    """
    value, sent, done = samples.value, samples.sent_us, samples.done_us
    last: int | None = None
    earliest = soonest = math.inf  # among larger values; among equal ones, which are not compared
    earliest_row = soonest_row = -1
    for row in sorted(rows, key=value.__getitem__, reverse=True):  # type: ignore[arg-type]  # None was left out
        if value[row] != last:
            last = value[row]
            if soonest < earliest:
                earliest, earliest_row = soonest, soonest_row
            soonest = math.inf
        if earliest < sent[row]:
            yield earliest_row, row
        if done[row] < soonest:
            soonest, soonest_row = done[row], row


def floors(samples: Samples, ok: Sequence[int], unknown: Sequence[int], initial: int) -> list[int]:
    """For each unknown row the largest value returned before it was sent: if it was applied, its value is larger."""
    if not unknown:
        return []
    ended = sorted(ok, key=samples.done_us.__getitem__)
    done = [samples.done_us[row] for row in ended]
    largest = list(accumulate(values_of(samples, ended), max, initial=initial))
    return [largest[bisect_left(done, samples.sent_us[row])] for row in unknown]


def unexplained(values: Sequence[int], floors: Sequence[int], initial: int) -> tuple[int, int]:
    """Returns how many values below the largest one no unknown request can have taken, and the first such value.

    Each of the unknown requests, given by their floors, takes at most one value above its floor. Where there are too
    few of them whatever their times are, the value sequence is wrong, and the rest is not counted here.
    """
    if not floors:
        return 0, 0
    starting = Counter(floors)
    available = missing = taken = first = 0
    for low, high in pairwise(sorted({initial, *(value for value in values if value > initial)})):
        available += starting[low]
        gap = high - low - 1
        fill = min(available, gap)
        if fill < gap:
            first = first or low + fill + 1
        available -= fill
        missing += gap
        taken += fill
    return min(missing, len(floors)) - taken, first
