"""The closed model against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.support.summaries import phase

from .conftest import Handler, LoopbackServer, Request, counted, job_dict, run_job

Serve = Callable[[Handler], Awaitable[LoopbackServer]]


async def test_a_thousand_requests_are_in_flight_at_once(serve: Serve, tmp_path: Path) -> None:
    all_arrived = asyncio.Event()

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        if request.number == 999:
            all_arrived.set()
        await all_arrived.wait()  # the first response is sent when the last request has arrived
        writer.write(counted(request.number + 1))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, clients=1000, requests=1000))
    assert server.peak == server.busy_peak == 1000
    assert done.events[0] == done.events[0] | {"event": "ready", "connections": 1000}
    assert done.summary.peak_in_flight == 1000
    assert done.summary.measure == phase(1000)
    assert done.summary.connections.reopened == 0
    samples = done.samples
    assert max(samples.sent_us) < min(samples.done_us)
    assert set(samples.due_us) == {0}
    assert sorted(samples.seq) == list(range(1000))
    assert sorted(v for v in samples.value if v is not None) == list(range(1, 1001))


async def test_a_client_waits_for_its_response(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        await asyncio.sleep(0.005)
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, clients=4, requests=40))
    assert server.busy_peak == done.summary.peak_in_flight == 4
    assert len(done.samples) == server.requests == 40


async def test_a_job_ends_by_time_and_waits_for_requests_in_flight(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        await asyncio.sleep(0.3)
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, clients=3, seconds=0.5))
    assert done.samples.outcome == ["ok"] * 6
    assert max(done.samples.due_us) < 500_000 <= max(done.samples.done_us)
    assert done.summary.seconds == 0.5
    assert done.summary.window.ok == 3  # the second round ended after the window
    assert 1_400_000 < done.summary.busy_us <= 1_500_000  # three in flight for half a second
    assert done.summary.rps == 6


async def test_a_ramp_spreads_the_first_requests(serve: Serve, tmp_path: Path) -> None:
    all_arrived = asyncio.Event()

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        if request.number == 3:
            all_arrived.set()
        await all_arrived.wait()
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, clients=4, requests=4, release="ramp"))
    assert sorted(done.samples.due_us) == [0, 250_000, 500_000, 750_000]
    assert all(sent >= due for sent, due in zip(done.samples.sent_us, done.samples.due_us, strict=True))
