from __future__ import annotations

import math
import random

import pytest

from harness.load.steady_state import Row, is_steady, together, trend

FLAT: list[Row] = [(5000, 10.0)] * 13
"""At 20,000 requests per second a stretch of a second and a half shows what has to be seen."""


def rates(*done: int) -> list[Row]:
    """A first step, then these rates with a constant p95."""
    return [(0, None), *((n, 10.0) for n in done)]


def tails(*p95: float | None) -> list[Row]:
    """A first step, then these p95s with a constant rate."""
    return [(0, None), *((5000, ms) for ms in p95)]


def steps(*levels: tuple[int, int]) -> list[int]:
    """Requests per step: (how many steps, requests) one after another."""
    return [done for number, done in levels for _ in range(number)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (FLAT, True),
        (FLAT[:12], False),
        ([], False),
        ([(10, 90.0), *FLAT], True),
        (rates(400, *steps((12, 5000))), True),
        (rates(*steps((6, 5000), (6, 5600))), False),
        (rates(*steps((6, 5000), (6, 5200))), True),
        (rates(*steps((16, 20), (16, 21))), True),
        (rates(*steps((16, 20), (16, 60))), False),
        (rates(*steps((8, 5000), (8, 6000))), False),
        (rates(100, 300, *steps((16, 6000))), True),
        (tails(*[25.0] * 6, *[10.0] * 6), False),
        (tails(*[10.0] * 6, *[11.5] * 6), True),
        (tails(*[0.10] * 6, *[0.25] * 6), True),
        (tails(*[None] * 6, *[5.0] * 6), True),
        (rates(*[0] * 40), False),
        (rates(*[1] * 32), False),
        (rates(*[2] * 32), True),
    ],
    ids=[
        "flat", "too few steps to tell", "nothing", "slow first step", "odd one left out", "risen by an eighth",
        "noise", "noise of few", "few, risen", "risen within four seconds", "risen long ago", "falling p95",
        "p95 noise", "grain", "some carry no p95", "dead", "too few to tell", "few but enough",
    ],
)  # fmt: skip
def test_is_steady(rows: list[Row], expected: bool) -> None:
    assert is_steady(rows) is expected


def counts(draw: random.Random, seconds: float, rate: float, growth: float, noise: float) -> list[int]:
    """Requests per step of a Poisson load that grows by a share per second; its rate wanders (AR(1), 0.5)."""
    found, wander = [], 0.0
    for step in range(round(seconds * 4)):
        wander = 0.5 * wander + draw.gauss(0, noise * math.sqrt(0.75))
        mean = rate / 4 * (1 + growth) ** (step / 4) * (1 + wander)
        found.append(max(0, round(draw.gauss(mean, math.sqrt(mean)))))
    return found


def warmups_found_steady(rate: float, growth: float, noise: float) -> float:
    """Share of 200 warm-ups of up to nine seconds, looked at after each step, that end because they are steady."""
    draw, ended = random.Random(7), 0
    for _ in range(200):
        rows: list[Row] = [(number, None) for number in counts(draw, 9.0, rate, growth, noise)]
        ended += any(is_steady(rows[:number]) for number in range(8, len(rows) + 1))
    return ended / 200


@pytest.mark.parametrize("rate", [100, 500, 4000, 20_000])
def test_noise_is_steady_and_a_rate_that_grows_a_tenth_per_second_is_not(rate: float) -> None:
    assert warmups_found_steady(rate, 0.0, 0.0) > 0.95
    assert warmups_found_steady(rate, 0.0, 0.03) > 0.95
    assert warmups_found_steady(rate, 0.10, 0.03) < 0.10
    assert warmups_found_steady(rate, -0.10, 0.03) < 0.15  # fewer requests, more chance
    assert warmups_found_steady(rate, 0.30, 0.03) < 0.02


def windows_with_a_trend(seconds: float, rate: float, growth: float, noise: float) -> float:
    draw = random.Random(5)
    return sum(bool(trend(counts(draw, seconds, rate, growth, noise))) for _ in range(400)) / 400


@pytest.mark.parametrize("seconds", [2.0, 4.75, 10.0, 59.0])
@pytest.mark.parametrize("rate", [200, 5000])
def test_a_steady_window_has_no_trend(seconds: float, rate: float) -> None:
    assert windows_with_a_trend(seconds, rate, 0.0, 0.0) <= 0.03
    assert windows_with_a_trend(seconds, rate, 0.0, 0.03) <= 0.04


@pytest.mark.parametrize(("seconds", "rate"), [(4.0, 5000), (6.0, 1000), (6.0, 200), (20.0, 200)])
def test_a_rate_that_grows_in_the_window_is_a_trend(seconds: float, rate: float) -> None:
    assert windows_with_a_trend(seconds, rate, 0.10, 0.03) >= 0.95
    assert windows_with_a_trend(seconds, rate, -0.10, 0.03) >= 0.85


def test_a_trend_is_the_change_over_the_window() -> None:
    assert trend([1000 + 50 * step for step in range(10)]) == pytest.approx(500 / 1225)
    assert trend([1000] * 10) == trend([1000 + step for step in range(10)]) == 0.0
    assert trend([1000] * 5) is trend([]) is trend([0] * 20) is None
    assert trend([100, *[1000] * 10, *[1000] * 10]) == 0.0  # a step that fills no group is left out


def test_stripes_are_merged_by_sum_and_greatest_p95() -> None:
    assert together([(3, 1.5), (4, None), (5, 9.0)]) == (12, 9.0)
    assert together([(0, None)]) == (0, None)
