"""Detects trials limited by the load generator instead of the system under test, from their merged summary. Pure."""

from __future__ import annotations

import math

from harness.load import littles_law
from harness.load.outcome import CLOSED_WHILE_IDLE
from harness.load.results.process_usage import TICK_US, ProcessUsage
from harness.load.results.summary import LaneSummary

MAX_CPU = 0.90
"""Share of a core per process, and of all cores its host may use; above it, requests wait for the process."""
MAX_THROTTLED = 0.50
"""Share of the periods of the host's CPU quota in which it ran out; above it, the process is mostly throttled."""
MAX_STALLED = 0.33
"""Share of the window in which the event loop should have run but did not. A tenth is normal on a machine shared with
the system under test; a generator limited to a tenth of the CPU it needs shows nine tenths."""
MAX_LAG_SHARE = 0.10
MIN_LAG_MS = 1.0
MIN_ACHIEVED = 0.98
MAX_OF_CEILING = 0.80
ALL_BUSY = 0.90
"""Share of the connections that wait for a response, on average, where the tier and not the generator is the limit."""
MAX_MISSING = 0.01
"""Share of the connections that may be missing at the release; opening them delays the first requests."""
MAX_APART_MS = 100.0
"""Distance between the instants at which stripes begin to measure: a tenth of the shortest window."""
_SHORT_DELAY_US = 100_000
"""A delay below a tenth of a second at the end of a short trial is no sign of a slow generator."""
_ENOUGH_LOOKS = 10
_ENOUGH_FOR_P99 = 1000


def reasons(summary: LaneSummary) -> list[str]:
    """Why the times of this trial cannot be used; empty if the generator was not the limit."""
    return [
        *_cpu(summary),
        *_lag(summary),
        *_noticed_late(summary),
        *_achieved(summary),
        *littles_law.reasons(summary),
        *_same_window(summary),
        *_idle_connections(summary),
    ]


def notes(summary: LaneSummary, ceiling_rps: float | None = None) -> list[str]:
    """What a reader must know of a trial whose times hold: the tier was saturated, or nearly as fast as the generator.

    Neither makes the times doubtful: what the generator reaches is judged by its own counters, not by the result. A
    limit on the rate would leave out the trials in which the tier kept up, and keep those in which it did not.

    `ceiling_rps` is what the same hosts and processes reach in a closed loop against a null endpoint, if known.
    """
    found = [tier_saturated(summary)] if tier_saturated(summary) else []
    rate = summary.window.total / summary.seconds if summary.seconds else 0.0
    if ceiling_rps and rate > MAX_OF_CEILING * ceiling_rps:
        found.append(
            f"{rate:,.0f} requests/s is {rate / ceiling_rps:.0%} of what the generator reaches against a null endpoint "
            f"({ceiling_rps:,.0f}/s); a faster tier may show no more"
        )
    return found


def tier_saturated(summary: LaneSummary) -> str:
    """A sentence if an open load was sent late because the tier was saturated: all connections waited for responses
    while the generator was not limited by its own CPU or delays. Empty otherwise."""
    share, rate = achieved(summary), summary.offered_rate
    if share is None or share >= MIN_ACHIEVED or not summary.seconds or not rate:
        return ""
    busy = sum(process.in_flight or 0.0 for process in summary.watch)
    if busy < ALL_BUSY * summary.clients or _cpu(summary) or _lag(summary):
        return ""
    return (
        f"tier saturated: {rate:,.0f} requests/s were offered, {summary.window.total / summary.seconds:,.0f}/s were "
        f"answered, and on average {busy:,.0f} of {summary.clients:,} connections waited for a response"
    )


def broken(summary: LaneSummary) -> list[str]:
    """Why not even the outcomes of a lane can be used."""
    problems = ["the load was interrupted"] if summary.interrupted else []
    if out_of_step := summary.connections.out_of_step:
        problems.append(f"{out_of_step:,} responses came without a request: others may belong to the wrong request")
    return problems


def achieved(summary: LaneSummary) -> float | None:
    """Open mode: length of the schedule over the time it took to send it. None: not known."""
    start, due, sent = summary.measure_from_us, summary.last_due_us, summary.last_sent_us
    if summary.mode != "open" or start is None or due is None or sent is None or sent - start <= 0:
        return None
    return min(1.0, (due - start) / (sent - start))


def _observed(summary: LaneSummary) -> list[ProcessUsage]:
    """The processes with enough looks for their shares to mean something."""
    return [process for process in summary.watch if process.looks >= _ENOUGH_LOOKS]


def _cpu(summary: LaneSummary) -> list[str]:
    problems = []
    hosts: dict[str, list[ProcessUsage]] = {}
    for process in _observed(summary):
        hosts.setdefault(process.load_host, []).append(process)
        cpu, stalled = process.cpu or 0.0, process.stalled or 0.0
        if cpu > MAX_CPU:
            problems.append(
                f"{process.load_host}: the load generator used {cpu:.0%} of a core (limit {MAX_CPU:.0%}); "
                "use more processes or load hosts"
            )
        if stalled > MAX_STALLED:
            problems.append(
                f"{process.load_host}: the load generator was stalled for {stalled:.0%} of the window "
                f"(limit {MAX_STALLED:.0%}, longest {process.longest_stall_ms:.0f} ms, own CPU {cpu:.0%}): "
                "its host gave it too little CPU"
            )
    for host, processes in hosts.items():
        cores, used = processes[0].cores or math.inf, sum(process.cpu or 0.0 for process in processes)
        throttled = max(process.throttled or 0.0 for process in processes)
        if cores < len(processes) and used > MAX_CPU * cores:
            problems.append(
                f"{host}: the load generator used {used / cores:.0%} of the {cores:g} cores that its host may use "
                f"(limit {MAX_CPU:.0%})"
            )
        elif throttled > MAX_THROTTLED:
            problems.append(
                f"{host}: the host's quota of {cores:g} cores ran out in {throttled:.0%} of its periods "
                f"(limit {MAX_THROTTLED:.0%})"
            )
    return problems


