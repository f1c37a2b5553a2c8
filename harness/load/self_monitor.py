"""Observes the load process itself, to detect trials that were limited by the generator."""

from __future__ import annotations

import os
import time
from pathlib import Path

from harness.host_scripts.sampler import CGROUP, pairs, quota
from harness.load.results.process_usage import TICK_US, ProcessUsage


class SelfMonitor:
    """CPU, stalls and requests in flight of this process over the measured window, sampled every 10 ms."""

    def __init__(self) -> None:
        self.looks = self.in_flight_sum = self.stalled_us = self.longest_stall_us = 0
        self.start_us = self.end_us = 0
        self._start_cpu = self._end_cpu = 0.0
        self._start_wait = self._end_wait = 0
        self._start_throttled = self._end_throttled = 0.0
        self.delays: dict[int, int] = {}
        """Milliseconds by which the event loop was late for a look -> how often, from 1 ms on."""

    def look(self, now: int, in_flight: int, late_us: int) -> None:
        """Take one sample; `late_us`: how late the event loop was for it."""
        if not self.start_us:
            self.start_us, self._start_throttled = now, _throttled_periods()
            self._start_cpu, self._start_wait = time.process_time(), _run_wait_ns()
            return
        self.looks += 1
        self.in_flight_sum += in_flight
        if late_ms := late_us // 1000:
            self.delays[late_ms] = self.delays.get(late_ms, 0) + 1
        if late_us > TICK_US // 2:  # less is the resolution of the timers
            self.stalled_us += late_us
            self.longest_stall_us = max(self.longest_stall_us, late_us)

    def end(self, now: int) -> None:
        """End the window; further calls change nothing."""
        if not self.end_us:
            self._end_cpu, self._end_wait = time.process_time(), _run_wait_ns()
            self.end_us, self._end_throttled = now, _throttled_periods()

    def report(self, load_host: str) -> ProcessUsage:
        """The usage over the window; without values if no sample was taken."""
        window_us = self.end_us - self.start_us if self.start_us else 0
        cap, period_s = quota()
        cores = float(os.cpu_count() or 1) if cap is None else cap
        if not self.looks or window_us <= 0:
            return ProcessUsage(
                load_host=load_host, looks=0, cores=cores, cpu=None, cpu_wait=None, throttled=None, stalled=None,
                longest_stall_ms=None, in_flight=None,
            )  # fmt: skip
        return ProcessUsage(
            load_host=load_host,
            looks=self.looks,
            cores=cores,
            cpu=(self._end_cpu - self._start_cpu) * 1e6 / window_us,
            cpu_wait=(self._end_wait - self._start_wait) / 1e3 / window_us,
            throttled=(self._end_throttled - self._start_throttled) * period_s * 1e6 / window_us,
            stalled=self.stalled_us / window_us,
            longest_stall_ms=self.longest_stall_us / 1000,
            in_flight=self.in_flight_sum / self.looks,
            delays=tuple(sorted(self.delays.items())),
        )


def _run_wait_ns() -> int:
    """Time this process was ready to run but not running (proc(5), schedstat); 0 if the kernel does not provide it."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _throttled_periods() -> float:
    """How often this host's CPU quota has run out (cgroup v2 or v1); 0 without a quota."""
    return (pairs(f"{CGROUP}/cpu/cpu.stat") | pairs(f"{CGROUP}/cpu.stat")).get("nr_throttled", 0.0)
