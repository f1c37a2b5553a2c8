from __future__ import annotations

import base64
import math
import random
import struct
import zlib

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import FormatError
from harness.load.results import histogram
from tests.support.summaries import histogram_of

VALUES = st.integers(min_value=0, max_value=histogram.HIGHEST_US)
REFERENCE = HdrHistogram(1, histogram.HIGHEST_US, 3)


@given(VALUES)
def test_slots_equal_those_of_hdrhistogram(value: int) -> None:
    assert histogram.slot(value) == REFERENCE._counts_index_for(value)
    assert histogram.upper(histogram.slot(value)) == REFERENCE.get_highest_equivalent_value(value)


@given(VALUES)
def test_three_digits_are_kept(value: int) -> None:
    assert 0 <= histogram.upper(histogram.slot(value)) - value <= value / 1000


@given(st.lists(VALUES, min_size=1, max_size=200))
def test_quantiles_are_nearest_rank(values: list[int]) -> None:
    quantiles = histogram.quantiles_us(histogram_of([*values, *values]), [0.5, 1.0], beyond=1)
    for q, value in zip((0.5, 1.0), quantiles, strict=True):
        assert value == histogram.upper(histogram.slot(sorted(values)[math.ceil(q * len(values)) - 1]))


@pytest.mark.parametrize(("q", "enough"), [(0.5, 20), (0.9, 100), (0.95, 200), (0.99, 1000), (0.999, 10_000), (1.0, 1)])
def test_no_percentile_without_the_values_to_carry_it(q: float, enough: int) -> None:
    assert histogram.quantiles_us(histogram_of(range(enough - 1)), [q]) == [None]
    assert histogram.quantiles_us(histogram_of(range(enough)), [q]) != [None]


def test_an_empty_histogram_has_no_values() -> None:
    assert histogram.quantiles_us({}, [0.5, 1.0]) == [None, None]
    assert histogram.mean_us({}) is None
    assert histogram.decode(histogram.encode({})) == {}


def test_the_mean_is_within_the_resolution() -> None:
    rng = random.Random(1)
    values = [round(rng.expovariate(1 / 20_000)) for _ in range(5000)]
    assert histogram.mean_us(histogram_of(values)) == pytest.approx(sum(values) / 5000, rel=0.001)
    assert histogram.mean_us(histogram_of([7, 8, 9])) == pytest.approx(8, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.builds(histogram.slot, VALUES), st.integers(min_value=1, max_value=10**6), max_size=50))
def test_a_histogram_survives_the_disk(counts: histogram.Counts) -> None:
    assert histogram.decode(histogram.encode(counts)) == counts


def test_two_intervals_of_one_log_add_up() -> None:
    one, two = histogram_of([5, 50_000]), histogram_of([5, 7_000_000])
    both = histogram.encode(one) + histogram.encode(two).splitlines()[-1]
    assert histogram.decode(both) == histogram_of([5, 5, 50_000, 7_000_000])


def test_other_tools_read_our_log() -> None:
    values = [random.Random(2).randrange(10**7) for _ in range(500)]
    line = histogram.encode(histogram_of(values)).splitlines()[-1]
    theirs = HdrHistogram.decode(line.rsplit(",", 1)[1])
    assert theirs.get_total_count() == 500
    assert theirs.get_value_at_percentile(50) == histogram.quantiles_us(histogram_of(values), [0.5])[0]


@pytest.mark.parametrize("text", ["0,1,2,HISTnothing", "0,1,2,!!", "0,1", "x,y,z,AAAA"])
def test_a_damaged_histogram_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="damaged histogram"):
        histogram.decode(text)


@pytest.mark.parametrize(("lowest", "digits"), [(1000, 3), (1, 2)])
def test_a_histogram_of_another_resolution_is_refused(lowest: int, digits: int) -> None:
    theirs = HdrHistogram(lowest, histogram.HIGHEST_US, digits)
    theirs.record_value(5_000_000)
    with pytest.raises(FormatError, match="not whole microseconds with three digits"):
        histogram.decode(f"0,1,5,{theirs.encode().decode()}")


def test_logs_of_other_tools_are_read() -> None:
    theirs, values = HdrHistogram(1, 10**9, 3), [0, 1, 2047, 2048, 5_000_001, 999_999_999]
    for value in values:
        theirs.record_value(value, 3)
    assert histogram.decode(f"0,1,5,{theirs.encode().decode()}") == histogram_of(values * 3)


def test_a_decompression_bomb_is_refused() -> None:
    bomb = zlib.compress(bytes(2**24))
    line = base64.b64encode(struct.pack(">II", 0x1C849314, len(bomb)) + bomb).decode()
    with pytest.raises(FormatError, match="unpacks to more than 1,048,576 bytes"):
        histogram.decode(f"0,1,5,{line}")
    with pytest.raises(FormatError, match="1,000 intervals"):
        histogram.decode("0,1,5,x\n" * 1000)
