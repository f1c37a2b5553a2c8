"""Ratios within blocks: drift cancels, invalid trials drop out, an interval that includes the bound decides nothing."""

from __future__ import annotations

import math
import random

import pytest

from harness.analysis import paired
from harness.analysis.block_ratio import INTERVAL_BLOCKS, BlockRatio, by_block, ratio
from harness.analysis.stats import ratio_of_medians
from harness.model import Cell, Trial
from harness.record import TrialResult, Validity


def row(number: int, *, order: int | None = None, validity: Validity = "valid") -> TrialResult:
    trial = Trial(cell=Cell(scenario="scaling"), number=number, order=number if order is None else order, seed=1)
    return TrialResult(trial=trial, validity=validity, figures={})


def found(*ratios: float | None, missing: int = 0) -> BlockRatio:
    """The ratio of blocks with these ratios; None: one trial is invalid. `missing`: blocks that one side lacks."""
    blocks = dict(enumerate(ratios, 1))
    made = ratio(dict.fromkeys(range(1, len(ratios) + 1 + missing), 10.0), {n: r and 10 * r for n, r in blocks.items()})
    assert made is not None
    return made


def test_the_interval_is_that_of_the_signed_rank_test_over_the_ratios() -> None:
    ratios = [7.0, 7.4, 7.2, 7.6, 7.1, 7.3]
    within = paired.interval([math.log(one) for one in ratios])
    made = found(*ratios)
    assert within is not None
    assert made.interval is not None
    assert (made.value, made.interval.low, made.interval.high) == pytest.approx(
        (math.exp(within.value), min(ratios), max(ratios))
    )
    assert made.basis == " [7.00, 7.60]"
    assert INTERVAL_BLOCKS == 6
    assert found(*ratios[:5]).interval is None
    assert found(*ratios[:5]).basis == " (no interval: 5 blocks)"
    assert found(7.0).value == 7.0


def test_what_changes_from_block_to_block_cancels() -> None:
    """A machine that becomes 8 % slower per block: the interval of medians contains any bound, that of blocks none."""
    slower = [0.92**block for block in range(6)]
    one, eight = [50 * speed for speed in slower], [370 * speed for speed in slower]
    made = ratio(dict(enumerate(one)), dict(enumerate(eight)))
    assert made is not None
    assert made.reaches(7.0) is True
    unpaired = ratio_of_medians(one, eight)
    assert unpaired.low < 7.0 < unpaired.high


def test_the_interval_covers_the_truth() -> None:
    rng, covered = random.Random(1), 0
    for _ in range(300):
        a = {n: rng.lognormvariate(0, 0.03) for n in range(6)}
        made = ratio(a, {n: 7 * rng.lognormvariate(0, 0.03) for n in a})
        assert made is not None
        assert made.interval is not None
        covered += made.interval.holds(7.0)
    assert covered >= 280


@pytest.mark.parametrize(
    ("ratios", "reached", "doubt"),
    [
        ((7.0,), True, ""),
        ((6.98,), False, ""),
        ((7.1, 7.2, 7.1), True, ""),
        ((6.9, 6.8), False, ""),
        ((6.9, 7.2), None, "the ratios of 2 blocks are on both sides of the bound"),
        ((7.1, 7.2, 7.3, 7.1, 7.2, 7.4), True, ""),
        ((6.1, 6.2, 6.3, 6.1, 6.2, 6.4), False, ""),
        ((7.1, 7.2, 7.3, 7.1, 7.2, 6.9), None, "the interval includes the bound"),
        ((7.1, 7.2, 7.3, 7.1, 7.2, None), None, "5 of 6 blocks have valid trials of both, an interval needs 6"),
        ((7.1, 7.2, 7.3, 7.1, 7.2, 7.4, None), True, ""),
        ((7.1, None, None, None, None), None, "1 of 5 blocks have valid trials of both"),
        ((7.1, 7.2, None), None, "2 of 3 blocks have valid trials of both"),
    ],
)
def test_the_side_of_a_bound(ratios: tuple[float | None, ...], reached: bool | None, doubt: str) -> None:
    made = found(*ratios)
    assert made.reaches(7.0) is reached
    if doubt:
        assert made.doubt == doubt


def test_a_block_without_one_side_drops_out() -> None:
    assert found(7.0, None, 7.2).ratios == (7.0, 7.2)
    assert found(7.0, None, 7.2, missing=5).measured == 3
    assert ratio({1: 10.0}, {2: 70.0}) is None
    assert ratio({1: 0.0}, {1: 70.0}) is None
    assert ratio({}, {1: 70.0}) is None


def test_a_rate_of_nothing_is_a_ratio_of_nothing() -> None:
    made = found(*[0.0] * 6)
    assert made.value == 0.0
    assert made.reaches(1.8) is False


def test_a_trial_that_was_measured_once_more_takes_the_place_of_the_invalid_one() -> None:
    first, second, again = row(1), row(2, validity="generator_bound"), row(2, order=9)
    assert by_block([(again, 30.0), (first, 10.0), (second, 20.0)]) == {1: 10.0, 2: 30.0}
    assert by_block([(first, 10.0), (second, 20.0)]) == {1: 10.0, 2: None}
    assert by_block([(row(1, validity="timing_doubtful"), 10.0)]) == {1: None}
    assert by_block([(first, None)]) == {1: None}
    assert by_block([(row(2), 20.0), (row(2, order=9, validity="broken"), 30.0)]) == {2: 20.0}
