"""The stalls that several processes or lanes have in common."""

from __future__ import annotations

import pytest

from harness.load.results.stalls import common, longest, longest_ms, together_stalls

S = 1_000_000


@pytest.mark.parametrize(
    ("parts", "shared"),
    [
        ([[(0, S)]], [(0, S)]),
        ([[(0, S)], [(S // 2, 2 * S)]], [(S // 2, S)]),
        ([[(0, S), (2 * S, 3 * S)], [(S // 2, 5 * S)]], [(S // 2, S), (2 * S, 3 * S)]),
        ([[(0, S)], []], []),
        ([[(0, S)], [(S, 2 * S)]], []),
        ([[(0, 3 * S)], [(S, 2 * S)], [(0, S + 9_000)]], []),
    ],
)
def test_a_stall_of_several_parts_is_one_of_each(
    parts: list[list[tuple[int, int]]], shared: list[tuple[int, int]]
) -> None:
    assert common(parts) == shared


def test_a_part_that_has_ended_does_not_end_the_stall_of_another() -> None:
    assert together_stalls([([], S), ([(0, 5 * S)], 5 * S)]) == ((S, 5 * S),)
    assert together_stalls([([], S), (None, S)]) is None
    assert together_stalls([([(0, S)], None)]) == ((0, S),)


def test_the_longest_stalls_stay_in_order() -> None:
    assert longest([(0, 5), (10, 30), (40, 50)], most=2) == [(10, 30), (40, 50)]
    assert longest_ms([(0, 5_000), (10_000, 30_000)]) == 20
    assert longest_ms([]) == 0
