"""Stalls: stretches of the measured window in which requests were in flight and none was answered. Pure.

A closed loop sends nothing while it waits through a stall, so its percentiles hardly show one (coordinated omission;
Gil Tene, How NOT to Measure Latency). The longest stall does. A stall of several processes is one in which none of them
got a response, which is why each keeps its stalls as intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

Stall = tuple[int, int]
"""Start and end in µs."""

LEAST_US = 10_000
"""Shorter stalls are not kept."""
MOST = 200
"""Stalls that are kept of one process: the longest."""


def longest(stalls: Iterable[Stall], most: int = MOST) -> list[Stall]:
    """The longest stalls, in the order of time."""
    return sorted(sorted(stalls, key=lambda stall: stall[0] - stall[1])[:most])


def together_stalls(parts: Sequence[tuple[Sequence[Stall] | None, int | None]]) -> tuple[Stall, ...] | None:
    """The stalls of all parts together, each given by its stalls and the instant at which its last request ended.

    A part that has ended gets no response any more. None if the stalls of a part were not recorded.
    """
    end_us = max((ended for _, ended in parts if ended is not None), default=0)
    extended = []
    for own, ended_us in parts:
        if own is None:
            return None
        extended.append([*own, *([(ended_us, end_us)] if ended_us is not None and ended_us < end_us else [])])
    return tuple(common(extended))


def common(parts: Sequence[list[Stall]]) -> list[Stall]:
    """The stretches of at least `LEAST_US` that are stalls of all parts; the stalls of each part do not overlap."""
    return reduce(_both, parts)


def _both(one: list[Stall], other: list[Stall]) -> list[Stall]:
    both: list[Stall] = []
    i = j = 0
    while i < len(one) and j < len(other):
        start, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if end - start >= LEAST_US:
            both.append((start, end))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return both


def longest_ms(stalls: Iterable[Stall]) -> float:
    """The length of the longest stall in ms; 0 where none is as long as `LEAST_US`."""
    return max((end - start for start, end in stalls), default=0) / 1000
