"""Histories of list appends: an interpreter that runs transactions at a level, and short forms to write them by hand.

The interpreter keeps versions as PostgreSQL does: a statement or a transaction has a snapshot, an append locks its key,
and a transaction that cannot go on is aborted. At SERIALIZABLE one transaction runs at a time.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from harness.histories.transaction import Op, Txn
from harness.load.transactions import Transactions
from harness.model import Outcome

_WORD = re.compile(r"r(\w)\[([\d ]*)\]|r(\w)\?|a(\w)(\d+)")


def txn(seq: int, text: str, outcome: Outcome = "ok", at: tuple[int, int] = (0, 1000), clock: str = "") -> Txn:
    """A transaction from `rx[1 2] ax3 ry?`; all overlap in time unless `at` says otherwise."""
    ops: list[Op] = []
    for read, elements, unread, appended, element in _WORD.findall(text):
        if appended:
            ops.append(("append", appended, int(element)))
        else:
            ops.append(("r", read or unread, None if unread else tuple(map(int, elements.split()))))
    return Txn(seq=seq, ops=tuple(ops), outcome=outcome, sent_us=at[0], done_us=at[1], clock=clock)


class _Running:
    def __init__(self, seq: int, ops: Sequence[Any], begun: int) -> None:
        self.seq, self.left, self.done = seq, list(ops), []
        self.begun, self.own, self.snapshot = begun, {}, None


def run(
    level: str, count: int, *, seed: int = 1, clients: int = 8, spec: Transactions | None = None, unknown: float = 0.0
) -> list[Txn]:
    """Runs `count` random transactions at a level, statement by statement in a random order; 10 µs a statement.

    The share `unknown` has that outcome; half of them are applied.
    """
    spec = spec or Transactions(kind="list-append")
    chance = random.Random(seed)
    committed: dict[str, tuple[int, ...]] = {}
    locks: dict[str, int] = {}
    running: list[_Running] = []
    history: list[Txn] = []
    clock = seq = 0
    while len(history) < count:
        clock += 10
        if len(running) < (1 if level == "SERIALIZABLE" else clients) and seq < count:
            running.append(_Running(seq, spec.draw(seed, seq, "k-{}".format), clock))
            seq += 1
            continue
        at = chance.randrange(len(running))
        now = running[at]
        if now.snapshot is None or level == "READ COMMITTED":
            now.snapshot = dict(committed) if level == "REPEATABLE READ" else committed
        outcome = _step(now, committed, locks, level)
        if outcome is None:
            continue
        del running[at]
        for key in [key for key, owner in locks.items() if owner == now.seq]:
            del locks[key]
        if outcome == "ok":
            doubt = chance.random() < unknown
            if not doubt or chance.random() < 0.5:
                for key, added in now.own.items():
                    committed[key] = committed.get(key, ()) + added
            outcome = "unknown" if doubt else "ok"
        ops = now.done if outcome == "ok" else [*now.done, *now.left]
        ops = tuple(op if op[0] == "append" or outcome == "ok" else ("r", op[1], None) for op in map(tuple, ops))
        history.append(Txn(seq=now.seq, ops=ops, outcome=outcome, sent_us=now.begun, done_us=clock + 5))
    return history


def _step(now: _Running, committed: dict[str, Any], locks: dict[str, int], level: str) -> str | None:
    """Runs the next statement, or the commit; returns the outcome at the end of the transaction."""
    if not now.left:
        return "ok"
    op = now.left[0]
    key = op[1]
    if op[0] == "r":
        now.done.append(("r", key, now.snapshot.get(key, ()) + now.own.get(key, ())))
    else:
        changed = level == "REPEATABLE READ" and committed.get(key, ()) != now.snapshot.get(key, ())
        if changed or locks.get(key, now.seq) != now.seq:
            return "fail"
        locks[key] = now.seq
        now.own[key] = (*now.own.get(key, ()), op[2])
        now.done.append(("append", key, op[2]))
    now.left.pop(0)
    return None
