"""The checker of list appends: histories of known verdict, injected anomalies, and histories of an interpreter."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from harness.histories.list_append import FORBIDDEN, analyse
from harness.histories.transaction import Txn
from harness.load.transactions import Transactions
from tests.support.list_append import run, txn

# Written by hand after the definitions (Adya 1999; Berenson et al. 1995); one line per transaction.
VERDICTS = {
    "serial": (["ax1", "rx[1] ay2", "ry[2] rx[1]"], set()),
    "G0: two lists in opposite orders": (["ax1 ay2", "ax3 ay4", "rx[1 3] ry[4 2]"], {"G0"}),
    "G0: appends of two transactions interleave": (["ax1 ax2", "ax3", "rx[1 3 2]"], {"G0"}),
    "G1a: aborted read": ([("ax1", "fail"), "rx[1]"], {"G1a"}),
    "G1a: below another element": ([("ax1", "fail"), "ax2", "rx[1 2]"], {"G1a"}),
    "G1b: intermediate read": (["ax1 ax2", "rx[1]", "rx[1 2]"], {"G1b", "G-single"}),
    "G1b: its end was not read": (["ax1 ax2", "rx[1]"], {"G1b", "G-single"}),
    "G1c: each reads the other": (["ax1 ry[2]", "ay2 rx[1]"], {"G1c"}),
    "G1c: over three": (["ax1 rz[3]", "rx[1] ay2", "ry[2] az3"], {"G1c"}),
    "G-single: read skew": (["rx[] ry[2]", "ax1 ay2", "rx[1]"], {"G-single"}),
    "G-single: lost update": (["rx[] ax1", "rx[] ax2", "rx[1 2]"], {"G-single", "lost update"}),
    "lost update, without a later read": (["ax0", "rx[0] ax1", "rx[0] ax2"], {"G2-item", "lost update"}),
    "G-single: a read is not repeatable": (["rx[] rx[1]", "ax1"], {"G-single"}),
    "G-single: the list shrinks": (["rx[1] rx[]", "ax1"], {"G-single"}),
    "G2-item: write skew": (["rx[] ry[] ax1", "rx[] ry[] ay2", "rx[1] ry[2]"], {"G2-item"}),
    "G2-item: neither element was read": (["rx[] ry[] ax1", "rx[] ry[] ay2"], {"G2-item"}),
    "G2-item: read-only transaction": (["ry[] ay1", "rx[] ry[] ax2", "rx[] ry[1]", "rx[2] ry[1]"], {"G2-item"}),
    "G-nonadjacent: long fork": (["ax1", "ay2", "rx[1] ry[]", "rx[] ry[2]"], {"G-nonadjacent"}),
    "own append not read": (["ax1 rx[]"], {"internal"}),
    "own append not last": (["ax1 rx[1 2]", "ax2"], {"internal"}),
    "read before its own append": (["rx[1] ax1"], {"internal"}),
    "an element twice": (["ax1", "ax2", "rx[1 2 1]"], {"duplicate element", "G0"}),
    "orders do not agree": (["ax1", "ax2", "rx[1 2]", "rx[2 1]"], {"incompatible order"}),
    "an element from nowhere": (["ax1", "rx[1 9]"], {"invented element"}),
    "unknown and read: applied": ([("ax1 ry?", "unknown"), "rx[1]"], set()),
    "unknown and not read": ([("ax1", "unknown"), "rx[]"], set()),
    "unknown, applied, in a cycle": ([("ax1 ay2", "unknown"), "ax3 ay4", "rx[1 3] ry[4 2]"], {"G0"}),
    "failed and not read": ([("ax1", "fail"), "rx[]"], set()),
}  # fmt: skip


def history(lines: list[str | tuple[str, str]]) -> list[Txn]:
    return [txn(seq, *((line,) if isinstance(line, str) else line)) for seq, line in enumerate(lines, 1)]


@pytest.mark.parametrize(("lines", "expected"), VERDICTS.values(), ids=VERDICTS)
def test_verdict(lines: list[str | tuple[str, str]], expected: set[str]) -> None:
    found = analyse(history(lines))
    assert {each.kind for each in found.anomalies} == expected
    backwards = analyse([replace(each, sent_us=-each.seq) for each in reversed(history(lines))])
    assert {each.kind for each in backwards.anomalies} == expected


def test_cycle_is_shortest_and_explained() -> None:
    lines = ["rx[] ry[] rz[] ax1", "rx[] ry[] rz[] ay2", "rx[] ry[] rz[] az3", "rx[1] ry[2] rz[3]"]
    found = analyse(history(lines)).first("G2-item")
    assert found is not None
    assert len(found.txns) == 2
    text = "\n".join(found.lines())
    assert "T1: r x [], r y [], r z [], append x 1" in text
    assert "T1 -rw-> T2: T1 read y as [], without 2, which T2 appended" in text


def test_lost_and_stale_reads() -> None:
    sent = [txn(1, "ax1", at=(0, 10)), txn(2, "rx[]", at=(20, 30))]
    assert [each.kind for each in analyse(sent).anomalies] == ["lost append"]
    assert "T1 was acknowledged with element 1 of x before T2 was sent" in analyse(sent).anomalies[0].detail
    later = [*sent, txn(3, "rx[1]", at=(40, 50))]
    assert [each.kind for each in analyse(later).anomalies] == ["stale read"]
    overlapping = [txn(1, "ax1", at=(0, 20)), txn(2, "rx[]", at=(20, 30))]
    assert analyse(overlapping).anomalies == ()
    other_clock = [sent[0], replace(sent[1], clock="other")]
    assert analyse(other_clock).anomalies == ()


def test_serializable_but_not_strictly() -> None:
    # T1 ended before T2 was sent, yet T3, which overlaps both, orders T2 before T1.
    lines = [txn(1, "ax1", at=(0, 10)), txn(2, "ry[]", at=(20, 30)), txn(3, "rx[] ay2", at=(0, 40)),
             txn(4, "rx[1] ry[2]", at=(50, 60))]  # fmt: skip
    found = analyse(lines)
    assert found.anomalies == ()
    assert found.strict is not None
    assert {step.kind for step in found.strict.steps} == {"rw", "rt"}
    apart = [replace(each, clock=str(each.seq)) for each in lines]
    assert analyse(apart).strict is None


def test_counts() -> None:
    found = analyse(history(["ax1", ("ax2", "unknown"), ("ax3", "unknown"), ("ax4", "fail"), "rx[1 2]"]))
    assert (found.committed, found.unknown, found.resolved, found.failed) == (2, 2, 1, 1)
    assert (found.operations, found.reads) == (5, 1)


def test_element_appended_twice_is_no_history() -> None:
    with pytest.raises(ValueError, match="element 1 of x is appended twice"):
        analyse(history(["ax1", "ax1"]))


def test_levels_forbid_what_the_manual_excludes() -> None:
    assert "G-single" not in FORBIDDEN["READ COMMITTED"]
    assert {"G1a", "G1b", "G1c", "G0"} <= set(FORBIDDEN["READ UNCOMMITTED"])
    assert "G-single" in FORBIDDEN["REPEATABLE READ"]
    assert "G2-item" not in FORBIDDEN["REPEATABLE READ"]
    assert "G2-item" in FORBIDDEN["SERIALIZABLE"]


@pytest.mark.parametrize("seed", range(20))
def test_serial_histories_have_no_anomaly(seed: int) -> None:
    found = analyse(run("SERIALIZABLE", 300, seed=seed, unknown=0.1))
    assert found.anomalies == ()
    assert found.strict is None
    assert found.reads > 100


@pytest.mark.parametrize("seed", range(10))
def test_interpreter_at_the_levels_shows_what_they_allow(seed: int) -> None:
    for level, control in (("READ COMMITTED", "G-single"), ("REPEATABLE READ", "G2-item")):
        found = analyse(run(level, 600, seed=seed, unknown=0.05))
        assert found.forbidden(level) == [], level
        assert found.first(control), level


def drop_element(history: list[Txn], chance: random.Random) -> str:
    """One read lacks an element in its middle."""
    index, place, elements = pick(history, chance, least=3)
    at = chance.randrange(len(elements) - 1)
    change(history, index, place, elements[:at] + elements[at + 1 :])
    return "incompatible order"


def repeat_element(history: list[Txn], chance: random.Random) -> str:
    index, place, elements = pick(history, chance, least=2)
    change(history, index, place, (*elements, elements[0]))
    return "duplicate element"


def invent_element(history: list[Txn], chance: random.Random) -> str:
    index, place, elements = pick(history, chance, least=1)
    change(history, index, place, (*elements, 10**9))
    return "invented element"


def read_stale(history: list[Txn], chance: random.Random) -> str:
    """One read returns what was there at the beginning: transactions that ended before are missing."""
    index, place, _ = pick(history, chance, least=1, own=False)
    change(history, index, place, ())
    return "stale read"


def fail_committed(history: list[Txn], chance: random.Random) -> str:
    """A transaction whose element was read had been answered with a failure."""
    read = {e for each in history for op in each.ops if op[0] == "r" for e in op[2] or ()}
    candidates = []
    for index, each in enumerate(history):
        own = {op[1]: op[2] for op in each.ops if op[0] == "append"}
        if read & set(own.values()) and not any(op[0] == "r" and op[1] in own for op in each.ops):
            candidates.append(index)
    at = chance.choice(candidates)
    history[at] = replace(history[at], outcome="fail")
    return "G1a"


def lose_append(history: list[Txn], chance: random.Random) -> str:
    """An acknowledged element is in no list."""
    element = chance.choice([e for each in history for op in each.ops if op[0] == "r" for e in op[2][:-1]])
    for index, each in enumerate(history):
        ops = tuple((*op[:2], tuple(e for e in op[2] if e != element)) if op[0] == "r" else op for op in each.ops)
        history[index] = replace(each, ops=ops)
    return "lost append"


def pick(
    history: list[Txn], chance: random.Random, *, least: int, own: bool = True
) -> tuple[int, int, tuple[int, ...]]:
    """A read of at least this many elements; with `own` false none whose transaction appends to the key."""
    reads = [
        (index, place, op[2])
        for index, each in enumerate(history)
        for place, op in enumerate(each.ops)
        if op[0] == "r" and len(op[2]) >= least and (own or ("append", op[1]) not in {o[:2] for o in each.ops})
    ]
    return chance.choice(reads)


def change(history: list[Txn], index: int, place: int, elements: tuple[int, ...]) -> None:
    ops = list(history[index].ops)
    ops[place] = (*ops[place][:2], elements)
    history[index] = replace(history[index], ops=tuple(ops))


MUTATIONS = [drop_element, repeat_element, invent_element, read_stale, fail_committed, lose_append]


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("seed", range(10))
def test_injected_anomaly_is_found_at_every_level(mutate: object, seed: int) -> None:
    history = run("SERIALIZABLE", 200, seed=seed)
    expected = mutate(history, random.Random(seed))  # type: ignore[operator]
    found = analyse(history)
    assert found.anomalies, expected
    assert expected in {each.kind for each in found.anomalies}
    assert found.forbidden("READ COMMITTED")


@pytest.mark.parametrize("seed", range(10))
def test_two_elements_that_changed_places_are_found(seed: int) -> None:
    """Where no other list has both, they are only an order of two transactions against what others show."""
    history, chance = run("SERIALIZABLE", 200, seed=seed), random.Random(seed)
    index, place, elements = pick(history, chance, least=2)
    change(history, index, place, (*elements[:-2], elements[-1], elements[-2]))
    found = analyse(history)
    assert found.forbidden("SERIALIZABLE") or found.strict


@pytest.mark.parametrize("seed", range(5))
def test_two_transactions_of_one_snapshot_are_write_skew(seed: int) -> None:
    # Injected into a serial history: two transactions with the snapshot of the same instant, on two new keys.
    history = run("SERIALIZABLE", 100, seed=seed)
    at = history[50].sent_us
    skew = [txn(1001, "rx[] ry[] ax1", at=(at, at + 40)), txn(1002, "rx[] ry[] ay2", at=(at, at + 40))]
    found = analyse([*history, *skew, txn(1003, "rx[1] ry[2]", at=(at + 50, at + 60))])
    assert [each.kind for each in found.anomalies] == ["G2-item"]
    assert not found.forbidden("REPEATABLE READ")
    assert found.forbidden("SERIALIZABLE")


def test_mixed_clients_with_long_lists() -> None:
    spec = Transactions(kind="list-append", keys=4, most_ops=8, period=1000)
    found = analyse(run("READ COMMITTED", 2000, clients=20, spec=spec))
    assert not found.forbidden("READ COMMITTED")
    assert found.first("G-single")
