"""The time that requests spent inside the service, as its responses report it, and the client's times. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FIELD = "duration"
"""The field of a response that holds it, in ms (docs/openapi.yaml)."""
_CLOCKS = 1.01
"""The client's and the service's clocks run equally fast within this ratio."""
_RESOLUTION_US = 10.0
"""Of both clocks, and of a duration in thousandths of a millisecond."""
_WHOLE_MS_US = 1000.0
"""A service that counts in whole milliseconds may report one too many."""
_MOST_MS = 3_600_000.0
"""More counts as an hour, so that sums stay numbers that files can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTimes:
    """The time inside the service that the responses to the requests of the measured window report.

    `told`: number of responses that report it. `busy_us`: that time within the window, summed. `impossible`: number
    that report more than passed between the send and the response. `most_us`: the largest excess.
    """

    told: int = 0
    busy_us: float = 0.0
    impossible: int = 0
    most_us: float = 0.0

    def __add__(self, other: ServiceTimes) -> ServiceTimes:
        return ServiceTimes(
            told=self.told + other.told,
            busy_us=self.busy_us + other.busy_us,
            impossible=self.impossible + other.impossible,
            most_us=max(self.most_us, other.most_us),
        )


def sum_up(
    durations_ms: Iterable[float],
    sent_us: Iterable[int],
    done_us: Iterable[int],
    begin_us: int,
    until_us: int,
) -> ServiceTimes:
    """Sums up completed requests, of which only those count that were in flight between `begin_us` and `until_us`.

    A duration is NaN where the response reports none; a negative one counts as none. A request that crosses an edge of
    the window counts with the share of its duration that it has of its time in flight.
    """
    told = impossible = 0
    busy_us = most_us = 0.0
    for duration_ms, sent, done in zip(durations_ms, sent_us, done_us, strict=True):
        if not duration_ms >= 0 or done < begin_us or sent >= until_us:
            continue
        told += 1
        duration_us, taken_us = min(duration_ms, _MOST_MS) * 1000, done - sent
        within_us = min(done, until_us) - max(sent, begin_us)
        busy_us += duration_us if within_us == taken_us else duration_us * within_us / taken_us
        if duration_us > taken_us + _RESOLUTION_US:
            allowed_us = taken_us * _CLOCKS + (_WHOLE_MS_US if duration_ms.is_integer() else _RESOLUTION_US)
            if duration_us > allowed_us:
                impossible += 1
                most_us = max(most_us, duration_us - taken_us)
    return ServiceTimes(told=told, busy_us=busy_us, impossible=impossible, most_us=most_us)
