"""The graph of dependencies between transactions (Adya 1999), and the text why an edge is in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.histories.transaction import Kind, Txn, list_text
from harness.histories.versions import Reading

MAX_UNREAD = 8
"""Transactions whose elements of one key were not read and that get edges; beyond, the edges would be too many."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Successors of each transaction by kind of edge. Nodes beyond the transactions are instants (`rt`)."""

    ww: list[list[int]]
    wr: list[list[int]]
    rw: list[list[int]]
    rt: list[list[int]]

    def dependencies(self) -> list[list[int]]:
        """Successors over `ww` and `wr`."""
        return [first + second for first, second in zip(self.ww, self.wr, strict=True)]

    def all(self) -> list[list[int]]:
        """Successors over `ww`, `wr` and `rw`."""
        return [first + second + third for first, second, third in zip(self.ww, self.wr, self.rw, strict=True)]

    def kind(self, before: int, after: int) -> Kind:
        """The strongest kind of the edge."""
        if after in self.ww[before]:
            return "ww"
        if after in self.wr[before]:
            return "wr"
        return "rw" if after in self.rw[before] else "rt"


def build(txns: Sequence[Txn], reading: Reading) -> Graph:
    """Returns the edges that the reads prove.

    An element that was not read comes after all that were read of its key, because lists only grow. A transaction of
    unknown outcome is applied if one of its elements was read; else it has no edges.
    """
    size = len(txns)
    ww: list[list[int]] = [[] for _ in range(size)]
    wr: list[list[int]] = [[] for _ in range(size)]
    rw: list[list[int]] = [[] for _ in range(size)]
    for each in reading.versions.values():
        before = -1
        for after in each.writers:
            if before >= 0 and after >= 0 and before != after:
                ww[before].append(after)
            before = after
        if len(each.unread) <= MAX_UNREAD and before >= 0:
            ww[before] += [after for after in each.unread if after != before]
    for index, key, length in reading.reads:
        each = reading.versions[key]
        if length and (writer := each.writers[length - 1]) >= 0:
            wr[writer].append(index)  # never itself: that is an internal anomaly, which is no read here
        if length < len(each.order):
            writer = each.writers[length]
            if writer >= 0 and writer != index:
                rw[index].append(writer)
        elif len(each.unread) <= MAX_UNREAD:
            rw[index] += [writer for writer in each.unread if writer != index]
    return Graph(ww, wr, rw, [])


def real_time(txns: Sequence[Txn], applied: Sequence[bool]) -> list[list[int]]:
    """Returns successors over transactions and instants: a path leads from each transaction to all sent after its end.

    Instants are the nodes beyond the transactions, one for each run of ends without a send in between. Only times of
    one clock are compared. A transaction of unknown outcome may take effect after its end.
    """
    successors: list[list[int]] = [[] for _ in txns]
    events: list[tuple[str, int, int, int]] = []
    for index, txn in enumerate(txns):
        if applied[index]:
            events.append((txn.clock, txn.sent_us, 0, index))
            if txn.outcome == "ok":
                events.append((txn.clock, txn.done_us, 1, index))
    clock, last, open_instant = None, -1, False
    for at_clock, _, ended, index in sorted(events):
        if at_clock != clock:
            clock, last, open_instant = at_clock, -1, False
        if not ended:
            open_instant = False
            if last >= 0:
                successors[last].append(index)
            continue
        if not open_instant:
            successors.append([])
            if last >= 0:
                successors[last].append(len(successors) - 1)
            last, open_instant = len(successors) - 1, True
        successors[index].append(last)
    return successors


def explain(txns: Sequence[Txn], reading: Reading, before: int, after: int, kind: Kind) -> str:
    """Returns one sentence with the elements that prove an edge."""
    if kind == "rt":
        return f"{txns[before]} ended before {txns[after]} was sent"
    return (_appends if kind == "ww" else _reads)(txns, reading, before, after, kind)


def _appends(txns: Sequence[Txn], reading: Reading, before: int, after: int, _: Kind) -> str:
    for name, key, value in txns[before].ops:
        each = reading.versions[key]
        at = each.place.get(value, -1) if name == "append" else -1
        if 0 <= at < len(each.order) - 1 and each.writers[at + 1] == after:
            return f"{txns[before]} appended {value} to {key} before {txns[after]} appended {each.order[at + 1]}"
        if 0 <= at == len(each.order) - 1 and after in each.unread:
            return f"{txns[before]} appended {value} to {key}, the last that was read; {txns[after]} appended later"
    return ""


def _reads(txns: Sequence[Txn], reading: Reading, before: int, after: int, kind: Kind) -> str:
    reader = after if kind == "wr" else before
    for index, key, length in reading.reads_of(reader):
        each = reading.versions[key]
        if kind == "wr" and length and each.writers[length - 1] == before:
            return f"{txns[index]} read {each.order[length - 1]} of {key}, which {txns[before]} appended"
        shown = list_text(each.order[:length])
        if kind == "rw" and length < len(each.order) and each.writers[length] == after:
            missing = each.order[length]
            return f"{txns[index]} read {key} as {shown}, without {missing}, which {txns[after]} appended"
        if kind == "rw" and length == len(each.order) and after in each.unread:
            return f"{txns[index]} read {key} as {shown}, without what {txns[after]} appended"
    return ""
