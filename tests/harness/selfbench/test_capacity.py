"""The search for the capacity, against simulated services whose capacity is known."""

from __future__ import annotations

import pytest

from harness.analysis import capacity_search
from harness.analysis.capacity_search import FULL
from harness.selfbench import capacity, trust
from harness.selfbench.capacity import NOISES, QueueService, Service, covers, near, searched

RUNS = 25


@pytest.mark.parametrize("noise", NOISES)
def test_the_capacity_is_within_5_percent_and_in_the_interval_in_95_percent_of_the_runs(noise: str) -> None:
    results = [searched(Service(seed=n, **NOISES[noise])) for n in range(RUNS)]
    assert sum(map(near, results)) >= 0.95 * RUNS, [round(c.rate / knee, 3) for c, knee in results]
    assert sum(map(covers, results)) >= 0.95 * RUNS, [(c.low / knee, c.high / knee) for c, knee in results]
    assert max(c.held + c.broken for c, _ in results) <= FULL.most


def test_the_capacity_of_a_queue_that_is_measured_for_ten_seconds() -> None:
    """The latencies of a real queue: its percentiles in a short window are not those of an endless one."""
    results = [searched(QueueService(seed=n)) for n in range(3)]
    assert all(map(near, results))
    assert all(map(covers, results))


def test_a_search_that_does_not_know_hiccups_is_found_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation can fail: without the chance of a miss, hiccups far below the capacity mislead the search."""
    monkeypatch.setattr(capacity_search, "MISSES", (1e-6,))
    results = [searched(Service(seed=n, **NOISES["a hiccup in every fifth trial"])) for n in range(RUNS)]
    assert sum(map(near, results)) < 0.9 * RUNS


def test_the_figures_of_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "RUNS", 2)
    monkeypatch.setattr(capacity, "QUEUE_RUNS", 1)
    capacity._results.cache_clear()
    for name in ("trust.capacity_within_5pct", "trust.capacity_interval_covers"):
        figure = trust.FIGURES[name]()
        assert figure["value"] == 1.0
        assert (figure["unit"], figure["target"]) == ("share", ">= 0.95")
    capacity._results.cache_clear()
