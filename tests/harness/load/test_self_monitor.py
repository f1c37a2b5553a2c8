from __future__ import annotations

import os

import pytest

from harness.load import self_monitor
from harness.load.results.process_usage import TICK_US
from harness.load.self_monitor import SelfMonitor


@pytest.fixture
def monitor(monkeypatch: pytest.MonkeyPatch) -> SelfMonitor:
    """A monitor whose process uses 0.2 s of CPU and waits 0.1 s for it."""
    cpu, wait = iter([1.0, 1.2]), iter([5_000_000_000, 5_100_000_000])
    monkeypatch.setattr(self_monitor.time, "process_time", lambda: next(cpu))
    monkeypatch.setattr(self_monitor, "_run_wait_ns", lambda: next(wait))
    throttled = iter([3.0, 7.0])
    monkeypatch.setattr(self_monitor, "_throttled_periods", lambda: next(throttled))
    monkeypatch.setattr(self_monitor, "quota", lambda: (1.5, 0.1))
    return SelfMonitor()


def test_usage_is_a_share_of_the_window(monitor: SelfMonitor) -> None:
    monitor.look(1_000_000, 0, 0)  # starts the window
    monitor.look(1_500_000, 4, TICK_US // 2)
    monitor.look(1_900_000, 8, 300_000)
    monitor.end(2_000_000)
    monitor.end(9_000_000)
    usage = monitor.report("load-1")
    assert (usage.load_host, usage.looks, usage.cores, usage.in_flight) == ("load-1", 2, 1.5, 6.0)
    assert usage.cpu == pytest.approx(0.2)
    assert usage.cpu_wait == pytest.approx(0.1)
    assert usage.throttled == pytest.approx(0.4)
    assert (usage.stalled, usage.longest_stall_ms) == (0.3, 300.0)


def test_delays_of_the_event_loop_are_counted_by_the_millisecond(monitor: SelfMonitor) -> None:
    for late_us in (9_000, 0, 999, 1_000, 1_999, 25_300):
        monitor.look(1_000_000, 0, late_us)
    monitor.end(2_000_000)
    assert monitor.report("load-1").delays == ((1, 2), (25, 1))


def test_without_samples_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_monitor, "quota", lambda: (None, 0.1))
    monitor = SelfMonitor()
    monitor.end(2_000_000)
    usage = monitor.report("load-1")
    assert (usage.looks, usage.cores) == (0, float(os.cpu_count() or 1))
    assert (usage.cpu, usage.cpu_wait, usage.throttled, usage.stalled, usage.in_flight) == (None,) * 5
