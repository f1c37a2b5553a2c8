"""Three small measurements of a host: sent as text (`python3 -`), prints one JSON object. Standard library only.

They tell a machine that is slow today, or slower than its peers, from a tier that is slow: cpu_ms of processor time
for a fixed piece of arithmetic (so a cap does not show, a slow core does), fsync_ms for a 4 KiB write to stable
storage, and rtt_ms for a TCP handshake with another host (arguments: its address and the port of its SSH server).
Medians of a few repetitions. A host that does not answer leaves rtt_ms out, and is no reason not to measure the tier.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

ROUNDS = 5


def timed(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Median milliseconds of calling `action`, by `clock`."""
    taken = []
    for _ in range(ROUNDS):
        started = clock()
        action()
        taken.append((clock() - started) * 1000)
    return round(statistics.median(taken), 4)


def spin() -> None:
    total = 0
    for number in range(100_000):
        total += number * number % 7


def main(peer: str = "", port: str = "22") -> dict[str, float]:
    found = {"cpu_ms": timed(spin, time.process_time)}
    with tempfile.TemporaryFile(dir="/var/tmp") as file:  # a disk, where /tmp may be memory

        def sync() -> None:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())

        found["fsync_ms"] = timed(sync)
    if peer:
        with contextlib.suppress(OSError):
            found["rtt_ms"] = timed(lambda: socket.create_connection((peer, int(port)), timeout=5).close())
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:3])))
