"""The history of a bank: the total of all accounts in each read of them, and overdrafts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.histories.recorded import Recorded
from harness.load.transactions import OPENING_BALANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class BankAnalysis:
    """What a history proves. `wrong` and `overdrawn`: sentences, the earliest first."""

    reads: int
    transfers: int
    """Acknowledged transfers that moved an amount; `refused` are those whose account did not have it."""
    refused: int
    total: int
    least: int
    most: int
    last: int | None
    """The total in the read that was sent last; None without reads."""
    wrong: tuple[str, ...]
    overdrawn: tuple[str, ...]


def analyse_bank(requests: Sequence[Recorded], accounts: int) -> BankAnalysis:
    """Checks each acknowledged read of all accounts, and each balance that a transfer read."""
    total = accounts * OPENING_BALANCE
    totals: list[int] = []
    wrong, overdrawn = [], []
    moved = refused = 0
    for each in sorted(requests, key=lambda request: (request.sent_us, request.seq)):
        if each.results is None:
            continue
        if each.ops[0][0] == "transfer":
            _, source, goal, amount = each.ops[0]
            balances = dict(zip((source, goal), each.results[0], strict=True))
            moved += balances[source] >= amount
            refused += balances[source] < amount
        else:
            keys = [op[1] for op in each.ops]
            balances = {
                key: read[-1] if read else OPENING_BALANCE for key, read in zip(keys, each.results, strict=True)
            }
            totals.append(sum(balances.values()))
            if totals[-1] != total:
                text = ", ".join(f"{key} {balance}" for key, balance in balances.items())
                wrong.append(f"request {each.seq} read a total of {totals[-1]:,} instead of {total:,}: {text}")
        overdrawn += [
            f"request {each.seq} read {balance:,} on {key}" for key, balance in balances.items() if balance < 0
        ]
    return BankAnalysis(
        reads=len(totals), transfers=moved, refused=refused, total=total, least=min(totals, default=total),
        most=max(totals, default=total), last=totals[-1] if totals else None, wrong=tuple(wrong),
        overdrawn=tuple(overdrawn),
    )  # fmt: skip
