from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from harness.load.steady_state import Row, is_steady, together

FLAT: list[Row] = [(1000, 10.0)] * 5


def rates(*done: int) -> list[Row]:
    """A first step, then these rates with a constant p95."""
    return [(0, None), *((n, 10.0) for n in done)]


def tails(*p95: float | None) -> list[Row]:
    """A first step, then these p95s with a constant rate."""
    return [(0, None), *((1000, ms) for ms in p95)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (FLAT, True),
        (FLAT[:3], True),
        (FLAT[:2], False),
        ([], False),
        ([(10, 90.0), *FLAT], True),
        (rates(400, 900, 1000), True),
        (rates(400, 900), False),
        (rates(1000, 1000, 1200, 1200), False),
        (rates(1000, 1000, 1060, 1060), True),
        (rates(2000, 2000, 2200, 2200), False),
        (rates(100, 100, 120, 120), True),
        (rates(10, 10, 20, 20), False),
        (rates(*[500] * 8, *[600] * 8), False),
        (rates(*[100, 300], *[600] * 16), True),
        (tails(25.0, 15.0, 12.0, 10.0), False),
        (tails(10.0, 11.0, 11.0, 12.0), True),
        (tails(0.10, 0.10, 0.25, 0.25), True),
        (tails(None, None, 5.0, 5.0), True),
        (rates(0, 0, 0, 0), False),
        (rates(9, 9, 9, 9), False),
        (rates(30, 30, 30, 30), True),
    ],
    ids=[
        "flat", "one against one", "nothing to compare", "nothing", "slow first step", "odd one left out", "rising",
        "risen by a fifth", "noise", "risen by a tenth of many", "risen by a fifth of few", "doubled",
        "risen within four seconds", "risen long ago", "falling p95", "p95 noise", "grain", "some carry no p95",
        "dead", "too few to tell", "few but enough",
    ],
)  # fmt: skip
def test_is_steady(rows: list[Row], expected: bool) -> None:
    assert is_steady(rows) is expected


def warmups(rate: Callable[[float], float]) -> float:
    """Share of 400 warm-ups of two seconds that are steady; `rate`: arrivals per second at a time in s."""
    draw = random.Random(7)

    def arrivals(mean: float) -> int:
        number, remaining = 0, mean
        while (remaining := remaining - draw.expovariate(1.0)) > 0:
            number += 1
        return number

    def p95(number: int) -> float | None:
        return sorted(draw.expovariate(0.1) for _ in range(number))[int(0.95 * number)] if number >= 20 else None

    steady = 0
    for _ in range(400):
        counts = [arrivals(rate(step / 4) / 4) for step in range(8)]
        steady += is_steady([(number, p95(number)) for number in counts])
    return steady / 400


def test_noise_is_steady_and_a_ramp_is_not() -> None:
    assert warmups(lambda _: 400.0) > 0.95
    assert warmups(lambda _: 60.0) > 0.95
    assert warmups(lambda at: 400.0 * (0.5 + at / 2)) < 0.05


def test_stripes_are_merged_by_sum_and_greatest_p95() -> None:
    assert together([(3, 1.5), (4, None), (5, 9.0)]) == (12, 9.0)
    assert together([(0, None)]) == (0, None)
