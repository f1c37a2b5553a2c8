"""Warnings about hosts: canaries that differ between hosts of one role, or between start and end of a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping

UNEVEN = 0.15
"""Hosts of one role that differ by more than this share are named."""


CANARIES = {"cpu_ms": "CPU canary", "fsync_ms": "fsync", "rtt_ms": "round trip"}


GRAIN_MS = {"fsync_ms": 1.0, "rtt_ms": 0.2}
"""Differences that mean nothing, whatever share they are: medians of five are no steadier on a shared machine."""


def uneven_hosts(canaries: Mapping[str, Mapping[str, float]], roles: Mapping[str, str]) -> list[str]:
    """A sentence for each role and canary whose slowest host takes over 15 % longer than the fastest; one for each host
    that has no round trip, where others have. Pure."""
    said = []
    for role in sorted(set(roles.values())):
        hosts = {host: values for host, values in canaries.items() if roles.get(host) == role}
        for name, word in CANARIES.items():
            times = {host: values[name] for host, values in hosts.items() if name in values}
            if len(times) < 2:
                continue
            fastest = min(times, key=lambda host: times[host])
            slow = [f"{host} {ms:.3g} ms" for host, ms in times.items() if _is_more(name, times[fastest], ms)]
            if slow:
                against = f"{fastest} {times[fastest]:.3g} ms"
                said.append(f"{role} hosts are unlike: {word} {', '.join(slow)} against {against}")
    unanswered = [host for host, values in canaries.items() if len(canaries) > 1 and "rtt_ms" not in values]
    return said + [
        f"{host}: no round trip was measured, its neighbour's SSH port did not answer" for host in unanswered
    ]


def drifted_hosts(before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A sentence for each canary that took over 15 % longer at one end of the run than at the other, with the hosts
    of which that is so. Pure."""
    said = []
    for name, word in CANARIES.items():
        pairs = {host: (before.get(host, {}).get(name), values.get(name)) for host, values in after.items()}
        moved = [
            f"{host} {then:.3g} ms, then {now:.3g} ms"
            for host, (then, now) in pairs.items()
            if then is not None and now is not None and _is_more(name, min(then, now), max(then, now))
        ]
        if moved:
            said.append(f"hosts are not as they were before the trials: {word} {'; '.join(moved)}")
    return said


def _is_more(name: str, less_ms: float, ms: float) -> bool:
    return ms > (1 + UNEVEN) * less_ms and ms - less_ms > GRAIN_MS.get(name, 0.0)
