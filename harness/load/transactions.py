"""Random transactions for POST /api/txn: pure functions of a seed and a sequence number.

The load hosts send them, and the controller draws the same ones again for the checks, so the operations of a request
without an answer are known. Only `random.random` is used: Python keeps its numbers from version to version.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import UsageError

Op = list[Any]
"""["r", key], ["append", key, element] or ["transfer", from, to, amount] (docs/openapi.yaml)."""
MOST_OPS = 16
OPENING_BALANCE = 100
"""Balance of an account that no transfer has changed (docs/openapi.yaml)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactions:
    """Which transactions are drawn.

    `list-append`: reads of lists and appends to them; the element is unique over all requests. `keys` lists are in use
    at a time, drawn by Zipf's law; each is replaced after `period` transactions, so that lists stay short.
    `bank`: a transfer of up to `most_amount` between two of `keys` accounts, or a read of all of them.
    """

    kind: Literal["list-append", "bank"]
    keys: int = 12
    s: float = 0.8
    """Exponent of Zipf's law: the key of rank r has the weight r**-s."""
    least_ops: int = 1
    most_ops: int = 4
    reads: float = 0.5
    """Share of reads: among the operations of `list-append`, among the transactions of `bank`."""
    period: int = 200
    most_amount: int = 60

    def __post_init__(self) -> None:
        right = 2 <= self.keys <= MOST_OPS and 1 <= self.least_ops <= self.most_ops <= MOST_OPS
        if not (right and 0 <= self.reads <= 1 and self.period >= self.keys and self.most_amount > 0 < self.s):
            raise UsageError(f"load job: transactions: a value is out of range: {self}")

    def draw(self, seed: int, seq: int, name: Callable[[int], str]) -> list[Op]:
        """Returns the operations of request `seq`; `name` maps the index of a key to the key."""
        number = random.Random(f"{seed}/transaction/{seq}").random
        return (_list_append if self.kind == "list-append" else _bank)(self, number, seq, name)


def _list_append(spec: Transactions, number: Callable[[], float], seq: int, name: Callable[[int], str]) -> list[Op]:
    """The appends are in the order of their keys: a deadlock would stop its clients for deadlock_timeout, a second."""
    drawn: list[tuple[bool, int]] = []
    weights = _zipf(spec.keys, spec.s)
    for _ in range(spec.least_ops + int(number() * (spec.most_ops - spec.least_ops + 1))):
        rank = min(bisect.bisect_right(weights, number() * weights[-1]), spec.keys - 1)
        # The keys are replaced one after the other, so that those of two periods occur in one transaction.
        period = (seq + rank * spec.period // spec.keys) // spec.period
        drawn.append((number() < spec.reads, period * spec.keys + rank))
    appended = iter(sorted(key for reads, key in drawn if not reads))
    return [
        ["r", name(key)] if reads else ["append", name(next(appended)), seq * MOST_OPS + place]
        for place, (reads, key) in enumerate(drawn, start=1)
    ]


def _bank(spec: Transactions, number: Callable[[], float], seq: int, name: Callable[[int], str]) -> list[Op]:  # noqa: ARG001
    if number() < spec.reads:
        return [["r", name(account)] for account in range(spec.keys)]
    source = int(number() * spec.keys)
    goal = (source + 1 + int(number() * (spec.keys - 1))) % spec.keys
    return [["transfer", name(source), name(goal), 1 + int(number() * spec.most_amount)]]


@functools.lru_cache(maxsize=16)
def _zipf(keys: int, s: float) -> tuple[float, ...]:
    return tuple(itertools.accumulate(rank**-s for rank in range(1, keys + 1)))
