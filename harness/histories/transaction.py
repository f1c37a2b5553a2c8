"""A transaction as its client saw it, and the anomalies that several of them prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.model import Outcome

Op = tuple[str, str, Any]
"""("r", key, elements read or None if unknown), ("append", key, element)."""
Kind = Literal["ww", "wr", "rw", "rt"]
"""Why one transaction precedes another.

`ww`: it appended before the other. `wr`: the other read what it appended. `rw`: it read a list without what the other
appended. `rt`: it ended before the other was sent.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Txn:
    """One transaction. Reads are known only if its outcome is `ok`. Times are in microseconds on `clock`."""

    seq: int
    ops: tuple[Op, ...]
    outcome: Outcome = "ok"
    sent_us: int = 0
    done_us: int = 0
    clock: str = ""

    def __str__(self) -> str:
        return f"T{self.seq}"

    def describe(self) -> str:
        """The operations on one line, such as `r x [1 2], append y 3`."""
        return ", ".join(_describe(op) for op in self.ops)


def _describe(op: Op) -> str:
    name, key, value = op
    if name == "r":
        value = "?" if value is None else list_text(value)
    return f"{name} {key} {value}"


def list_text(elements: Sequence[int], most: int = 8) -> str:
    """The list in brackets; of a long one the last elements."""
    shown = " ".join(map(str, elements[-most:]))
    return f"[… {shown}]" if len(elements) > most else f"[{shown}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One edge of a cycle: the transaction with number `before` precedes the one with number `after`."""

    before: int
    after: int
    kind: Kind
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """A proven anomaly, with its transactions in the order of the cycle, or as they are named in `detail`."""

    kind: str
    detail: str
    txns: tuple[Txn, ...] = ()
    steps: tuple[Step, ...] = field(default=())

    def lines(self) -> list[str]:
        """The anomaly as text: its transactions, then why each precedes the next one."""
        lines = [f"{self.kind}: {self.detail}"]
        lines += [f"  {txn}: {txn.describe()}" for txn in self.txns]
        lines += [f"  T{step.before} -{step.kind}-> T{step.after}: {step.why}" for step in self.steps]
        return lines
