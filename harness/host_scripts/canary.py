"""Four small measurements of a host: sent as text (`python3 -`), prints one JSON object. Standard library only.

They distinguish a slow machine from a slow tier. cpu_ms: processor time for fixed arithmetic (shows a slow core, not a
CPU limit or a neighbour). wall_ms: elapsed time for the same, over a tenth of a second without a pause: longer beside
busy programs; absent where a CPU quota below one core would interrupt it. fsync_ms: a 4 KiB write to stable storage in
the directory of the third argument, which is where the host's database lies; absent if it cannot be written. rtt_ms: a
TCP handshake with another host (arguments: its address and SSH port). Each is the median of a few repetitions, wall_ms
the mean of many. rtt_ms is absent if the other host does not answer.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

ROUNDS = 5
BURST = 20
"""Repetitions without a pause: longer than the turns that a scheduler gives (some milliseconds)."""
QUOTAS = (("/sys/fs/cgroup/cpu.max",), ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
"""Files with the CPU quota and its period in µs (cgroup v2, v1)."""


def timed(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Returns the median milliseconds of a call of `action`, by `clock`."""
    durations_ms = []
    for _ in range(ROUNDS):
        started = clock()
        action()
        durations_ms.append((clock() - started) * 1000)
    return round(statistics.median(durations_ms), 4)


def spin() -> None:
    total = 0
    for number in range(100_000):
        total += number * number % 7


def text(path: str) -> str:
    with open(path) as file:  # noqa: PTH123
        return file.read()


def cores() -> float:
    """Returns how many cores the quota allows; infinity without one."""
    for paths in QUOTAS:
        with contextlib.suppress(OSError, ValueError):
            quota, period = (word for path in paths for word in text(path).split())
            return float(quota) / float(period) if quota.isdigit() else math.inf
    return math.inf


def main(peer: str = "", port: str = "22", directory: str = "") -> dict[str, float]:
    results = {"cpu_ms": timed(spin, time.process_time)}
    if cores() >= 1:
        started = time.perf_counter()
        for _ in range(BURST):
            spin()
        results["wall_ms"] = round((time.perf_counter() - started) * 1000 / BURST, 4)
    place = directory or "/var/tmp"  # noqa: S108  # on disk, whereas /tmp can be in memory
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=place) as file:

        def sync() -> None:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())

        results["fsync_ms"] = timed(sync)
    if peer:
        with contextlib.suppress(OSError):
            results["rtt_ms"] = timed(lambda: socket.create_connection((peer, int(port)), timeout=5).close())
    return results


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4])))
