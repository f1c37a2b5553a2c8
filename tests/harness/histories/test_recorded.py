"""The transactions of a load, drawn again from the seed; their file for Elle; the history of a bank."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.histories import elle
from harness.histories.bank import analyse_bank
from harness.histories.recorded import Recorded, recorded, transactions
from harness.load.transactions import Transactions
from tests.support.histories import history

DRAWN = Transactions(kind="list-append", keys=4)


def samples(*rows: tuple[int, int, str]) -> Any:
    count = len(rows)
    return history(*((sent, done, outcome, None) for sent, done, outcome in rows), key=["list-x-0"] * count)


def answers(seq: int) -> list[Any]:
    """Results of the transaction as if its lists were empty."""
    return [[] if op[0] == "r" else None for op in DRAWN.draw(5, seq, str)]


def test_operations_are_drawn_again_and_results_are_matched_by_number() -> None:
    rows = samples((0, 9, "ok"), (1, 8, "unknown"), (2, 7, "fail"))
    captures = [{"seq": 1, "results": answers(1)}, {"seq": 0, "results": answers(0)}]
    found = recorded(rows, captures, DRAWN, seed=5, one_clock=True)
    assert [each.ops for each in found] == [DRAWN.draw(5, seq, "list-x-{}".format) for seq in range(3)]
    assert [each.results for each in found] == [answers(0), None, None]
    assert [(each.outcome, each.sent_us, each.done_us, each.clock) for each in found] == [
        ("ok", 0, 9, ""), ("unknown", 1, 8, ""), ("fail", 2, 7, ""),
    ]  # fmt: skip
    apart = recorded(rows, captures, DRAWN, seed=5, one_clock=False)
    assert {each.clock for each in apart} == {"load-1"}
    assert not any(each.unreadable for each in found)


@pytest.mark.parametrize(
    "results",
    [None, {}, [], [None] * 9, ["x"] * len(answers(0)), [[1.5]] * len(answers(0)), [[True]] * len(answers(0)),
     [0] * len(answers(0))],
)  # fmt: skip
def test_an_acknowledgement_without_usable_results_is_unreadable(results: Any) -> None:
    (one,) = recorded(samples((0, 9, "ok")), [{"seq": 0, "results": results}], DRAWN, seed=5, one_clock=True)
    assert one.unreadable
    (txn,) = transactions([one])
    assert all(op[2] is None for op in txn.ops if op[0] == "r")


def request(seq: int, ops: list[Any], results: Any, *, at: tuple[int, int] = (0, 1), outcome: Any = "ok") -> Recorded:
    return Recorded(seq=seq, ops=ops, results=results, outcome=outcome, sent_us=at[0], done_us=at[1], clock="")


def test_lines_for_elle() -> None:
    requests = [
        request(7, [["r", "x"], ["append", "x", 1]], [[], None], at=(10, 30)),
        request(8, [["append", "x", 2]], None, at=(20, 40), outcome="unknown"),
        request(9, [["r", "x"]], None, at=(50, 60), outcome="fail"),
        request(10, [["r", "x"]], [[1, 2]], at=(55, 70)),
    ]
    lines = json.loads("\n".join(elle.lines(requests)))
    assert [(each["type"], each["process"], each["time"]) for each in lines] == [
        ("invoke", 0, 10_000), ("invoke", 1, 20_000), ("ok", 0, 30_000), ("info", 1, 40_000),
        ("invoke", 0, 50_000), ("invoke", 2, 55_000), ("fail", 0, 60_000), ("ok", 2, 70_000),
    ]  # fmt: skip
    assert [each["index"] for each in lines] == list(range(8))
    assert {each["f"] for each in lines} == {"txn"}
    assert lines[0]["value"] == [["r", "x", None], ["append", "x", 1]]
    assert lines[2]["value"] == [["r", "x", []], ["append", "x", 1]]
    assert lines[7]["value"] == [["r", "x", [1, 2]]]


def test_the_file_has_one_object_per_line() -> None:
    lines = list(elle.lines([request(n, [["append", "x", n]], [None]) for n in range(3)]))
    assert [line[:9] for line in lines] == ['[{"index"', *[',{"index"'] * 5, "]"]
    assert json.loads("".join(elle.lines([]))) == []


def test_a_process_has_one_transaction_at_a_time() -> None:
    requests = [request(n, [["append", "x", n]], [None], at=(n % 7, n % 7 + n % 5 + 1)) for n in range(100)]
    open_on: set[int] = set()
    for line in json.loads("\n".join(elle.lines(requests))):
        assert (line["process"] in open_on) == (line["type"] != "invoke")
        (open_on.add if line["type"] == "invoke" else open_on.discard)(line["process"])
    assert not open_on


READ = [["r", "a"], ["r", "b"]]


def test_bank_totals_and_overdrafts() -> None:
    good = [
        request(1, READ, [[], []], at=(0, 1)),
        request(2, [["transfer", "a", "b", 30]], [[100, 100]], at=(2, 3)),
        request(3, [["transfer", "a", "b", 80]], [[70, 130]], at=(4, 5)),
        request(4, READ, [[70], [130]], at=(6, 7)),
        request(5, READ, None, at=(8, 9), outcome="fail"),
    ]
    found = analyse_bank(good, 2)
    assert (found.reads, found.transfers, found.refused, found.total, found.last) == (2, 1, 1, 200, 200)
    assert (found.wrong, found.overdrawn, found.least, found.most) == ((), (), 200, 200)
    lost = analyse_bank([*good, request(6, READ, [[70], [100]], at=(10, 11))], 2)
    assert lost.wrong == ("request 6 read a total of 170 instead of 200: a 70, b 100",)
    assert (lost.least, lost.last) == (170, 170)
    over = analyse_bank([*good, request(6, READ, [[-5], [205]], at=(10, 11))], 2)
    assert (over.wrong, over.overdrawn) == ((), ("request 6 read -5 on a",))
    read = analyse_bank([request(6, [["transfer", "a", "b", 30]], [[-1, 201]])], 2)
    assert read.overdrawn == ("request 6 read -1 on a",)
