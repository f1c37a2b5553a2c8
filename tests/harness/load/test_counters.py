from __future__ import annotations

import pytest

from harness.load.counters import OTHERS, TABLE_LIMIT, Columns, MeasuredWindow, PhaseCounters
from harness.load.results.stalls import MOST
from tests.support.summaries import histogram_of

ROWS = Columns([0, 5, 10, 15], [1, 6, 12, 15], [7, 8, 30, 3000], bytes([0, 1, 2, 0]), [0, 2, 1, 0])
ERRORS = ["", "reset", "40P01"]
NONE = Columns([], [], [], b"", [])


@pytest.mark.parametrize(
    ("at_us", "early", "late"),
    [
        (0, NONE, ROWS),
        (16, ROWS, NONE),
        (
            10,
            Columns([0, 5], [1, 6], [7, 8], bytes([0, 1]), [0, 2]),
            Columns([10, 15], [12, 15], [30, 3000], bytes([2, 0]), [1, 0]),
        ),
    ],
)
def test_requests_are_split_by_due_time(at_us: float, early: Columns, late: Columns) -> None:
    assert ROWS.split(at_us) == (early, late)


def test_a_batch_without_errors_is_split_too() -> None:
    early, late = ROWS._replace(error=[]).split(10)
    assert early.error == late.error == []


def test_a_phase_counts_outcomes_errors_and_durations() -> None:
    phase = PhaseCounters()
    phase.count(ROWS, ERRORS)
    phase.count(ROWS._replace(error=[]), ERRORS)
    assert phase.second_outcomes == [4, 2, 2]
    assert phase.errors == {"40P01": 1, "reset": 1}
    assert phase.second_latency == histogram_of([7, 3, 20, 2985] * 2)
    assert phase.last_done_us == 3000
    phase.end_second()
    assert phase.second_outcomes == [0, 0, 0]
    assert phase.second_latency == {}
    assert phase.outcomes == [4, 2, 2]
    assert phase.service == histogram_of([6, 2, 18, 2985] * 2)


def test_the_errors_of_a_phase_are_bounded() -> None:
    phase, number = PhaseCounters(), TABLE_LIMIT + 50
    texts = ["", *(f"error {n}" for n in range(number))]
    zeros = [0] * number
    phase.count(Columns(zeros, zeros, zeros, bytes(number), list(range(1, number + 1))), texts)
    assert len(phase.errors) == TABLE_LIMIT + 1
    assert phase.errors[OTHERS] == 50


@pytest.mark.parametrize(
    ("begin_us", "until_us", "outcomes", "busy_us"),
    [
        (0, 10_000, [2, 1, 1], 6 + 2 + 18 + 2985),
        (8, 10_000, [1, 1, 1], 18 + 2985),
        (7, 30, [1, 1, 0], 1 + 18 + 15),
        (4000, 5000, [0, 0, 0], 0),
    ],
)
def test_a_window_counts_what_is_inside_it(begin_us: int, until_us: int, outcomes: list[int], busy_us: int) -> None:
    window = MeasuredWindow()
    window.begin_us, window.until_us = begin_us, until_us
    window.count(ROWS)
    assert (window.outcomes, window.busy_us) == (outcomes, busy_us)


def test_the_latency_of_requests_that_were_not_acknowledged_is_kept_apart() -> None:
    phase = PhaseCounters()
    phase.count(ROWS, ERRORS)
    phase.end_second()
    assert phase.refused == histogram_of([3, 20])
    assert phase.latency == histogram_of([7, 3, 20, 2985])


def batch(*requests: tuple[int, int]) -> Columns:
    """Requests as (sent, done) in ms, due when sent, all acknowledged."""
    sent, done = ([at * 1000 for at in times] for times in zip(*requests, strict=True))
    return Columns(sent, sent, done, bytes(len(done)), [])


@pytest.mark.parametrize(
    ("batches", "stalls"),
    [
        ([batch((100, 105), (105, 110), (110, 1110), (1110, 1112))], [(110, 1110)]),
        ([batch((100, 105)), batch((105, 305))], [(105, 305)]),
        # nothing was in flight until the request of 400 ms was sent
        ([batch((100, 105), (400, 440))], [(400, 440)]),
        # a request sent late is answered first, the older one after it: both were waited for
        ([batch((100, 105), (440, 441), (200, 442))], [(200, 441)]),
        ([batch((100, 109), (109, 118))], []),
        # the window is from 100 to 2,000 ms
        ([batch((10, 20), (20, 150))], [(100, 150)]),
        ([batch((1900, 1990), (1990, 2500))], [(1900, 1990), (1990, 2000)]),
    ],
)
def test_a_stall_is_a_stretch_with_requests_in_flight_and_no_response(
    batches: list[Columns], stalls: list[tuple[int, int]]
) -> None:
    window = MeasuredWindow()
    window.begin_us, window.until_us = 100_000, 2_000_000
    for rows in batches:
        window.count(rows)
    assert window.stalls == [(start * 1000, end * 1000) for start, end in stalls]


def test_only_the_longest_stalls_are_kept() -> None:
    window = MeasuredWindow()
    window.begin_us, window.until_us = 0, 1 << 60
    for n in range(1000):
        window.count(batch((100 * n, 100 * n + 10 + n % 80)))
    assert len(window.stalls) <= 2 * MOST + 1
    assert max(end - start for start, end in window.stalls) == 89_000
