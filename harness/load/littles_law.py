"""Little's law (1961): the mean number of requests in a system = their rate x their mean time in it. Pure.

The client's number in flight and the client's times are one source: in the closed model both sides are the number of
clients, whatever its clock shows. So the second side is the time inside the service, which the responses report by the
service's clock. A request is in flight for the client as long as it is in the service, and before and after that:

- no response tells more time than passed between the send and its arrival: else `sent` was read too late or `done` too
  early, or the client's clock is slow;
- on average no more requests are in the service than in flight: else responses were counted that are none, or the
  window is longer than was measured.

How much less the service tells proves nothing: requests also wait in HAProxy, in the listen queue and for a saturated
event loop of the service. That responses were noticed late is judged by the load processes' own delays
(generator_checks.py).
"""

from __future__ import annotations

import math

from harness.load.results.summary import LaneSummary

TOLERANCE = 0.05
_GRAIN = 2.0
"""Requests in flight: the resolution of samples every 10 ms when there are few."""
_LEAST_LOOKS = 50
"""The shortest window, one second, has 97."""
_ERRORS = 4.0
"""Standard errors of the mean over the looks; the number in flight varies at most like a Poisson count."""
NOT_JUDGED = "Little's law is not judged: the responses do not tell their `duration` (docs/openapi.yaml)"


def reasons(summary: LaneSummary) -> list[str]:
    """Why the client's times or counts cannot be right; empty if nothing contradicts them."""
    return [*_order(summary), *_in_service(summary), *_in_flight(summary)]


def is_judged(summary: LaneSummary) -> bool:
    """Whether responses reported the time inside the service; without it a closed load has no second source."""
    return summary.inside is not None and summary.inside.told > 0


def mean_in_service(summary: LaneSummary) -> float | None:
    """The mean number of requests inside the service, as its responses report it; None where they do not."""
    if summary.inside is None or not summary.inside.told or not summary.seconds:
        return None
    return summary.inside.busy_us / 1e6 / summary.seconds


def _order(summary: LaneSummary) -> list[str]:
    inside = summary.inside
    if inside is None or not inside.impossible:
        return []
    return [
        f"{inside.impossible:,} of {inside.told:,} responses report more time inside the service than passed for the "
        f"client (by up to {inside.most_us / 1000:.3f} ms): the client's clock or the service's `duration` is wrong"
    ]


def _in_service(summary: LaneSummary) -> list[str]:
    observed, inside = _observed(summary), mean_in_service(summary)
    if observed is None or inside is None or inside - observed <= (tolerance := _tolerance(summary, observed)):
        return []
    return [
        f"Little's law does not hold: {observed:.1f} requests were in flight on average, by the durations that the "
        f"responses report {inside:.1f} were inside the service (tolerance {tolerance:.1f})"
    ]


def _in_flight(summary: LaneSummary) -> list[str]:
    """Open model: mean number in flight = time that requests spent in flight / length of the window.

    Rate x mean service time differs from this by the requests that cross an edge of the window. With slow answers and a
    long tail that is too much: 64 clients with 160 answers per second were once 8 % off.
    """
    observed, seconds = _observed(summary), summary.seconds
    if observed is None or not seconds or summary.busy_us is None or summary.mode == "closed":
        return []
    expected = summary.busy_us / 1e6 / seconds
    tolerance = _tolerance(summary, expected)
    if abs(observed - expected) <= tolerance:
        return []
    return [
        f"Little's law does not hold: {observed:.1f} requests were in flight on average, "
        f"their times add up to {expected:.1f} (tolerance {tolerance:.1f})"
    ]


def _observed(summary: LaneSummary) -> float | None:
    """The mean number in flight as the load processes counted it; None with too few looks."""
    if min((process.looks for process in summary.watch), default=0) < _LEAST_LOOKS:
        return None
    return sum(process.in_flight or 0.0 for process in summary.watch)


def _tolerance(summary: LaneSummary, expected: float) -> float:
    """Requests; it grows as the looks become fewer: for chance, and for the one look that is missing at either edge of
    the window, when as many requests as ever may have been in flight."""
    looks = min(process.looks for process in summary.watch)
    return max(
        TOLERANCE * expected + 2 * summary.peak_in_flight / looks,
        _ERRORS * math.sqrt(expected / looks),
        _GRAIN * len(summary.watch),
    )
