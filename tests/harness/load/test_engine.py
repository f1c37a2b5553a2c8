"""What both load models share, against real servers: release, phases, interruption, results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RigError
from harness.load import sample_buffer
from harness.load.job import decode_job
from harness.load.worker import work

from .conftest import INCREMENT, Handler, LoopbackServer, Request, counted, http, job_dict, run_job

Serve = Callable[[Handler], Awaitable[LoopbackServer]]


async def count_up(request: Request, writer: asyncio.StreamWriter) -> bool | None:
    writer.write(counted(request.number + 1))
    return None


async def test_nothing_is_sent_before_go(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    commands: asyncio.Queue[str | None] = asyncio.Queue()
    events: list[dict[str, Any]] = []
    task = asyncio.ensure_future(work(decode_job(job_dict(server.port, tmp_path, clients=5)), commands, events.append))
    while not events:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert (server.open, server.requests) == (5, 0)
    commands.put_nowait(None)
    assert await task is None
    assert server.requests == 0


@pytest.mark.parametrize("mode", ["closed", "open"])
async def test_a_refused_connection_is_certainly_not_applied(serve: Serve, tmp_path: Path, mode: str) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        server._server.close()
        writer.write(http({"value": 1}, headers="Connection: close\r\n"))
        return False

    server = await serve(handler)
    amount = {"requests": 3} if mode == "closed" else {"rate": 10.0, "seconds": 0.3}
    done = await run_job(job_dict(server.port, tmp_path, mode=mode, **amount))
    assert done.samples.outcome == ["ok", "fail", "fail"]
    assert done.samples.error[1:] == ["connect: Connection refused"] * 2
    assert done.summary.not_sent == 2
    assert done.summary.measure.sent == 3
    assert server.requests == 1


async def test_an_unreachable_target_is_one_line(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    await server.stop()
    with pytest.raises(RigError, match=rf"load-1: cannot connect to 127.0.0.1:{server.port}: Connection refused"):
        await run_job(job_dict(server.port, tmp_path, clients=3))


async def test_connections_lost_before_the_release_are_opened_again(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    commands: asyncio.Queue[str | None] = asyncio.Queue()
    events: list[dict[str, Any]] = []
    job = decode_job(job_dict(server.port, tmp_path, clients=5, requests=5))
    task = asyncio.ensure_future(work(job, commands, events.append))
    while server.open < 5:
        await asyncio.sleep(0.01)
    port = server.port
    await server.stop()
    await server.start(port)
    await asyncio.sleep(0.1)
    commands.put_nowait("go")
    summary = await task
    assert summary
    assert summary.measure.ok == 5
    assert summary.connections.opened == 10


async def test_a_warmup_is_counted_separately_and_kept(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        await asyncio.sleep(0.002)
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    job = job_dict(server.port, tmp_path, clients=2, seconds=1.0, warmup={"seconds": 1.0, "max_seconds": 2.0})
    done = await run_job(job, "measure 1", "measure 2")  # the first counts
    samples, summary = done.samples, done.summary
    steps = [event for event in done.events if event["event"] == "step"]
    assert [(step["step"], step["done"], step["p95_ms"]) for step in steps] == [
        (number, *step) for number, step in enumerate(summary.warmup_steps)
    ]
    assert len(steps) == 4, "four quarters of a second, and none of the measured phase"
    assert 0 < sum(step["done"] for step in steps) <= summary.warmup.ok
    assert summary.warmup_steady is not None
    assert summary.window_step_ms == 250
    assert 3 <= len(summary.window_steps) <= 4, "of one second; the last may end with the load"
    assert 0 < sum(summary.window_steps) <= summary.window.total
    assert (summary.measure_from_us, summary.measure_to_us) == (1_000_000, 2_000_000)
    phases = (("warmup", summary.warmup, 0, 1_000_000), ("measure", summary.measure, 1_000_000, 2_000_000))
    for name, totals, low, high in phases:
        due = [at for at, phase in zip(samples.due_us, samples.phase, strict=True) if phase == name]
        assert len(due) == totals.sent == totals.ok > 50
        assert low <= min(due) <= max(due) < high
    assert summary.latency_ms.count == summary.measure.sent
    assert len(samples) == server.requests
    rows = [line.split(",") for line in (tmp_path / "timeline.csv").read_text().splitlines()[1:]]
    assert sum(int(row[2]) for row in rows) == len(samples)
    assert {row[-1] for row in rows} == {"warmup", "measure"}


async def test_a_number_of_requests_counts_from_the_start_of_the_measured_phase(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        await asyncio.sleep(0.002)
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    job = job_dict(server.port, tmp_path, requests=30, warmup={"seconds": 1.0, "max_seconds": 2.0})
    done = await run_job(job, "measure 1")
    assert done.summary.measure.sent == 30
    assert done.summary.warmup.sent > 30
    assert done.summary.warmup_steady is not None


async def test_an_interruption_keeps_completed_requests(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        if request.number == 20:
            commands.put_nowait(None)  # the controller is gone
            await asyncio.sleep(30)
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    commands: asyncio.Queue[str | None] = asyncio.Queue()
    commands.put_nowait("go")
    job = decode_job(job_dict(server.port, tmp_path, seconds=60.0, timeout_s=0.5))
    summary = await work(job, commands, lambda _: None)
    assert summary
    assert summary.interrupted is True
    assert (summary.measure.sent, summary.measure.ok, summary.measure.unknown) == (21, 20, 1)
    assert summary.measure.errors.keys() <= {"interrupted", "timeout"}
    assert server.requests == 21


async def test_operations_keys_ids_and_captures(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        ids = [request.number, request.number + 1]
        writer.write(http({"success": True, "value": 1, "ids": ids, "retries": request.number, "flag": True}))
        return None

    server = await serve(handler)
    operations = [
        INCREMENT | {"idempotency": True, "capture": ["ids", "retries"]},
        {"name": "read", "method": "GET", "path": "/{key}", "capture": ["flag"]},
    ]
    job = job_dict(server.port, tmp_path, requests=40, operations=operations, keys={"kind": "cycle", "count": 4})
    samples = (await run_job(job)).samples
    assert set(samples.op) == {"increment", "read"}
    assert samples.key == [f"hot-{number % 4}" for number in range(40)]
    lists = [json.loads(line) for line in (tmp_path / "captures.jsonl").read_text().splitlines()]
    for number, op in enumerate(samples.op):
        if op == "increment":
            assert samples.id[number] == f"t-load-1-{number}"
            assert samples.captured["retries"][number] == number
            assert {"seq": number, "ids": [number, number + 1]} in lists
        else:
            assert samples.id[number] == ""
            assert samples.captured["flag"][number] == 1
            assert samples.value[number] is None


async def test_without_samples_the_counts_are_kept(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    done = await run_job(job_dict(server.port, tmp_path, clients=2, requests=500, samples=False))
    assert not list(tmp_path.glob("samples*"))
    assert done.summary.latency_ms.count == 500
    assert done.summary.measure.ok == 500


async def test_old_results_are_removed(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    (tmp_path / "samples.csv.gz").write_text("old")
    done = await run_job(job_dict(server.port, tmp_path))
    assert len(done.samples) == 1


async def test_an_exception_in_a_callback_ends_the_job(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    server = await serve(count_up)
    monkeypatch.setattr("harness.load.sample_buffer.SampleBuffer.record", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await run_job(job_dict(server.port, tmp_path, requests=5))


async def test_captured_fields_that_fill_the_memory_end_the_load_with_a_message(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_buffer, "_MAX_LISTS_BYTES", 1_000_000)

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(http({"ids": [request.number] * 5000}))
        return None

    server = await serve(handler)
    operation = {"name": "bulk", "path": "/x", "capture": ["ids"]}
    with pytest.raises(RigError, match="too much memory"):
        await run_job(job_dict(server.port, tmp_path, requests=1000, clients=4, operations=[operation]))
    assert server.requests < 50
