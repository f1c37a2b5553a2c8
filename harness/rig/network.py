"""Allocates a rig's network: a free /24 of the benchmark range, chosen under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
from collections.abc import Iterable, Iterator

from harness.errors import RigError
from harness.rig import state

BENCHMARK_NET = ipaddress.ip_network("198.18.0.0/15")
"""Reserved for benchmarks of network devices (RFC 2544, RFC 6890): no real host has such an address."""


def free_network(taken: Iterable[str]) -> str:
    """Returns the lowest /24 of the benchmark range that overlaps no CIDR in `taken`. Raises RigError."""
    used = [ipaddress.ip_network(text, strict=False) for text in taken]
    for candidate in BENCHMARK_NET.subnets(new_prefix=24):
        if not any(candidate.version == net.version and candidate.overlaps(net) for net in used):
            return str(candidate)
    raise RigError(
        f"no free /24 network in {BENCHMARK_NET}",
        hint="./run status lists the rigs; ./run destroy --rig NAME frees one",
    )


@contextlib.contextmanager
def network_lock() -> Iterator[None]:
    """Holds the lock from the choice of a network until rig.json names it, so two rigs never share one."""
    state.RIGS.mkdir(mode=0o700, exist_ok=True)
    with (state.RIGS / ".network.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
