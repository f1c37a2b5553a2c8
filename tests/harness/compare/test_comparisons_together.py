"""Several comparisons with one baseline: a false claim in all of them is as unlikely as in one."""

from __future__ import annotations

import random

import pytest

from harness.compare.compare import compare
from harness.compare.table import text
from tests.support.comparisons import run, sides, simulated, verdicts


def test_p_is_multiplied_by_the_number_of_comparisons() -> None:
    a, b = simulated(random.Random(1), slower=1.0), simulated(random.Random(2), slower=1.1)
    one, three = (compare(run(a), run(b, "B"), comparisons=n) for n in (1, 3))
    assert [row.p for row in three.rows] == pytest.approx([min(1.0, 3 * (row.p or 0.0)) for row in one.rows])
    assert three.comparisons == 3
    assert "Holm-corrected over the 4 rows tested and over 3 comparisons" in text(three)
    assert "comparisons" not in text(one)


def test_a_difference_that_one_comparison_shows_many_do_not() -> None:
    a, b = sides(random.Random(3), slower=1.2)
    assert verdicts(compare(a, b)) == {"slower"}
    assert verdicts(compare(a, b, comparisons=10_000)) == {"~"}


def test_more_comparisons_need_more_trials() -> None:
    a, b = simulated(random.Random(1), trials=6), simulated(random.Random(2), trials=6)
    one, many = (compare(run(a), run(b, "B"), comparisons=n) for n in (1, 40))
    assert one.needed < many.needed
    assert verdicts(many) == {"too few trials"}
