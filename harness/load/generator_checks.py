"""Was it the generator that was measured? Reasons why a trial does not count, from its merged summary. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAX_CPU = 0.90
"""Of one core, per process, and of all that its host may use: above, requests wait for the generator."""
MAX_THROTTLED = 0.50
"""Share of the periods of the host's CPU quota in which it ran out: most of the time something was held back."""
MAX_STALLED = 0.33
"""Share of the window in which the event loop should have run and did not. On a machine that the generator shares
with what it measures a tenth is ordinary; a generator held to a tenth of a core it needs shows nine tenths."""
MAX_LAG_SHARE = 0.10
MIN_LAG_MS = 1.0
MIN_ACHIEVED = 0.98
MAX_OF_CEILING = 0.80
MAX_APART_MS = 100.0
"""Between the instants at which stripes begin to measure: a tenth of the shortest window."""
LITTLE_TOLERANCE = 0.05
_LITTLE_GRAIN = 2.0
"""In flight: what looking every 10 ms cannot tell apart when few requests are."""
_ENOUGH_LOOKS = 10
_ENOUGH_FOR_P99 = 1000
_LITTLE_LOOKS = 50
"""A window of one second, the shortest, brings 97."""
_LITTLE_ERRORS = 4.0
"""Standard errors of a mean of so many looks; how many requests are in flight varies like a count (Poisson) at most."""


def reasons(summary: Mapping[str, Any], ceiling_rps: float | None = None) -> list[str]:
    """Why no claim may rest on this trial; empty if the generator was not the limit.

    `ceiling_rps` is what the same hosts and processes reach in a closed loop against a null endpoint, if known.
    """
    return [
        *_cpu(summary),
        *_lag(summary),
        *_achieved(summary),
        *_ceiling(summary, ceiling_rps),
        *_little(summary),
        *_together(summary),
    ]


def broken(summary: Mapping[str, Any]) -> list[str]:
    """Why not even the outcomes of a lane may be believed, whatever they are asked for."""
    found = ["the load was interrupted"] if summary["interrupted"] else []
    if out_of_step := summary["connections"]["out_of_step"]:
        found.append(f"{out_of_step:,} answers came unasked: others may belong to other requests")
    return found


def achieved(summary: Mapping[str, Any]) -> float | None:
    """Open mode: how long the schedule was, over how long sending it took. None where nothing says so."""
    start, due, sent = (summary.get(name) for name in ("measure_from_us", "last_due_us", "last_sent_us"))
    if summary.get("mode") != "open" or start is None or due is None or sent is None or sent - start <= 0:
        return None
    return float(min(1.0, (due - start) / (sent - start)))


