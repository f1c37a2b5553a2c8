"""What clients saw of the faults of a trial: how long nothing succeeded, how soon it did again, at what latency. Pure.

The load is open: requests are due whether or not earlier ones were answered, so no stall is omitted. All instants are
those of the samples (µs on the run's clock); what is returned is in seconds and milliseconds.
"""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.stats import percentiles
from harness.fault_record import FaultRecord
from harness.record import Samples, distinct

BACK = 0.95
"""Share of the rate before the first fault that counts as back."""
RATE_US = 1_000_000
"""Length of the stretches whose rate is compared; shorter ones hold too few requests."""
STEP_US = 50_000
SETTLED_US = 1_000_000
"""The first second opens connections and is no part of the rate before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultEffect:
    """What one fault did to the requests. It lasts from the injection until the rate is back (else the window's end).

    Times in seconds; None: it did not happen in the window. `failed` and `unknown`: requests in flight meanwhile that
    ended so; of faults that overlap each counts them.
    """

    fault: str
    hosts: tuple[str, ...]
    injected_us: int | None
    healing_us: int | None
    until_us: int
    gap_s: float
    """Longest time without a success that touches it."""
    first_success_s: float | None
    """From the start of the heal to the first success."""
    accepted_success_s: float | None
    """From the instant at which PostgreSQL accepts connections again to the first success; None where not observed."""
    accepted_gap_s: float | None
    """Longest time without a success from then on, where the fault lasts until its heal from that on; None as above."""
    back_s: float | None
    """From the start of the heal to a second that has BACK of the rate before twice: so many of those due in it
    succeed, and so many of those due since the heal complete in it. A backlog has the second alone, a tier that falls
    behind the first. It begins with a success or later.
    """
    failed: int
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """The figures of a trial's window, which reaches from the first to the last due instant.

    Latencies count from the due instant, of all requests, each id once; None with less than ten samples beyond.
    `before`: due before the first injection, `during`: while a fault had its effect, `after`: the rest.
    """

    begin_us: int
    end_us: int
    gap_s: float
    """Longest time without a success; an outage that does not end counts until the window's end."""
    gap_begin_us: int
    dead_s: float
    """From the last success to the window's end; 0 where a request succeeded even later."""
    rate_before: float | None
    """Successes per second before the first injection."""
    effects: tuple[FaultEffect, ...]
    p99_before_ms: float | None
    p99_during_ms: float | None
    p99_after_ms: float | None

    @property
    def failed(self) -> int:
        """Requests that failed while faults had their effect; those of faults that overlap count twice."""
        return sum(effect.failed for effect in self.effects)


def outage_ended(figures: Mapping[str, Any]) -> bool:
    """Whether the longest time without a success ended in the window, by the fields of an Availability.

    Else `gap_s` is a lower bound: nothing succeeded any more. True where the fields are not known.
    """
    names = ("gap_begin_us", "gap_s", "end_us")
    if any(figures.get(name) is None for name in names):
        return True
    begin_us, gap_s, end_us = (float(figures[name]) for name in names)
    return begin_us + gap_s * 1e6 < end_us - 1


def availability(
    samples: Samples, faults: Sequence[FaultRecord], *, lasting: Collection[str] = ()
) -> Availability | None:
    """The availability figures of a trial; None without requests. `lasting`: faults that are present until the heal."""
    samples = distinct(samples)
    if not len(samples):
        return None
    begin, end = min(samples.due_us), max(samples.due_us)
    served = [
        (done, due)
        for due, done, outcome in zip(samples.due_us, samples.done_us, samples.outcome, strict=True)
        if outcome == "ok"
    ]
    successes = sorted(done for done, _ in served if done <= end)
    gaps = list(itertools.pairwise([begin, *(at for at in successes if at >= begin), end]))
    longest = max(gaps, key=lambda gap: gap[1] - gap[0])
    injected = [fault.injected_us for fault in faults if fault.injected_us is not None]
    before = _rate_before(served, begin, min(injected, default=end))
    view = _View(
        samples=samples, served=served, successes=successes, gaps=gaps, rate_before=before, end=end, lasting=lasting
    )
    effects = tuple(_effect(fault, view) for fault in faults)
    parts = _latencies(samples, min(injected, default=end + 1), effects)
    p99 = [one if one is None else one / 1000 for part in parts for one in percentiles(part, (99.0,))]
    return Availability(
        begin_us=begin,
        end_us=end,
        gap_s=(longest[1] - longest[0]) / 1e6,
        gap_begin_us=longest[0],
        dead_s=0.0 if len(successes) < len(served) else (end - gaps[-1][0]) / 1e6,
        rate_before=before,
        effects=effects,
        p99_before_ms=p99[0],
        p99_during_ms=p99[1],
        p99_after_ms=p99[2],
    )


def _rate_before(served: Sequence[tuple[int, int]], begin: int, until: int) -> float | None:
    """Successes per second before `until`; at most as many as were due: a backlog of the begin is no rate."""
    since = begin + SETTLED_US
    if until - since < RATE_US:
        since = begin
    if until - since < RATE_US // 2:
        return None
    counts = [sum(since <= instant < until for instant in instants) for instants in zip(*served, strict=True)]
    return min(counts, default=0) / ((until - since) / 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A trial's window: its requests, and when they succeeded."""

    samples: Samples
    served: Sequence[tuple[int, int]]
    """When a request succeeded, also after the window, and when it was due."""
    successes: Sequence[int]
    gaps: Sequence[tuple[int, int]]
    rate_before: float | None
    end: int
    lasting: Collection[str]


def _effect(fault: FaultRecord, view: _View) -> FaultEffect:
    samples, successes, end = view.samples, view.successes, view.end
    injected, healing = fault.injected_us, fault.healing_us
    first, back = _first(successes, healing), None
    if healing is not None:
        back = _back(view.served, healing, view.rate_before, end)
    until = end if healing is None or back is None else healing + round(back * 1e6) + RATE_US
    until = min(until, end)
    since = end if injected is None else injected
    touching = [(a, b) for a, b in view.gaps if b > since and a < until]
    accepts = fault.observed_us.get("accepts")
    possible = max(accepts or 0, (healing or 0) if fault.planned.fault in view.lasting else 0)
    ended = [
        outcome
        for due, done, outcome in zip(samples.due_us, samples.done_us, samples.outcome, strict=True)
        if outcome != "ok" and due <= until and done >= since
    ]
    return FaultEffect(
        fault=fault.planned.fault,
        hosts=fault.hosts,
        injected_us=injected,
        healing_us=healing,
        until_us=until,
        gap_s=max((b - a for a, b in touching), default=0) / 1e6,
        first_success_s=first,
        accepted_success_s=_first(successes, accepts),
        accepted_gap_s=None if accepts is None else max((b - max(a, possible) for a, b in touching), default=0) / 1e6,
        back_s=back,
        failed=ended.count("fail"),
        unknown=ended.count("unknown"),
    )


def _first(successes: Sequence[int], since: int | None) -> float | None:
    """Seconds from an instant to the first success; None where there is none."""
    after = len(successes) if since is None else bisect_left(successes, since)
    return (successes[after] - since) / 1e6 if since is not None and after < len(successes) else None


def _back(served: Sequence[tuple[int, int]], healing: int, rate_before: float | None, end: int) -> float | None:
    """Seconds from the heal to the first second with BACK of the rate before; None if the window has none."""
    later = [(done, due) for done, due in served if due >= healing]
    if not rate_before or not later:
        return None
    dones, dues = sorted(done for done, _ in later), sorted(due for _, due in later)
    wanted = BACK * rate_before * RATE_US / 1e6
    for start in range(dones[0], end - RATE_US + 1, STEP_US):
        counts = [bisect_right(instants, start + RATE_US) - bisect_left(instants, start) for instants in (dones, dues)]
        if min(counts) >= wanted:
            return (start - healing) / 1e6
    return None


def _latencies(
    samples: Samples, first: int, effects: Sequence[FaultEffect]
) -> tuple[array[int], array[int], array[int]]:
    """The latencies in µs of the requests due before, during and after the faults."""
    before, during, after = array("q"), array("q"), array("q")
    spans = [(one.injected_us, one.until_us) for one in effects if one.injected_us is not None]
    for due, done in zip(samples.due_us, samples.done_us, strict=True):
        if due < first:
            before.append(done - due)
        elif any(since <= due <= until for since, until in spans):
            during.append(done - due)
        else:
            after.append(done - due)
    return before, during, after