def _carried(summary: LaneSummary) -> tuple[float | None, float | None, str]:
    """Send lag and service time at the highest percentile that both have, and its name."""
    lag, service = summary.lag_ms, summary.service_ms
    pairs = (
        (lag.p99_ms if lag.count >= _ENOUGH_FOR_P99 else None, service.p99_ms, "p99"),
        (lag.p95_ms, service.p95_ms, "p95"),
        (lag.p90_ms, service.p90_ms, "p90"),
        (lag.p50_ms, service.p50_ms, "p50"),
    )
    return next((pair for pair in pairs if None not in pair), (None, None, ""))


def _lag(summary: LaneSummary) -> list[str]:
    """The highest percentile that the requests carry is checked: the p99 of a hundred is one hiccup of the machine."""
    lag, service, name = _carried(summary)
    if lag is None or service is None:
        return []
    limit = max(MIN_LAG_MS, MAX_LAG_SHARE * service)
    if lag <= limit:
        return []
    return [
        f"the load generator sent late: send lag {name} {lag:.1f} ms "
        f"(limit {limit:.1f} ms, a tenth of the service time)"
    ]


def _noticed_late(summary: LaneSummary) -> list[str]:
    """How late the generator notices responses is part of what it measures, in the closed model too.

    A percentile q of the times is at most the true one and this delay, unless more than 1 - q of the responses were
    noticed later. So the share allowed is what lies beyond the percentile.
    """
    service = summary.service_ms
    claimed = [("p99", 0.01, service.p99_ms), ("p95", 0.05, service.p95_ms), ("p50", 0.5, service.p50_ms)]
    for name, beyond, value_ms in claimed[service.count < _ENOUGH_FOR_P99 :]:
        limit_ms = max(MIN_LAG_MS, MAX_LAG_SHARE * (value_ms or math.inf))
        share = share_noticed_late(summary, limit_ms)
        if share > beyond:
            longest_ms = max(late for process in summary.watch for late, _ in process.delays or ())
            return [
                f"the load generator noticed {share:.1%} of the responses more than {limit_ms:.1f} ms late (limit "
                f"{beyond:.0%} for a {name} of {value_ms:.1f} ms; longest delay {longest_ms:,} ms): it was stopped, or "
                "its host gave it too little CPU"
            ]
    return []


def share_noticed_late(summary: LaneSummary, limit_ms: float) -> float:
    """The share of the responses that arrived more than `limit_ms` before the event loop ran; 0 if not known.

    While the loop does not run, responses arrive at the rate at which they do otherwise, but no more than were in
    flight, because nothing is sent. The looks are instants on a fixed grid, and a look that is late by n intervals
    counts as n+1. Delays shorter than the interval are seen by chance only, so two standard errors are taken off.
    """
    seconds, number = summary.seconds, summary.window.total
    if not seconds or not number:
        return 0.0
    late = late_by_chance = 0.0
    seen = 0
    for process in _observed(summary):
        running_s = seconds * max(0.01, 1 - (process.stalled or 0.0))
        per_look = number / len(summary.watch) / running_s * TICK_US / 1e6
        for late_ms, times in process.delays or ():
            looks = math.ceil(max(0.0, late_ms - limit_ms) * 1000 / TICK_US)
            responses = times * min(process.in_flight or 0.0, per_look * looks)
            if late_ms * 1000 >= TICK_US:
                late += responses
            elif looks:
                late_by_chance += responses
                seen += times
    return (late + late_by_chance * max(0.0, 1 - 2 / math.sqrt(seen or 1))) / number


def _achieved(summary: LaneSummary) -> list[str]:
    share = achieved(summary)
    if share is None or share >= MIN_ACHIEVED or tier_saturated(summary):
        return []
    if (summary.last_sent_us or 0) - (summary.last_due_us or 0) < _SHORT_DELAY_US:
        return []
    return [
        f"only {share:.0%} of the offered {summary.offered_rate:g} requests/s were sent "
        f"(limit {MIN_ACHIEVED:.0%}): {summary.late:,} waited for a free one of {summary.clients} connections"
    ]


def _same_window(summary: LaneSummary) -> list[str]:
    """Counts of several windows add up to a rate only if the windows cover the same stretch of time."""
    apart_ms = summary.apart_us / 1000
    if apart_ms <= MAX_APART_MS:
        return []
    return [
        f"the load hosts began to measure {apart_ms:,.0f} ms apart (limit {MAX_APART_MS:.0f} ms): "
        "they did not measure the same time"
    ]


def _idle_connections(summary: LaneSummary) -> list[str]:
    """A request over a connection that ends at that moment says nothing about the service under load."""
    count = summary.warmup.errors.get(CLOSED_WHILE_IDLE, 0) + summary.measure.errors.get(CLOSED_WHILE_IDLE, 0)
    met = f"{count:,} requests met connections that the service closed after 0.2 s or more without a request"
    missing = summary.connections.missing
    closed = f"the service had closed {missing:,} of {summary.clients:,} connections when the load began"
    problems = [met] if count else []
    if missing > MAX_MISSING * summary.clients:
        problems.append(closed)
    remedy = "its idle time-out must be longer than the opening of all connections takes; or use fewer clients"
    return [f"{problem}: {remedy}" for problem in problems]