def _watches(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The processes that were watched long enough to say anything."""
    return [watch for watch in summary["watch"] if watch["looks"] >= _ENOUGH_LOOKS]


def _cpu(summary: Mapping[str, Any]) -> list[str]:
    found = []
    for watch in _watches(summary):
        if watch["cpu"] > MAX_CPU:
            found.append(
                f"{watch['load_host']}: the load generator used {watch['cpu']:.0%} of a core (limit {MAX_CPU:.0%}); "
                "use more processes or load hosts"
            )
        if watch["stalled"] > MAX_STALLED:
            found.append(
                f"{watch['load_host']}: the load generator was held up for {watch['stalled']:.0%} of the window "
                f"(limit {MAX_STALLED:.0%}, longest {watch['longest_stall_ms']:.0f} ms, own CPU {watch['cpu']:.0%}): "
                "its host gave it too little CPU"
            )
    hosts: dict[str, list[Mapping[str, Any]]] = {}
    for watch in _watches(summary):
        hosts.setdefault(watch["load_host"], []).append(watch)
    for host, watches in hosts.items():
        cores, used = watches[0]["cores"], sum(watch["cpu"] for watch in watches)
        throttled = max(watch["throttled"] for watch in watches)
        if cores < len(watches) and used > MAX_CPU * cores:
            found.append(
                f"{host}: the load generator used {used / cores:.0%} of the {cores:g} cores that its host may use "
                f"(limit {MAX_CPU:.0%})"
            )
        elif throttled > MAX_THROTTLED:
            found.append(
                f"{host}: the host's quota of {cores:g} cores ran out in {throttled:.0%} of its periods "
                f"(limit {MAX_THROTTLED:.0%})"
            )
    return found


def _lag(summary: Mapping[str, Any]) -> list[str]:
    """Of few requests the p95: the p99 of a hundred is one hiccup of the machine, not how the generator is."""
    name = "p99_ms" if summary["lag_ms"]["count"] >= _ENOUGH_FOR_P99 else "p95_ms"
    lag, service = summary["lag_ms"][name], summary["service_ms"][name]
    if lag is None or service is None:
        return []
    limit = max(MIN_LAG_MS, MAX_LAG_SHARE * service)
    if lag <= limit:
        return []
    return [
        f"requests were noticed late: send lag {name.removesuffix('_ms')} {lag:.1f} ms "
        f"(limit {limit:.1f} ms, a tenth of the service time)"
    ]


def _achieved(summary: Mapping[str, Any]) -> list[str]:
    share = achieved(summary)
    if share is None or share >= MIN_ACHIEVED:
        return []
    if summary["last_sent_us"] - summary["last_due_us"] < 100_000:  # a tenth of a second at the end of a short trial
        return []
    return [
        f"only {share:.0%} of the offered {summary['offered_rate']:g} requests/s were sent "
        f"(limit {MIN_ACHIEVED:.0%}): {summary['late']:,} waited for a free one of {summary['clients']} connections"
    ]


def _ceiling(summary: Mapping[str, Any], ceiling_rps: float | None) -> list[str]:
    seconds = summary["seconds"]
    if not ceiling_rps or not seconds:
        return []
    rate = sum(summary["window"].values()) / seconds
    if rate <= MAX_OF_CEILING * ceiling_rps:
        return []
    return [
        f"{rate:,.0f} requests/s is {rate / ceiling_rps:.0%} of what the generator reaches against a null endpoint "
        f"({ceiling_rps:,.0f}/s; limit {MAX_OF_CEILING:.0%})"
    ]


def _little(summary: Mapping[str, Any]) -> list[str]:
    """Little's law as an identity: mean number in flight = time that requests spent in flight / length of the window.

    Rate x mean service time is this but for requests that cross an edge of the window, and of slow answers with a
    long tail these are too many for it: 64 clients with 160 answers a second were once 8 % off.

    The fewer looks, the more is allowed: for chance, and for the one look that is missing at either edge of the window,
    when as many as ever may have been in flight.
    """
    watches, seconds = summary["watch"], summary["seconds"]
    looks = min((watch["looks"] for watch in watches), default=0)
    if not seconds or looks < _LITTLE_LOOKS:
        return []
    seen = sum(watch["in_flight"] for watch in watches)
    expected = summary["busy_us"] / 1e6 / seconds
    tolerance = max(
        LITTLE_TOLERANCE * expected + 2 * summary["peak_in_flight"] / looks,
        _LITTLE_ERRORS * math.sqrt(expected / looks),
        _LITTLE_GRAIN * len(watches),
    )
    if abs(seen - expected) <= tolerance:
        return []
    return [
        f"Little's law does not hold: {seen:.1f} requests were seen in flight, "
        f"their times add up to {expected:.1f} (tolerance {tolerance:.1f})"
    ]


def _together(summary: Mapping[str, Any]) -> list[str]:
    """Counts over windows of one length add up to a rate only where the windows are the same stretch of time."""
    apart_ms = summary["apart_us"] / 1000
    if apart_ms <= MAX_APART_MS:
        return []
    return [
        f"the load hosts began to measure {apart_ms:,.0f} ms apart (limit {MAX_APART_MS:.0f} ms): "
        "their windows are not one"
    ]
