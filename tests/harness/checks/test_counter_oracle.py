"""The counter oracle with histories whose verdict is known; every check fails for one of them."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, permutations
from typing import Any

import pytest

from harness.checks.counter_oracle import (
    check_final_value,
    check_real_time_order,
    check_value_sequence,
)
from harness.checks.ledger import check_ledger
from harness.checks.names import PER_REQUEST
from harness.checks.traffic import check_counts
from harness.model import OutcomeCounts
from harness.record import Evidence
from tests.support.histories import CELL, grown, history, serial


def test_an_exact_counter_passes_every_check() -> None:
    samples, evidence = serial([1, 2, 3]), grown(3)
    assert check_final_value(CELL, samples, evidence).verdict == "pass"
    assert check_value_sequence(CELL, samples, evidence).verdict == "pass"
    assert check_real_time_order(CELL, samples).verdict == "pass"


def test_a_lost_update_is_counted_and_the_two_requests_are_named() -> None:
    samples = history((0, 9, "ok", 1), (1, 9, "ok", 1), (20, 29, "ok", 2))
    found = check_final_value(CELL, samples, grown(2))
    assert found.verdict == "fail"
    assert found.numbers["lost"] == 1
    assert "requests 0 (app-1) and 1 (app-2) both returned 1" in found.detail


def test_an_update_without_a_request_is_invented() -> None:
    found = check_final_value(CELL, serial([1, 2]), grown(4))
    assert (found.verdict, found.numbers["invented"]) == ("fail", 2)


def test_a_changed_key_without_requests_fails() -> None:
    evidence = Evidence(initial={}, final={"hot-0": 1, "other": 1})
    found = check_final_value(CELL, serial([1]), evidence)
    assert found.verdict == "fail"
    assert "'other'" in found.detail


def test_an_acknowledged_key_that_is_absent_is_lost() -> None:
    found = check_final_value(CELL, serial([1]), Evidence())
    assert (found.verdict, found.numbers["lost"]) == ("fail", 1)


@pytest.mark.parametrize(("final", "verdict"), [(0, "fail"), (1, "pass"), (2, "pass"), (3, "fail")])
def test_an_unknown_outcome_may_or_may_not_be_applied(final: int, verdict: str) -> None:
    samples = history((0, 5, "ok", 1), (10, 30, "unknown", None))
    assert check_final_value(CELL, samples, grown(final)).verdict == verdict


def test_a_refused_request_must_not_be_applied() -> None:
    samples = history((0, 5, "ok", 1), (10, 30, "fail", None))
    assert check_final_value(CELL, samples, grown(2)).verdict == "fail"


def test_values_count_from_the_initial_value() -> None:
    evidence = Evidence(initial={"hot-0": 100}, final={"hot-0": 102})
    assert check_value_sequence(CELL, serial([101, 102]), evidence).verdict == "pass"
    assert check_value_sequence(CELL, serial([1, 2]), evidence).verdict == "fail"


@pytest.mark.parametrize(
    ("values", "final", "kind"),
    [([1, 1], 2, "doubles"), ([1, 5], 2, "outside"), ([1, None], 2, "outside"), ([1, 3], 3, "gaps")],
)
def test_a_wrong_value_sequence_fails(values: list[int | None], final: int, kind: str) -> None:
    found = check_value_sequence(CELL, serial(values), grown(final))
    assert found.verdict == "fail"
    assert found.numbers[kind] >= 1


def test_a_gap_is_explained_by_an_unknown_and_by_nothing_else() -> None:
    samples = history((0, 5, "ok", 1), (6, 30, "unknown", None), (10, 20, "ok", 3))
    assert check_value_sequence(CELL, samples, grown(3)).verdict == "pass"
    refused = history((0, 5, "ok", 1), (6, 30, "fail", None), (10, 20, "ok", 3))
    assert check_value_sequence(CELL, refused, grown(3)).verdict == "fail"


def test_nothing_acknowledged_is_unknown_never_pass() -> None:
    samples = history((0, 5, "fail", None))
    assert check_value_sequence(CELL, samples, grown(0)).verdict == "unknown"
    assert check_real_time_order(CELL, samples).verdict == "unknown"


def test_a_violation_of_real_time_order_fails() -> None:
    found = check_real_time_order(CELL, history((0, 5, "ok", 2), (6, 9, "ok", 1)))
    assert found.verdict == "fail"
    assert "request 0 had ended with 2 before request 1 was sent" in found.detail


def test_overlapping_requests_may_take_either_order() -> None:
    assert check_real_time_order(CELL, history((0, 50, "ok", 2), (6, 9, "ok", 1))).verdict == "pass"


def test_real_time_order_agrees_with_the_definition() -> None:
    """Against the quadratic definition, on a thousand small random histories."""
    rng = random.Random(5)
    seen = set()
    for _ in range(1000):
        n = rng.randint(2, 6)
        spans = [(start := rng.randint(0, 20), start + rng.randint(1, 8)) for _ in range(n)]
        values = rng.sample(range(1, 9), n)
        samples = history(*((s, d, "ok", v) for (s, d), v in zip(spans, values, strict=True)))
        wrong = any(spans[a][1] < spans[b][0] and values[a] > values[b] for a in range(n) for b in range(n) if a != b)
        assert check_real_time_order(CELL, samples).verdict == ("fail" if wrong else "pass")
        seen.add(wrong)
    assert seen == {True, False}


def test_clocks_of_different_load_hosts_are_not_compared() -> None:
    samples = history((0, 5, "ok", 2), (6, 9, "ok", 1), load_host=["load-1", "load-2"])
    assert check_real_time_order(CELL, samples).verdict == "pass"


def test_times_of_load_hosts_with_one_clock_are_compared() -> None:
    samples = history((0, 5, "ok", 2), (6, 9, "ok", 1), load_host=["load-1", "load-2"])
    assert check_real_time_order(CELL, samples, clock_shared=True).verdict == "fail"
    in_order = history((0, 5, "ok", 1), (6, 9, "ok", 2), load_host=["load-1", "load-2"])
    apart = check_real_time_order(CELL, in_order)
    assert apart.verdict == "pass"
    assert "within each load host" in apart.detail
    assert "within each load host" not in check_real_time_order(CELL, in_order, clock_shared=True).detail


@pytest.mark.parametrize(
    ("requests", "verdict"),
    [
        ([(0, 5, "ok", 1), (10, 20, "ok", 3), (25, 30, "unknown", None)], "fail"),
        ([(0, 5, "ok", 1), (10, 20, "ok", 3), (20, 30, "unknown", None)], "pass"),
        ([(0, 5, "ok", 1), (10, 20, "ok", 3), (25, 30, "unknown", None), (1, 2, "unknown", None)], "pass"),
        ([(0, 5, "ok", 2), (10, 20, "ok", 4), (6, 30, "unknown", None), (7, 30, "unknown", None)], "fail"),
        ([(0, 5, "ok", 2), (10, 20, "ok", 4), (4, 30, "unknown", None), (7, 30, "unknown", None)], "pass"),
    ],
)
def test_a_gap_is_filled_only_by_an_unknown_that_was_sent_in_time(requests: list[Any], verdict: str) -> None:
    """An unknown increment that was sent after a larger value was returned cannot have taken the smaller one."""
    found = check_real_time_order(CELL, history(*requests), grown(4))
    assert found.verdict == verdict
    if verdict == "fail":
        assert "was not returned, and too few of" in found.detail


def test_a_huge_gap_is_counted_and_not_listed() -> None:
    samples = history((0, 5, "ok", 10**15), (10, 20, "unknown", None))
    assert check_real_time_order(CELL, samples, grown(10**15)).numbers["violations"] == 1


def test_linearizability_with_unknowns_agrees_with_brute_force() -> None:
    """Against all orders of all subsets of the unknown increments, with one clock and with one for each load host."""
    rng = random.Random(12)
    results = Counter[tuple[bool, bool]]()
    for _ in range(4000):
        shared, initial = rng.random() < 0.5, rng.randint(0, 1)
        requests = random_history(rng, initial)
        hosts = [rng.choice(["load-1", "load-2"]) for _ in requests]
        samples = history(*requests, load_host=hosts)
        evidence = Evidence(initial={"hot-0": initial}, final={"hot-0": initial + rng.randint(1, len(requests))})
        found = [
            check_final_value(CELL, samples, evidence),
            check_value_sequence(CELL, samples, evidence),
            check_real_time_order(CELL, samples, evidence, clock_shared=shared),
        ]
        linearizable = is_linearizable(requests, hosts, initial, evidence.final["hot-0"], shared=shared)
        assert all(f.verdict != "fail" for f in found) == linearizable, (requests, hosts, evidence, shared)
        results[shared, linearizable] += 1
    assert min(results[shared, good] for shared in (True, False) for good in (True, False)) > 100


Request = tuple[int, int, str, int | None]


def random_history(rng: random.Random, initial: int) -> list[Request]:
    """Returns up to six increments; their values are those of a correct counter, with some of them exchanged."""
    spans = sorted((start := rng.randint(0, 14), start + rng.randint(1, 8)) for _ in range(rng.randint(2, 6)))
    unknown = [rng.random() < 0.4 for _ in spans]
    at = [rng.uniform(start, end + (20 if lost else 0)) for (start, end), lost in zip(spans, unknown, strict=True)]
    if rng.random() < 0.5:
        at = [rng.uniform(0, 30) for _ in spans]
    applied = [not lost or rng.random() < 0.7 for lost in unknown]
    order = sorted((i for i in range(len(spans)) if applied[i]), key=at.__getitem__)
    value = {i: initial + place for place, i in enumerate(order, start=1)}
    return [
        (*span, "unknown" if lost else "ok", None if lost else value[i])
        for i, (span, lost) in enumerate(zip(spans, unknown, strict=True))
    ]


def is_linearizable(requests: list[Request], hosts: list[str], initial: int, final: int, *, shared: bool) -> bool:
    ok = [i for i, request in enumerate(requests) if request[2] == "ok"]
    unknown = [i for i, request in enumerate(requests) if request[2] == "unknown"]
    wanted = final - initial - len(ok)
    if wanted < 0:
        return False

    def may_precede(a: int, b: int) -> bool:
        """Whether `a` may take effect before `b`: `b` had not ended before `a` was sent."""
        ended = requests[b][2] == "ok" and requests[b][1] < requests[a][0]
        return not ended or not (shared or hosts[a] == hosts[b])

    return any(
        all(requests[i][2] != "ok" or requests[i][3] == value for value, i in enumerate(order, start=initial + 1))
        and all(may_precede(a, b) for a, b in combinations(order, 2))
        for chosen in combinations(unknown, wanted)
        for order in permutations([*ok, *chosen])
    )


class TestWithoutSamples:
    """Only the counts of outcomes per key are known."""

    COUNTS = OutcomeCounts({
        ("increment", "a", "ok"): 5, ("increment", "a", "unknown"): 2, ("increment", "b", "ok"): 3,
        ("increment", "b", "fail"): 4, ("read", "b", "ok"): 9,
    })  # fmt: skip

    @pytest.mark.parametrize(
        ("final", "lost", "invented"),
        [
            ({"a": 5, "b": 3}, 0, 0), ({"a": 7, "b": 3}, 0, 0), ({"a": 4, "b": 3}, 1, 0), ({"a": 8, "b": 3}, 0, 1),
            ({"a": 6, "b": 4}, 0, 1), ({"a": 4, "b": 4}, 1, 1), ({"a": 5}, 3, 0), ({"a": 5, "b": 3, "c": 1}, 0, 1),
        ],
    )  # fmt: skip
    def test_each_key_has_its_own_bounds(self, final: dict[str, int], lost: int, invented: int) -> None:
        found = check_final_value(CELL, self.COUNTS, Evidence(final=final))
        assert (found.numbers["lost"], found.numbers["invented"]) == (lost, invented)
        assert found.verdict == ("fail" if lost or invented else "pass")

    def test_the_first_key_that_is_wrong_is_named(self) -> None:
        found = check_final_value(CELL, self.COUNTS, Evidence(initial={"b": 1}, final={"a": 5, "b": 2}))
        assert found.detail == ("2 lost updates; key 'b': 3 acknowledged and 0 unknown, but the value went from 1 to 2")

    def test_nothing_sent_is_unknown(self) -> None:
        assert check_final_value(CELL, OutcomeCounts(), Evidence()).verdict == "unknown"

    def test_checks_of_single_requests_never_pass(self) -> None:
        evidence = Evidence(final={"a": 5, "b": 3}, ledger={})
        found = [
            check_value_sequence(CELL, self.COUNTS, evidence),
            check_real_time_order(CELL, self.COUNTS),
            check_ledger(CELL, self.COUNTS, evidence),
        ]
        assert [f.check for f in found] == list(PER_REQUEST)
        assert {(f.verdict, f.detail) for f in found} == {("unknown", "no samples were kept")}

    @pytest.mark.parametrize(("final", "verdict"), [(7, "fail"), (8, "pass"), (10, "pass"), (11, "fail")])
    def test_the_counts_of_the_layers_are_compared(self, final: int, verdict: str) -> None:
        counts = {"client": 23, "haproxy": 23, "app": 23}
        evidence = Evidence(final={"a": final}, counts=counts)
        assert check_counts(CELL, self.COUNTS, evidence).verdict == verdict
