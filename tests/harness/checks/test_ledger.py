"""The ledger check with ledgers that agree with the samples and ledgers that do not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from harness.checks.counter_oracle import check_final_value
from harness.checks.ledger import check_ledger
from harness.record import distinct
from tests.support.histories import CELL, grown, history, serial

LEDGER = {"a": ("hot-0", 1), "b": ("hot-0", 2)}


def test_a_ledger_that_agrees_passes() -> None:
    samples = history((0, 5, "ok", 1), (6, 9, "unknown", None), (10, 20, "fail", None), id=["a", "b", "c"])
    assert check_ledger(CELL, samples, grown(2, ledger=LEDGER)).verdict == "pass"


@pytest.mark.parametrize(
    ("outcomes", "ledger", "final", "problem"),
    [
        (("ok", "ok"), {"a": ("hot-0", 1)}, 1, "acknowledged but absent"),
        (("ok", "fail"), LEDGER, 2, "refused but applied"),
        (("ok", "ok"), {"a": ("hot-0", 1), "b": ("hot-0", 7)}, 2, "another value"),
        (("ok", "ok"), {**LEDGER, "z": ("hot-0", 3)}, 3, "never sent"),
        (("ok", "ok"), LEDGER, 3, "rows differ"),
    ],
)
def test_a_ledger_that_differs_fails(
    outcomes: tuple[str, str], ledger: dict[str, tuple[str, int]], final: int, problem: str
) -> None:
    samples = history((0, 5, outcomes[0], 1), (6, 9, outcomes[1], 2), id=["a", "b"])
    found = check_ledger(CELL, samples, grown(final, ledger=ledger))
    assert found.verdict == "fail"
    assert problem in found.numbers["problems"]


@pytest.mark.parametrize(
    ("requests", "verdict"),
    [
        ([(0, 5, "ok", 1), (4, 9, "ok", 1)], "pass"),
        ([(0, 5, "unknown", None), (4, 9, "ok", 1)], "pass"),
        ([(0, 5, "fail", None), (4, 9, "ok", 1)], "pass"),
        ([(0, 5, "ok", 1), (4, 9, "ok", 2)], "fail"),  # another value
        ([(0, 5, "ok", 1), (6, 9, "ok", 1)], "fail"),  # no twin: the first had ended
        ([(0, 5, "ok", 1), (4, 9, "ok", 1), (4, 9, "ok", 1)], "fail"),
        ([(0, 5, "fail", None), (4, 9, "fail", None)], "fail"),  # refused but applied
    ],
)
def test_only_twins_may_have_one_id(requests: list[tuple[int, int, str, int | None]], verdict: str) -> None:
    samples = history(*requests, id=["a"] * len(requests))
    assert check_ledger(CELL, samples, grown(1, ledger={"a": ("hot-0", 1)})).verdict == verdict


@pytest.mark.parametrize(
    ("outcomes", "joined"),
    [(("ok", "fail"), "ok"), (("fail", "unknown"), "unknown"), (("unknown", "ok"), "ok"), (("fail", "fail"), "fail")],
)
def test_twins_are_one_increment_from_the_first_send_to_the_first_acknowledgement(
    outcomes: tuple[str, str], joined: str
) -> None:
    samples = history((0, 9, outcomes[0], 1), (4, 7, outcomes[1], 1), (8, 9, "ok", 2), id=["a", "a", ""])
    once = distinct(samples)  # type: ignore[arg-type]
    assert (once.outcome, list(once.sent_us)) == ([joined, "ok"], [0, 8])
    assert check_final_value(CELL, samples, grown(2 if joined == "ok" else 1)).verdict == "pass"
    assert distinct(once) is once


def test_a_ledger_that_was_not_read_is_unknown() -> None:
    assert check_ledger(CELL, serial([1]), grown(1)).verdict == "unknown"


@pytest.mark.parametrize(
    ("outcome", "grown_by", "verdict"),
    [("ok", 1, "pass"), ("ok", 0, "fail"), ("ok", 2, "fail"), ("fail", 1, "fail"), ("fail", 0, "pass"),
     ("unknown", 0, "pass"), ("unknown", 1, "pass"), ("unknown", 2, "fail")],
)  # fmt: skip
def test_a_request_without_an_id_increments_its_key_without_a_row(outcome: str, grown_by: int, verdict: str) -> None:
    samples, evidence = history((0, 10, "ok", 1), id=["a"]), grown(1, ledger={"a": ("hot-0", 1)})
    others = Counter({("transaction", "other", outcome): 1})
    evidence = replace(evidence, final={**evidence.final, "other": grown_by})
    assert check_ledger(CELL, samples, evidence, others=others).verdict == verdict
