"""Random transactions: the same for the same seed and number, and of the announced kind."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from harness.errors import UsageError
from harness.load.transactions import MOST_OPS, Transactions

LISTS = Transactions(kind="list-append", keys=4, least_ops=2, most_ops=5, period=40)
BANK = Transactions(kind="bank", keys=5)


def draw(spec: Transactions, count: int, seed: int = 1) -> list[list[Any]]:
    return [spec.draw(seed, seq, "k-{}".format) for seq in range(count)]


def test_a_transaction_depends_on_seed_and_number_alone() -> None:
    assert draw(LISTS, 50) == draw(LISTS, 50)
    assert draw(LISTS, 50) != draw(LISTS, 50, seed=2)
    assert draw(LISTS, 50)[17] == LISTS.draw(1, 17, "k-{}".format)


def test_numbers_are_those_of_every_python_version() -> None:
    """A load host and the controller may have different versions of Python."""
    assert LISTS.draw(7, 3, "k-{}".format) == [["r", "k-0"], ["append", "k-2", 50]]


def test_lists_are_read_and_appended_to() -> None:
    drawn = draw(LISTS, 2000)
    assert {len(ops) for ops in drawn} == {2, 3, 4, 5}
    ops = [op for transaction in drawn for op in transaction]
    assert 0.45 < sum(op[0] == "r" for op in ops) / len(ops) < 0.55
    elements = [op[2] for op in ops if op[0] == "append"]
    assert len(set(elements)) == len(elements)
    assert max(elements) < 2000 * MOST_OPS


def test_appends_are_in_the_order_of_their_keys() -> None:
    for ops in draw(LISTS, 500):
        keys = [int(op[1].split("-")[1]) for op in ops if op[0] == "append"]
        assert keys == sorted(keys)


def test_keys_are_few_at_a_time_and_are_replaced() -> None:
    used = Counter(op[1] for ops in draw(LISTS, 400) for op in ops)
    assert len(used) == 4 * (400 // 40) + 3
    window = {op[1] for ops in draw(LISTS, 400)[200:240] for op in ops}
    assert len(window) <= 8
    assert used["k-4"] > used["k-7"]  # Zipf: the first rank more often than the last


def test_transfers_are_between_two_accounts_and_reads_are_of_all() -> None:
    drawn = draw(BANK, 1000)
    reads = [ops for ops in drawn if ops[0][0] == "r"]
    assert all([op[1] for op in ops] == [f"k-{n}" for n in range(5)] for ops in reads)
    assert 400 < len(reads) < 600
    for (transfer,) in (ops for ops in drawn if ops[0][0] != "r"):
        name, source, goal, amount = transfer
        assert name == "transfer"
        assert source != goal
        assert 1 <= amount <= BANK.most_amount


@pytest.mark.parametrize(
    "flaw", [{"keys": 1}, {"keys": 17}, {"least_ops": 0}, {"most_ops": 17}, {"least_ops": 3, "most_ops": 2},
             {"reads": 1.1}, {"period": 3}, {"most_amount": 0}, {"s": 0.0}],
)  # fmt: skip
def test_bad_values_are_refused(flaw: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="transactions: a value is out of range"):
        Transactions(kind="list-append", **flaw)
