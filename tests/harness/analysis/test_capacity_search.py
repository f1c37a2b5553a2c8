"""The search for the capacity: what it proposes, and when it claims (simulated: tests/harness/selfbench)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.analysis.capacity_search import FULL, QUICK, Capacity, Probe, Search

Answer = Callable[[float, int], bool | None]


def search(answer: Answer, *, reference: float = 1000.0, lowest: float = 20.0) -> tuple[Capacity, list[Probe]]:
    """A whole search; `answer`: (rate, number of the trial) -> whether it held."""
    probes: list[Probe] = []
    while (rate := Search.after(probes, reference=reference, lowest=lowest, effort=FULL).next_rate()) is not None:
        probes.append(Probe(rate=rate, held=answer(rate, len(probes))))
    return Search.after(probes, reference=reference, lowest=lowest, effort=FULL).capacity(), probes


@pytest.mark.parametrize("reference", [40.0, 300.0, 900.0, 9000.0])
def test_a_wrong_reference_costs_trials_and_not_the_result(reference: float) -> None:
    capacity, _ = search(lambda rate, _: rate <= 500, reference=reference)
    assert capacity.kind == "found"
    assert capacity.rate == pytest.approx(500, rel=0.02)
    assert capacity.low < 500 < capacity.high


def test_hiccups_far_below_the_capacity_do_not_move_it() -> None:
    """The first two trials fail by chance: a search that believes them ends at half of the capacity."""
    capacity, probes = search(lambda rate, n: n > 1 and rate <= 2000)
    assert capacity.kind == "found"
    assert capacity.rate == pytest.approx(2000, rel=0.05)
    assert not any(probe.held for probe in probes[:2])


def test_a_service_that_holds_at_no_rate() -> None:
    capacity, probes = search(lambda *_: False)
    assert (capacity.kind, capacity.rate, capacity.held) == ("none", 20.0, 0)
    assert capacity.finished
    assert sum(probe.rate == 20.0 for probe in probes) >= 2  # one trial could be a hiccup
    assert len(probes) < FULL.most


def test_a_service_that_holds_at_every_rate_has_no_capacity() -> None:
    capacity, probes = search(lambda *_: True)
    assert capacity.kind == "at least"
    assert capacity.rate == max(probe.rate for probe in probes) <= 16_000


def test_the_limit_of_the_generator_is_a_lower_bound() -> None:
    """Trials beyond 1,500/s do not count. Each rate gets a second chance: one trial may be limited by a neighbour."""
    capacity, probes = search(lambda rate, _: True if rate <= 1500 else None)
    assert capacity.kind == "at least"
    assert 1300 <= capacity.rate <= 1500
    assert capacity.uncounted >= 2
    assert len(probes) < FULL.most


def test_one_trial_that_does_not_count_is_repeated() -> None:
    capacity, probes = search(lambda rate, n: None if n in (0, 5) else rate <= 1200)
    assert capacity.kind == "found"
    assert capacity.rate == pytest.approx(1200, rel=0.03)
    assert (capacity.uncounted, probes[0].rate, probes[5].rate) == (2, probes[1].rate, probes[6].rate)


def test_a_generator_that_is_always_the_limit_shows_nothing() -> None:
    capacity, probes = search(lambda *_: None)
    assert (capacity.kind, capacity.held, capacity.broken) == ("unclear", 0, 0)
    assert len(probes) == 10


def test_a_search_gives_up_where_most_trials_do_not_count() -> None:
    """Some trials at higher rates counted, so the rate is within reach, but the generator is starved."""
    capacity, probes = search(lambda _, n: False if n < 3 else None)
    assert (capacity.kind, capacity.finished, len(probes)) == ("unclear", True, 13)
    mixed, _ = search(lambda rate, n: None if n % 2 else rate <= 1000)
    assert mixed.kind == "found"


def test_trials_that_contradict_each_other_do_not_decide() -> None:
    capacity, probes = search(lambda _, n: n % 2 == 0)
    assert capacity.finished
    assert len(probes) <= FULL.most
    assert capacity.kind in ("unclear", "found")
    if capacity.kind == "found":  # about where half of them hold
        assert capacity.high / capacity.low > 1.05


def test_few_trials_are_no_capacity() -> None:
    few = Search.after([Probe(rate=900, held=True), Probe(rate=1000, held=False)],
                       reference=1000, lowest=20, effort=QUICK)  # fmt: skip
    assert few.capacity().kind == "unclear"
    assert not few.capacity().finished
