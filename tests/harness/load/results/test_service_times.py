"""The time inside the service that responses report, and the client's times."""

from __future__ import annotations

import math

import pytest

from harness.load.results.service_times import ServiceTimes, sum_up

NAN = math.nan


def of_one(
    duration_ms: float, sent_us: int, done_us: int, begin_us: int = 0, until_us: int = 10_000_000
) -> ServiceTimes:
    return sum_up([duration_ms], [sent_us], [done_us], begin_us, until_us)


@pytest.mark.parametrize(
    ("duration_ms", "most_us"),
    [
        (4.0, None),
        (5.001, None),  # the clocks are read in whole µs, and the duration is rounded
        (5.05, None),  # clocks that differ by a hundredth
        (5.9, 900.0),
        (5.07, 70.0),
        (6.0, None),  # whole milliseconds: from the one before to the one after
        (7.0, 2000.0),
    ],
)
def test_a_response_that_tells_more_time_than_passed_is_counted(duration_ms: float, most_us: float | None) -> None:
    found = of_one(duration_ms, 1_000, 6_000)
    assert (found.told, found.impossible) == (1, most_us is not None)
    assert found.most_us == pytest.approx(most_us or 0.0)


@pytest.mark.parametrize(
    ("sent_us", "done_us", "told", "busy_us"),
    [
        (1_000, 6_000, 1, 4_000),
        (500, 5_500, 1, 3_600),  # nine tenths of its time in flight are within the window
        (8_000, 13_000, 1, 1_600),
        (0, 20_000, 1, 1_800),  # begins before and ends after it
        (0, 999, 0, 0),
        (10_000, 15_000, 0, 0),
    ],
)
def test_a_request_counts_with_its_part_inside_the_window(
    sent_us: int, done_us: int, told: int, busy_us: float
) -> None:
    found = of_one(4.0, sent_us, done_us, 1_000, 10_000)
    assert (found.told, found.impossible) == (told, 0)
    assert found.busy_us == pytest.approx(busy_us)


@pytest.mark.parametrize("duration_ms", [NAN, -1.0])
def test_a_response_without_a_duration_does_not_count(duration_ms: float) -> None:
    assert of_one(duration_ms, 0, 5_000) == ServiceTimes()


def test_an_endless_duration_stays_a_number_that_files_hold() -> None:
    found = of_one(1e199, 0, 5_000)
    assert (found.told, found.impossible, found.busy_us) == (1, 1, 3.6e9)


def test_a_request_that_took_no_time_divides_by_nothing() -> None:
    assert of_one(0.0, 5_000, 5_000) == ServiceTimes(told=1)


def test_sums_are_added_and_the_greatest_excess_is_kept() -> None:
    one = sum_up([1.0, 9.5, NAN], [0, 0, 0], [2_000, 2_000, 2_000], 0, 10_000)
    assert one == ServiceTimes(told=2, busy_us=10_500.0, impossible=1, most_us=7_500.0)
    assert one + one == ServiceTimes(told=4, busy_us=21_000.0, impossible=2, most_us=7_500.0)
