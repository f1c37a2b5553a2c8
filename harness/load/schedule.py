"""When each request is due, and which operation and key it uses: pure functions of the job and a number.

A pacer that is a function instead of a sleep is an idea of vegeta (lib/pacer.go).
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Iterator

from harness.load.job import Job


def _random(job: Job, purpose: str) -> random.Random:
    """A random generator for this stripe and purpose, independent of the others."""
    return random.Random(f"{job.seed}/{purpose}/{job.host_index}/{job.host_count}")


def arrivals(job: Job) -> Iterator[int]:
    """Due times of this stripe's requests in µs since the release; never ends.

    `fixed`: request k of the whole job is due at k / rate. `poisson`: gaps are exponential, and the stripes'
    independent processes of rate / count add up to one of the whole rate (Kingman, Poisson Processes, 2.2).
    """
    rate = job.rate or 0.0
    if job.arrivals == "fixed":
        for number in itertools.count(job.host_index, job.host_count):
            yield round(number * 1_000_000 / rate)
    else:
        draw = _random(job, "arrivals").expovariate
        due_s = 0.0
        while True:
            due_s += draw(rate / job.host_count)
            yield round(due_s * 1_000_000)


def key_picker(job: Job) -> Callable[[int], int]:
    """Returns a function from sequence number to key index, by the job's distribution and seed."""
    keys = job.keys
    if keys.kind == "one" or keys.count == 1:
        return lambda _: 0
    if keys.kind == "cycle":
        return lambda seq: seq % keys.count
    draw = _random(job, "keys").random
    if keys.kind == "uniform":
        return lambda _: int(draw() * keys.count)
    sums = list(itertools.accumulate(rank**-keys.s for rank in range(1, keys.count + 1)))
    last = keys.count - 1
    return lambda _: min(bisect.bisect_right(sums, draw() * sums[-1]), last)


def operation_picker(job: Job) -> Callable[[], int]:
    """Returns a function that draws the index of the next operation by weight."""
    if len(job.operations) == 1:
        return lambda: 0
    sums = list(itertools.accumulate(op.weight for op in job.operations))
    draw = _random(job, "operations").random
    last = len(sums) - 1
    return lambda: min(bisect.bisect_right(sums, draw() * sums[-1]), last)
