"""The transactions of a load, from its samples, the results captured from the responses, and the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.histories.transaction import Txn
from harness.load.transactions import Op, Transactions
from harness.model import Outcome
from harness.record import Samples

RESULTS = "results"
"""Field of a response to POST /api/txn: one result per operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One request. `results`: None unless it was acknowledged with one result per operation. Times in microseconds."""

    seq: int
    ops: list[Op]
    results: list[Any] | None
    outcome: Outcome
    sent_us: int
    done_us: int
    clock: str

    @property
    def unreadable(self) -> bool:
        """Whether it was acknowledged without usable results."""
        return self.outcome == "ok" and self.results is None


def recorded(
    samples: Samples, captures: Sequence[Mapping[str, Any]], drawn: Transactions, *, seed: int, one_clock: bool
) -> list[Recorded]:
    """Returns all requests of a lane; their operations are drawn again with the trial's seed.

    `one_clock`: whether all load hosts have the same clock, so that their times can be compared.
    """
    results = {line.get("seq"): line.get(RESULTS) for line in captures}
    prefix = samples.key[0].rpartition("-")[0] if len(samples) else ""
    rows = zip(
        samples.seq, samples.outcome, samples.sent_us, samples.done_us, samples.load_host, strict=True
    )  # fmt: skip
    found = []
    for seq, outcome, sent_us, done_us, load_host in rows:
        ops = drawn.draw(seed, seq, lambda index: f"{prefix}-{index}")
        answer = results.get(seq) if outcome == "ok" else None
        found.append(
            Recorded(
                seq=seq,
                ops=ops,
                results=answer if _usable(ops, answer) else None,
                outcome=outcome,  # type: ignore[arg-type]  # checked where the samples are read
                sent_us=sent_us,
                done_us=done_us,
                clock="" if one_clock else load_host,
            )
        )
    return found


def _usable(ops: list[Op], results: object) -> bool:
    """Whether each read has a list of integers, each transfer two, and each append null."""
    if type(results) is not list or len(results) != len(ops):
        return False
    for op, result in zip(ops, results, strict=True):
        if op[0] == "append":
            if result is not None:
                return False
        elif (
            type(result) is not list
            or not {int}.issuperset(map(type, result))
            or (op[0] == "transfer" and len(result) != 2)
        ):
            return False
    return True


def transactions(requests: Sequence[Recorded]) -> list[Txn]:
    """Returns the transactions of a list-append load as the checker reads them."""
    found = []
    for each in requests:
        results = each.results or [None] * len(each.ops)
        ops = tuple(
            ("r", op[1], None if result is None else tuple(result)) if op[0] == "r" else ("append", op[1], op[2])
            for op, result in zip(each.ops, results, strict=True)
        )
        found.append(
            Txn(
                seq=each.seq,
                ops=ops,
                outcome=each.outcome,
                sent_us=each.sent_us,
                done_us=each.done_us,
                clock=each.clock,
            )
        )
    return found
