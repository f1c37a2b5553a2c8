"""The driver against real servers: release, schedules, queues, phases, ends."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RigError
from harness.load.clock import now_us
from harness.load.job import decode_job
from harness.load.open_model import OpenModel
from harness.load.sample_buffer import SampleBuffer
from harness.load.worker import work
from tests.support.summaries import phase

from .conftest import INCREMENT, Handler, LoopbackServer, Request, counted, http, job_dict, run_job

Serve = Callable[[Handler], Awaitable[LoopbackServer]]


async def count_up(request: Request, writer: asyncio.StreamWriter) -> bool | None:
    writer.write(counted(request.number + 1))
    return None


async def test_a_thousand_requests_are_in_flight_at_once(serve: Serve, tmp_path: Path) -> None:
    everyone = asyncio.Event()

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        if request.number == 999:
            everyone.set()
        await everyone.wait()  # the first answer is given when the last request is here
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


async def test_a_closed_client_waits_for_its_answer(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        await asyncio.sleep(0.005)
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, clients=4, requests=40))
    assert server.busy_peak == done.summary.peak_in_flight == 4
    assert len(done.samples) == server.requests == 40


async def test_seconds_end_a_closed_job_and_all_is_waited_for(serve: Serve, tmp_path: Path) -> None:
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
    everyone = asyncio.Event()

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        if request.number == 3:
            everyone.set()
        await everyone.wait()
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, clients=4, requests=4, release="ramp"))
    assert sorted(done.samples.due_us) == [0, 250_000, 500_000, 750_000]
    assert all(sent >= due for sent, due in zip(done.samples.sent_us, done.samples.due_us, strict=True))


async def test_a_stalled_server_shows_in_the_latency_from_due(serve: Serve, tmp_path: Path) -> None:
    """2,000 requests/s, and for 1.4 s nothing is answered: a closed loop's view would hide it."""
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
    assert done.summary.service_ms.p99_ms < 1000  # what is printed beside it
    assert done.summary.late > 1000
    assert done.summary.peak_in_flight == 20


async def test_open_arrivals_are_late_not_lost(serve: Serve, tmp_path: Path) -> None:
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


async def test_what_cannot_be_sent_in_the_end_is_a_failure_not_a_gap(serve: Serve, tmp_path: Path) -> None:
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
    assert done.summary.service_ms.count == counts["unknown", "timeout"], "nobody served what was never sent"


async def test_an_open_job_ends_when_its_time_is_over_and_not_with_the_next_arrival(
    serve: Serve, tmp_path: Path
) -> None:
    server = await serve(count_up)
    job = job_dict(server.port, tmp_path, mode="open", rate=0.05, seconds=0.5)
    done = await asyncio.wait_for(run_job(job), 15)  # the next is due after 20 s
    assert (server.requests, done.summary.measure.sent, done.summary.seconds) == (1, 1, 0.5)
    assert max(event["second"] for event in done.events if event["event"] == "progress") < 15


async def test_a_connection_opened_while_interrupted_may_end_like_any(serve: Serve, tmp_path: Path) -> None:
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


async def test_how_late_requests_were_noticed_counts_in_the_measured_phase_alone(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    warmup = {"seconds": 1.0, "max_seconds": 1.0}
    job = job_dict(server.port, tmp_path, mode="open", rate=100.0, seconds=0.5, warmup=warmup)
    done = await run_job(job, "measure 1")
    assert done.summary.lag_ms.count == done.summary.measure.sent == 50


@pytest.mark.parametrize("mode", ["closed", "open"])
async def test_a_refused_connection_is_surely_not_applied(serve: Serve, tmp_path: Path, mode: str) -> None:
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


async def test_a_target_that_is_not_there_is_one_clear_line(serve: Serve, tmp_path: Path) -> None:
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


async def test_a_warmup_is_counted_apart_and_kept(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        await asyncio.sleep(0.002)
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    job = job_dict(server.port, tmp_path, clients=2, seconds=1.0, warmup={"seconds": 1.0, "max_seconds": 2.0})
    done = await run_job(job, "measure 1", "measure 2")  # the first word counts
    samples, summary = done.samples, done.summary
    steps = [event for event in done.events if event["event"] == "step"]
    assert [(step["step"], step["done"], step["p95_ms"]) for step in steps] == [
        (number, *step) for number, step in enumerate(summary.warmup_steps)
    ]
    assert len(steps) == 4, "four quarters of a second, and none of the measured phase"
    assert 0 < sum(step["done"] for step in steps) <= summary.warmup.ok
    assert summary.warmup_steady is not None
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


async def test_requests_of_the_measured_phase_are_counted_from_its_start(serve: Serve, tmp_path: Path) -> None:
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


async def test_an_interruption_keeps_what_was_measured(serve: Serve, tmp_path: Path) -> None:
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


async def test_without_samples_memory_stays_flat_and_figures_remain(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    done = await run_job(job_dict(server.port, tmp_path, clients=2, requests=500, samples=False))
    assert not list(tmp_path.glob("samples*"))
    assert done.summary.latency_ms.count == 500
    assert done.summary.measure.ok == 500


async def test_old_results_do_not_stay_in_the_folder(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    (tmp_path / "samples.csv.gz").write_text("old")
    done = await run_job(job_dict(server.port, tmp_path))
    assert len(done.samples) == 1


async def test_a_bug_in_a_callback_ends_the_job_instead_of_hanging(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    server = await serve(count_up)
    monkeypatch.setattr("harness.load.sample_buffer.SampleBuffer.record", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await run_job(job_dict(server.port, tmp_path, requests=5))
