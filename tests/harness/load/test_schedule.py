from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.load.job import Job, decode_job
from harness.load.schedule import arrivals, key_picker, operation_picker

from .conftest import INCREMENT, job_dict


def make(**changes: Any) -> Job:
    return decode_job(job_dict(80, Path("out"), **changes))


def open_job(**changes: Any) -> Job:
    return make(mode="open", seconds=1.0, clients=8, **changes)


@pytest.mark.parametrize(
    ("rate", "first"),
    [
        (1.0, [0, 1_000_000, 2_000_000]),
        (3.0, [0, 333_333, 666_667, 1_000_000]),
        (2000.0, [0, 500, 1000]),
        (0.5, [0, 2_000_000]),
    ],
)
def test_fixed_arrivals_are_multiples_of_the_interval(rate: float, first: list[int]) -> None:
    assert list(itertools.islice(arrivals(open_job(rate=rate)), len(first))) == first


def test_fixed_arrivals_do_not_drift() -> None:
    due = next(itertools.islice(arrivals(open_job(rate=3.0)), 3_000_000, None))
    assert due == 1_000_000_000_000


def test_fixed_arrivals_of_all_stripes_equal_those_of_one_generator() -> None:
    alone = list(itertools.islice(arrivals(open_job(rate=700.0)), 300))
    shared = [list(itertools.islice(arrivals(open_job(rate=700.0, host_index=i, host_count=3)), 100)) for i in range(3)]
    assert sorted(itertools.chain(*shared)) == alone


def test_poisson_arrivals_are_exponential_and_seeded() -> None:
    job = open_job(rate=1000.0, arrivals="poisson", seed=5)
    due = list(itertools.islice(arrivals(job), 20_000))
    gaps = [b - a for a, b in itertools.pairwise([0, *due])]
    assert statistics.fmean(gaps) == pytest.approx(1000, rel=0.03)
    assert statistics.pstdev(gaps) == pytest.approx(1000, rel=0.05)
    for share in (0.1, 0.5, 0.9):  # the exponential's own quantiles
        assert sorted(gaps)[int(share * 20_000)] == pytest.approx(-1000 * math.log(1 - share), rel=0.06)
    assert due == list(itertools.islice(arrivals(job), 20_000))
    assert due != list(itertools.islice(arrivals(open_job(rate=1000.0, arrivals="poisson", seed=6)), 20_000))


def test_poisson_stripes_differ_and_add_up() -> None:
    stripes = [open_job(rate=1000.0, arrivals="poisson", host_index=i, host_count=4) for i in range(4)]
    due = [list(itertools.takewhile(lambda us: us < 10_000_000, arrivals(job))) for job in stripes]
    assert len({tuple(times[:5]) for times in due}) == 4
    assert sum(map(len, due)) == pytest.approx(10_000, rel=0.05)


def test_kinds_one_and_cycle() -> None:
    assert {key_picker(make())(seq) for seq in range(9)} == {0}
    cycle = key_picker(make(keys={"kind": "cycle", "count": 3}))
    assert [cycle(seq) for seq in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_uniform_keys_are_uniform() -> None:
    pick = key_picker(make(keys={"kind": "uniform", "count": 20}, seed=3))
    counts = Counter(pick(seq) for seq in range(20_000))
    assert sorted(counts) == list(range(20))
    assert sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 43.8  # chi-square, 19 degrees, p = 0.001


def test_zipf_keys_follow_the_zipf_law() -> None:
    pick = key_picker(make(keys={"kind": "zipf", "count": 100, "s": 1.1}, seed=3))
    counts = Counter(pick(seq) for seq in range(50_000))
    total = sum(rank**-1.1 for rank in range(1, 101))
    for rank in (1, 2, 5, 20):
        expected = 50_000 * rank**-1.1 / total
        assert counts[rank - 1] == pytest.approx(expected, abs=4 * math.sqrt(expected))
    assert max(counts) <= 99


def test_keys_depend_on_seed_and_stripe() -> None:
    def draw(**changes: Any) -> list[int]:
        pick = key_picker(make(clients=2, keys={"kind": "uniform", "count": 1000}, **changes))
        return [pick(seq) for seq in range(20)]

    assert draw(seed=1) == draw(seed=1)
    assert draw(seed=1) != draw(seed=2)
    assert draw(seed=1, host_count=2) != draw(seed=1, host_count=2, host_index=1)


def test_operations_are_drawn_by_weight() -> None:
    operations = [INCREMENT | {"weight": 3}, INCREMENT | {"name": "read", "weight": 1}]
    pick = operation_picker(make(operations=operations, seed=9))
    assert Counter(pick() for _ in range(20_000))[0] == pytest.approx(15_000, rel=0.03)
