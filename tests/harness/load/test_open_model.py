"""The open model against real servers: schedule, queue, end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from harness.load.clock import now_us
from harness.load.job import decode_job
from harness.load.open_model import OpenModel
from harness.load.sample_buffer import SampleBuffer

from .conftest import Handler, LoopbackServer, Request, counted, job_dict, run_job

Serve = Callable[[Handler], Awaitable[LoopbackServer]]


async def count_up(request: Request, writer: asyncio.StreamWriter) -> bool | None:
    writer.write(counted(request.number + 1))
    return None


async def test_latency_from_the_due_time_shows_a_stalled_server(serve: Serve, tmp_path: Path) -> None:
    """2,000 requests/s, and no response for 1.4 s: the service time alone would hide it."""
    stall = 0.0

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        nonlocal stall
        loop = asyncio.get_running_loop()
        if request.number == 1000:
            stall = loop.time() + 1.4
        await asyncio.sleep(max(0.0, stall - loop.time()))
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, mode="open", rate=2000.0, seconds=3.0, clients=20))
    assert done.summary.latency_ms.count == done.summary.measure.ok == 6000
    assert done.summary.latency_ms.p99_ms >= 1000
    assert done.summary.service_ms.p99_ms < 1000  # shown next to it
    assert done.summary.late > 1000
    assert done.summary.peak_in_flight == 20


async def test_requests_without_a_connection_are_late_not_lost(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        await asyncio.sleep(0.02)
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, mode="open", rate=200.0, seconds=0.5))
    samples = done.samples
    assert list(samples.due_us) == [number * 5000 for number in range(100)]
    assert samples.outcome == ["ok"] * 100
    assert done.summary.late >= 90
    assert all(a <= b for a, b in itertools.pairwise(samples.sent_us))
    assert samples.sent_us[99] - samples.due_us[99] > 1_000_000  # 100 x 20 ms over one connection


async def test_requests_never_sent_are_recorded_as_failed(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        await asyncio.sleep(30)
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, mode="open", rate=50.0, seconds=0.4, timeout_s=0.5))
    counts = Counter(zip(done.samples.outcome, done.samples.error, strict=True))
    assert sum(counts.values()) == done.summary.measure.sent == 20
    assert set(counts) == {("unknown", "timeout"), ("fail", "not sent")}
    assert counts["fail", "not sent"] == done.summary.not_sent
    assert server.requests == counts["unknown", "timeout"]
    assert done.summary.latency_ms.count == 20
    assert done.summary.service_ms.count == counts["unknown", "timeout"], "a request never sent has no service time"


async def test_a_job_ends_by_time_and_not_with_the_next_arrival(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    job = job_dict(server.port, tmp_path, mode="open", rate=0.05, seconds=0.5)
    done = await asyncio.wait_for(run_job(job), 15)  # the next is due after 20 s
    assert (server.requests, done.summary.measure.sent, done.summary.seconds) == (1, 1, 0.5)
    assert max(event["second"] for event in done.events if event["event"] == "progress") < 15


async def test_a_connection_opened_after_an_interruption_can_be_lost(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    job = decode_job(job_dict(server.port, tmp_path, mode="open", rate=10.0, seconds=60.0))
    buffer = SampleBuffer(job, tmp_path, lambda _: None)
    engine = OpenModel(job, buffer)
    await engine.open()
    engine.release(now_us())
    engine.interrupt()
    before = set(engine._connections)
    await engine._connect_and_send(now_us())
    (connection,) = engine._connections - before
    engine.lost(connection, out_of_step=False)
    assert engine._connections == before
    engine.lost(*before, out_of_step=False)
    assert engine._unopened == 2
    engine.close()
    buffer.close()


async def test_send_lag_is_counted_in_the_measured_phase_only(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    warmup = {"seconds": 1.0, "max_seconds": 1.0}
    job = job_dict(server.port, tmp_path, mode="open", rate=100.0, seconds=0.5, warmup=warmup)
    done = await run_job(job, "measure 1")
    assert done.summary.lag_ms.count == done.summary.measure.sent == 50
