"""Warnings about hosts: canaries that differ between hosts of one role, or between start and end of a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping

UNEVEN = 0.15
"""Hosts of one role that differ by more than this share are reported."""

CANARIES = {"cpu_ms": "CPU canary", "wall_ms": "wall-clock CPU canary", "fsync_ms": "fsync", "rtt_ms": "round trip"}
GRAIN_MS = {"fsync_ms": 1.0, "rtt_ms": 0.2}
"""Differences below are noise, whatever their share: medians of five vary this much on a shared machine."""


def uneven_hosts(canaries: Mapping[str, Mapping[str, float]], roles: Mapping[str, str]) -> list[str]:
    """A sentence for each role and canary whose slowest host takes over 15 % longer than the fastest.

    And one for each host without a round trip, where there are several hosts.
    """
    warnings = []
    for role in sorted(set(roles.values())):
        hosts = {host: values for host, values in canaries.items() if roles.get(host) == role}
        for name, word in CANARIES.items():
            times = {host: values[name] for host, values in hosts.items() if name in values}
            if len(times) < 2:
                continue
            fastest = min(times, key=lambda host: times[host])
            slow = [f"{host} {ms:.3g} ms" for host, ms in times.items() if is_more(name, times[fastest], ms)]
            if slow:
                against = f"{fastest} {times[fastest]:.3g} ms"
                warnings.append(f"{role} hosts differ: {word} {', '.join(slow)} against {against}")
    unanswered = [host for host, values in canaries.items() if len(canaries) > 1 and "rtt_ms" not in values]
    return warnings + [
        f"{host}: no round trip was measured: the SSH port of its neighbour did not respond" for host in unanswered
    ]


def drifted_hosts(before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A sentence for each canary that took over 15 % longer after the trials than before, or the reverse, by host."""
    warnings = []
    for name, word in CANARIES.items():
        pairs = {host: (before.get(host, {}).get(name), values.get(name)) for host, values in after.items()}
        changed = [
            f"{host} {first:.3g} ms, then {last:.3g} ms"
            for host, (first, last) in pairs.items()
            if first is not None and last is not None and is_more(name, min(first, last), max(first, last))
        ]
        if changed:
            warnings.append(f"hosts changed during the trials: {word} {'; '.join(changed)}")
    return warnings


def is_more(name: str, less_ms: float, ms: float) -> bool:
    """Whether a canary that took `less_ms` elsewhere took too much longer to call the hosts equally fast."""
    return ms > (1 + UNEVEN) * less_ms and ms - less_ms > GRAIN_MS.get(name, 0.0)
