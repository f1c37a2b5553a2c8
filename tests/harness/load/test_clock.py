from __future__ import annotations

import asyncio

from harness.load.clock import PreciseTimer, now_us


async def test_an_alarm_rings_once_at_its_instant_and_not_before() -> None:
    rung: list[int] = []
    bell = asyncio.Event()

    def ring() -> None:
        rung.append(now_us())
        bell.set()

    alarm = PreciseTimer(asyncio.get_running_loop(), ring)
    try:
        at = now_us() + 3_300
        alarm.set(at + 60_000_000)
        alarm.set(at)  # replaces
        await asyncio.wait_for(bell.wait(), 30)
        assert rung[0] >= at
        bell.clear()
        alarm.set(now_us() - 5)  # past: at once
        await asyncio.wait_for(bell.wait(), 30)
        assert len(rung) == 2
    finally:
        alarm.close()
