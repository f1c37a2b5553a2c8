"""What a load process observed of itself while it measured. Pure."""

from __future__ import annotations

from dataclasses import dataclass

TICK_US = 9_700
"""Interval of the instants at which a load process looks at itself; not a round number, or looks would keep step with
requests at a fixed rate. How late its event loop runs for one is how late it notices a response that arrives then."""
Delay = tuple[int, int]
"""Milliseconds by which the event loop was late for a look, and how often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUsage:
    """One load process over its measured window (see load/self_monitor.py). None: not observed.

    Shares of the window: `cpu` used, `cpu_wait` ready to run but not running, `stalled` without the event loop running.
    `throttled`: share of the periods of the host's CPU quota in which it ran out. `cores`: how many the host may use.
    `delays`: (milliseconds, how often) the event loop was late for a look; None in older runs.
    """

    load_host: str
    looks: int
    cpu: float | None
    cpu_wait: float | None
    stalled: float | None
    longest_stall_ms: float | None
    in_flight: float | None
    cores: float | None = None
    throttled: float | None = None
    delays: tuple[Delay, ...] | None = None
