"""The versions of each list, inferred from the lists read; what a single read proves wrong. Pure.

Elements of a key are unique, so a list read is a history of the appends to it (Kingsbury and Alvaro, "Elle", VLDB
2020): every list read of a key must be a prefix of the longest one, and tells which transaction appended last.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from harness.histories.transaction import Anomaly, Txn, list_text

INTERNAL, DUPLICATE, INCOMPATIBLE, INVENTED = "internal", "duplicate element", "incompatible order", "invented element"
G1A, G1B, LOST, STALE, LOST_UPDATE = "G1a", "G1b", "lost append", "stale read", "lost update"
ABSENT = 1 << 60
"""The place of an element that no transaction read."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The longest list read of a key. `writers`: index of the transaction of each element, -1 if there is none."""

    order: tuple[int, ...]
    appended: dict[int, int]
    """Element -> index of its transaction, also of one that was not read."""
    writers: list[int]
    place: dict[int, int]
    first_failed: int
    """Place of the first element whose transaction surely failed."""
    first_wrong: int
    """Place of the first element that no transaction appended, or that is there twice."""
    unread: tuple[int, ...]
    """Indexes of the acknowledged transactions with an appended element that was not read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reads of a history show.

    `reads`: (index of the transaction, key, length of the list without the transaction's own elements).
    """

    versions: dict[str, Versions]
    reads: list[tuple[int, str, int]]
    anomalies: list[Anomaly]

    def reads_of(self, index: int) -> list[tuple[int, str, int]]:
        """The reads of one transaction; they are in the order of the history."""
        first = bisect_left(self.reads, index, key=lambda read: read[0])
        return self.reads[first : bisect_right(self.reads, index, key=lambda read: read[0])]


def read_history(txns: Sequence[Txn]) -> Reading:
    """Infers the versions of all keys. Raises ValueError if two operations append the same element to a key."""
    writers: defaultdict[str, dict[int, int]] = defaultdict(dict)
    longest: dict[str, tuple[int, ...]] = {}
    for index, txn in enumerate(txns):
        known = txn.outcome == "ok"
        for name, key, value in txn.ops:
            if name == "append":
                if writers[key].setdefault(value, index) != index:
                    raise ValueError(f"element {value} of {key} is appended twice: the history cannot be checked")
            elif known and value is not None and len(value) >= len(longest.get(key, "")):
                longest[key] = value
    versions = {key: _versions(txns, longest.get(key, ()), writers[key]) for key in {**longest, **writers}}
    anomalies = list(_missed(txns, versions))
    reads = list(_reads(txns, versions, anomalies))
    anomalies += _lost_updates(txns, reads)
    return Reading(versions, reads, anomalies)


def _versions(txns: Sequence[Txn], order: tuple[int, ...], writers: dict[int, int]) -> Versions:
    found = [writers.get(element, -1) for element in order]
    failed = (place for place, writer in enumerate(found) if writer >= 0 and txns[writer].outcome == "fail")
    place: dict[int, int] = {}
    wrong = ABSENT
    for at, element in enumerate(order):
        if place.setdefault(element, at) != at or found[at] < 0:
            wrong = min(wrong, at)
    unread = {w: None for element, w in writers.items() if element not in place and txns[w].outcome == "ok"}
    return Versions(order, writers, found, place, next(failed, ABSENT), wrong, tuple(unread))


def _reads(
    txns: Sequence[Txn], versions: dict[str, Versions], anomalies: list[Anomaly]
) -> Iterator[tuple[int, str, int]]:
    """Yields the reads that fit the order of their key, without the transaction's own elements; adds the anomalies."""
    for index, txn in enumerate(txns):
        if txn.outcome != "ok":
            continue
        own: dict[str, tuple[int, ...]] = {}
        for name, key, value in txn.ops:
            if name == "append":
                own[key] = (*own.get(key, ()), value)
                continue
            if value is None:
                continue
            each, length = versions[key], len(value)
            fits = each.order[:length] == value
            if not fits or length > each.first_wrong:
                anomalies.append(_wrong_list(txn, key, value, each))
            if not fits:
                continue
            if mine := own.get(key):
                length -= len(mine)
                if length < 0 or value[length:] != mine:
                    text = f"{txn} read {key} as {list_text(value)} after it had appended {list_text(mine)}"
                    anomalies.append(Anomaly(kind=INTERNAL, detail=text, txns=(txn,)))
                    continue
            if length:
                wrong = _wrong_read(txns, index, key, length, each)
                if wrong:
                    anomalies.append(wrong)
                    if wrong.kind == INTERNAL:
                        continue
            yield index, key, length


