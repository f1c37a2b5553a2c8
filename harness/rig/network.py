"""Allocates a rig's network: a free /24 of the benchmark range, chosen under a lock of this machine."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator

from harness.errors import RigError
from harness.rig import machine_lock

CHOICE_S = 60.0
"""Maximum wait for another process that chooses a network and ports: it asks podman, which can be slow."""

BENCHMARK_NET = ipaddress.ip_network("198.18.0.0/15")
"""Reserved for benchmarks of network devices (RFC 2544, RFC 6890): no real host has such an address."""


def free_networks(taken: Iterable[str]) -> Iterator[str]:
    """Yields each /24 of the benchmark range, lowest first, that overlaps no CIDR in `taken`."""
    used = [ipaddress.ip_network(text, strict=False) for text in taken]
    for candidate in BENCHMARK_NET.subnets(new_prefix=24):
        if not any(candidate.version == net.version and candidate.overlaps(net) for net in used):
            yield str(candidate)


def free_network(taken: Iterable[str]) -> str:
    """Returns the lowest of the free networks. Raises RigError."""
    for candidate in free_networks(taken):
        return candidate
    raise _no_network()


def reserve(taken: Iterable[str], held: contextlib.ExitStack) -> str:
    """Returns the lowest free network, and reserves it on this machine until `held` closes. Raises RigError.

    A provision of another checkout sees it neither in its own states nor, before the hosts are created, in podman.
    """
    for candidate in free_networks(taken):
        if lock := machine_lock.acquire(f"network {candidate}"):
            held.enter_context(lock)
            return candidate
    raise _no_network()


def _no_network() -> RigError:
    return RigError(
        f"no free /24 network in {BENCHMARK_NET}",
        hint="./run status lists the rigs; ./run destroy --rig NAME frees one",
    )


def choosing() -> contextlib.AbstractContextManager[None]:
    """Holds the lock from the choice of network and ports until rig.json names them, so two rigs never share one."""
    return machine_lock.held("choice of a network", timeout_s=CHOICE_S)
