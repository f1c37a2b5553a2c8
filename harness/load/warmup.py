"""Follows a warm-up in steps (steady.py), so that it can be ended as soon as the load is steady."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from harness.load import hist
from harness.load.clock import now_us
from harness.load.recorder import WARMUP, Recorder
from harness.load.steady import STEP_MS, Row

_STEP_US = STEP_MS * 1000


async def follow(recorder: Recorder, rows: list[Row], tell: Callable[[dict[str, Any]], None]) -> None:
    """Append each step of the warm-up to `rows` when it is over, and tell of it; ends with the warm-up."""
    done_before, before = 0, hist.Counts()
    while (at_us := recorder.t0_us + (len(rows) + 1) * _STEP_US) <= recorder.measure_from_us:
        await asyncio.sleep((at_us - now_us()) / 1e6)
        recorder.tick(now_us())
        done, counts = _so_far(recorder)
        p95_us = hist.quantiles_us({slot: n - before.get(slot, 0) for slot, n in counts.items()}, (0.95,))[0]
        row = done - done_before, None if p95_us is None else p95_us / 1000
        tell({"event": "step", "step": len(rows), "done": row[0], "p95_ms": row[1]})
        rows.append(row)
        done_before, before = done, counts


def _so_far(recorder: Recorder) -> tuple[int, hist.Counts]:
    """Requests of the warm-up that have their outcome, and their latencies."""
    phase = recorder.phases[WARMUP]
    counts = dict(phase.latency)
    hist.add(counts, phase.second_latency)
    return sum(phase.outcomes) + sum(phase.second_outcomes), counts