def _wrong_list(txn: Txn, key: str, value: tuple[int, ...], each: Versions) -> Anomaly:
    """What is wrong with a list, regardless of which transactions appended its elements."""
    read = f"{txn} read {key} as {list_text(value)}"
    if invented := [element for element in value if element not in each.appended]:
        return Anomaly(kind=INVENTED, detail=f"{read}; no transaction appended {invented[0]}", txns=(txn,))
    if len(set(value)) < len(value):
        double = next(element for element in value if value.count(element) > 1)
        return Anomaly(kind=DUPLICATE, detail=f"{read}, with {double} twice", txns=(txn,))
    return Anomaly(kind=INCOMPATIBLE, detail=f"{read}, another one as {list_text(each.order)}", txns=(txn,))


def _wrong_read(txns: Sequence[Txn], index: int, key: str, length: int, each: Versions) -> Anomaly | None:
    """What is wrong with a read of the first `length` elements: from a failed transaction, or in the midst of one."""
    txn, writer, last = txns[index], each.writers[length - 1], each.order[length - 1]
    if length > each.first_failed:
        failed = txns[each.writers[each.first_failed]]
        text = f"{txn} read element {each.order[each.first_failed]} of {key}, which {failed} appended, and it failed"
        return Anomaly(kind=G1A, detail=text, txns=(failed, txn))
    if writer == index:
        text = f"{txn} read element {last} of {key} before it appended it"
        return Anomaly(kind=INTERNAL, detail=text, txns=(txn,))
    if writer >= 0 and (final := _last_append(txns[writer], key)) != last:
        text = f"{txn} read element {last} of {key} without {final}, which {txns[writer]} appended later"
        return Anomaly(kind=G1B, detail=text, txns=(txns[writer], txn))
    return None


def _lost_updates(txns: Sequence[Txn], reads: Sequence[tuple[int, str, int]]) -> Iterator[Anomaly]:
    """Two transactions that read the same version of a key and both append to it: one did not read the other's."""
    first: dict[tuple[str, int], int] = {}
    for index, key, length in reads:
        if _last_append(txns[index], key) is not None:
            other = first.setdefault((key, length), index)
            if other != index:
                text = f"{txns[other]} and {txns[index]} read {key} with {length:,} elements, and both appended to it"
                yield Anomaly(kind=LOST_UPDATE, detail=text, txns=(txns[other], txns[index]))


def _last_append(txn: Txn, key: str) -> int | None:
    return next((value for name, at, value in reversed(txn.ops) if name == "append" and at == key), None)


def _missed(txns: Sequence[Txn], versions: dict[str, Versions]) -> Iterator[Anomaly]:
    """Acknowledged elements that are missing in a list read by a transaction that was sent later, on one clock."""
    appends: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    reads: defaultdict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    for index, txn in enumerate(txns):
        if txn.outcome != "ok":
            continue
        for name, key, value in txn.ops:
            if name == "append":
                appends[key, txn.clock].append((index, value))
            elif value is not None:
                reads[key, txn.clock].append((txn.sent_us, len(value), index))
    for (key, clock), written in appends.items():
        later = sorted(reads.get((key, clock), ()))
        sent = [at for at, _, _ in later]
        shortest = list(accumulate(((length, index) for _, length, index in reversed(later)), min))[::-1]
        place = versions[key].place
        for index, element in written:
            first = bisect_right(sent, txns[index].done_us)
            if first == len(sent):
                continue
            length, reader = shortest[first]
            if length <= place.get(element, ABSENT):
                kind = STALE if element in place else LOST
                text = (
                    f"{txns[index]} was acknowledged with element {element} of {key} before {txns[reader]} was sent, "
                    f"which did not read it{'' if element in place else ', and no transaction did'}"
                )
                yield Anomaly(kind=kind, detail=text, txns=(txns[index], txns[reader]))
