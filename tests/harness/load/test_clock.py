from __future__ import annotations

import asyncio

from harness.load.clock import PreciseTimer, now_us


async def test_a_timer_fires_once_and_not_before_its_instant() -> None:
    fired_us: list[int] = []
    event = asyncio.Event()

    def fire() -> None:
        fired_us.append(now_us())
        event.set()

    timer = PreciseTimer(asyncio.get_running_loop(), fire)
    try:
        at = now_us() + 3_300
        timer.set(at + 60_000_000)
        timer.set(at)  # replaces
        await asyncio.wait_for(event.wait(), 30)
        assert fired_us[0] >= at
        event.clear()
        timer.set(now_us() - 5)  # past: at once
        await asyncio.wait_for(event.wait(), 30)
        assert len(fired_us) == 2
    finally:
        timer.close()
