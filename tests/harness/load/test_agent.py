"""The agent as the controller sees it: a process that reads and prints lines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.load.generator_checks import reasons
from harness.load.results import histogram
from harness.load.results.samples import read_samples, sample_file
from harness.load.results.summary import LaneSummary
from tests.support.summaries import histogram_of

from .conftest import AgentProcess, Handler, LoopbackServer, Request, counted, job_dict

Serve = Callable[[Handler], Awaitable[LoopbackServer]]
Start = Callable[[dict[str, Any] | str], Awaitable[AgentProcess]]
ROOT = Path(__file__).parents[3]


async def count_up(request: Request, writer: asyncio.StreamWriter) -> bool | None:
    await asyncio.sleep(0.002)
    writer.write(counted(request.number + 1))
    return None


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("released", [True, False])
async def test_an_agent_whose_controller_was_killed_leaves_nothing(
    serve: Serve, agent: Start, tmp_path: Path, *, processes: int, released: bool
) -> None:
    server = await serve(count_up)
    out = tmp_path / "pgcrucible-run" / "lane-0"
    process = await agent(job_dict(server.port, out, clients=4, seconds=30, processes=processes))
    await process.event("ready")
    if released:
        process.tell("go")
        await process.event("progress")
        assert out.exists()
    process.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    process.hang_up()  # the kernel closes both pipes when the controller is killed
    await asyncio.wait_for(process.process.wait(), 20)
    assert not out.parent.exists()


async def test_ready_go_progress_done(serve: Serve, agent: Start, tmp_path: Path) -> None:
    server = await serve(count_up)
    process = await agent(job_dict(server.port, tmp_path / "deep" / "out", clients=3, seconds=1.2))
    ready = await process.event("ready")
    assert ready["connections"] == server.open == 3
    assert ready["clock"]["monotonic_us"] > 0
    assert server.requests == 0
    process.tell("go 0.1")
    progress = await process.event("progress")
    assert (progress["second"], progress["phase"], progress["fail"]) == (0, "measure", 0)
    assert progress["p50_ms"] >= 2
    done = await process.event("done")
    assert done["summary"]["measure"]["ok"] == server.requests
    assert await process.process.wait() == 0
    assert {file.name for file in (tmp_path / "deep" / "out").iterdir()} == {
        "summary.json",
        "seconds.jsonl",
        "timeline.csv",
        "latency.hgrm",
        "service.hgrm",
        "lag.hgrm",
        "refused.hgrm",
        "samples.csv",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "load job: expected an object, got []"),
        ('{"format": 1}', "mode is missing"),
        ('{"colour": 1}', "unknown key 'colour'"),
    ],
)
async def test_a_bad_job_prints_one_line_and_exits_with_2(agent: Start, line: str, message: str) -> None:
    process = await agent(line)
    assert message in (await process.event("error"))["message"]
    assert await process.process.wait() == 2


async def test_end_of_input_without_a_job_is_an_error(agent: Start, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness.load.agent"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert b"ended before the job" in done.stdout
    assert done.stderr == b""


@pytest.mark.parametrize("line", ["run", "go now", "go @x", "go 1 2", "go inf"])
async def test_an_unknown_command_is_an_error_and_sends_nothing(
    serve: Serve, agent: Start, tmp_path: Path, line: str
) -> None:
    server = await serve(count_up)
    process = await agent(job_dict(server.port, tmp_path))
    await process.event("ready")
    process.tell(line)
    assert "go" in (await process.event("error"))["message"]
    assert await process.process.wait() == 2
    assert server.requests == 0


async def test_a_refused_connection_is_an_error(serve: Serve, agent: Start, tmp_path: Path) -> None:
    server = await serve(count_up)
    await server.stop()
    process = await agent(job_dict(server.port, tmp_path))
    assert "Connection refused" in (await process.event("error"))["message"]
    assert await process.process.wait() == 2


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("how", ["input ends", "stop", "signal"])
async def test_load_stops_when_the_controller_stops_or_ends(
    serve: Serve, agent: Start, tmp_path: Path, how: str, processes: int
) -> None:
    server = await serve(count_up)
    process = await agent(job_dict(server.port, tmp_path, clients=4, seconds=600.0, processes=processes))
    await process.event("ready")
    process.tell("go")
    await process.event("progress")
    if how == "input ends":
        process.hang_up()
    elif how == "stop":
        process.tell("stop")
    else:
        process.process.send_signal(signal.SIGTERM)
    summary = LaneSummary.from_json((await process.event("done"))["summary"])
    assert await process.process.wait() == 0
    assert summary.interrupted is True
    assert summary.measure.unknown == 0  # the agent waited for requests in flight
    assert summary.measure.ok == server.requests
    assert server.open == 0
    assert len(read_samples(sample_file(tmp_path) or tmp_path)) == server.requests  # the samples are kept


async def test_nothing_is_sent_if_the_controller_ends_before_the_release(
    serve: Serve, agent: Start, tmp_path: Path
) -> None:
    server = await serve(count_up)
    process = await agent(job_dict(server.port, tmp_path, clients=4, processes=2, requests=4))
    await process.event("ready")
    process.hang_up()
    assert await process.process.wait() == 0
    assert server.requests == 0


async def test_processes_share_a_job(serve: Serve, agent: Start, tmp_path: Path) -> None:
    server = await serve(count_up)
    job = job_dict(server.port, tmp_path, clients=5, processes=2, requests=201, keys={"kind": "cycle", "count": 7})
    process = await agent(job)
    assert (await process.event("ready"))["connections"] == server.open == 5
    process.tell("go")
    summary = LaneSummary.from_json((await process.event("done"))["summary"])
    assert await process.process.wait() == 0
    samples = read_samples(tmp_path / "samples.csv")
    assert sorted(samples.seq) == list(range(201))
    assert all(key == f"hot-{seq % 7}" for key, seq in zip(samples.key, samples.seq, strict=True))
    assert list(samples.done_us) == sorted(samples.done_us)
    assert (summary.clients, summary.measure.ok, len(summary.watch)) == (5, 201, 2)
    latencies = [done - due for done, due in zip(samples.done_us, samples.due_us, strict=True)]
    assert histogram.decode((tmp_path / "latency.hgrm").read_text()) == histogram_of(latencies)
    assert not list(tmp_path.glob("process-*"))


async def test_a_process_that_dies_is_an_error_and_stops_the_others(serve: Serve, agent: Start, tmp_path: Path) -> None:
    server = await serve(count_up)
    process = await agent(job_dict(server.port, tmp_path, clients=4, processes=2, seconds=600.0))
    await process.event("ready")
    process.tell("go")
    await process.event("progress")
    children = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    assert "process 2 ended without results" in (await process.event("error"))["message"]
    assert await process.process.wait() == 2
    sent = server.requests
    await asyncio.sleep(0.2)
    assert server.requests == sent


async def test_a_single_host_ends_its_warmup_itself(serve: Serve, agent: Start, tmp_path: Path) -> None:
    server = await serve(count_up)
    warmup = {"seconds": 1.0, "max_seconds": 1.0}
    process = await agent(job_dict(server.port, tmp_path, clients=2, requests=20, warmup=warmup, processes=2))
    await process.event("ready")
    process.tell("go")
    summary = LaneSummary.from_json((await process.event("done"))["summary"])
    assert summary.warmup_steady is not None
    assert len(summary.warmup_steps) == summary.measure_from_us // 250_000 == 8
    assert summary.measure.sent == 20
    assert summary.warmup.sent + 20 == server.requests


@pytest.mark.parametrize(
    ("stopped_s", "message"),
    [
        (0.09, "load-1: the load generator was stalled"),  # as in a control group with a tenth of a core
        (0.025, "the load generator noticed"),
    ],
)
async def test_a_stopped_generator_is_reported(
    serve: Serve, agent: Start, tmp_path: Path, *, stopped_s: float, message: str
) -> None:
    """The agent of a closed load stands still for a part of each 100 ms."""
    server = await serve(count_up)
    process = await agent(job_dict(server.port, tmp_path, clients=16, seconds=2.0))

    async def starve() -> None:
        with contextlib.suppress(ProcessLookupError):
            while True:
                process.process.send_signal(signal.SIGSTOP)
                try:
                    await asyncio.sleep(stopped_s)
                finally:
                    process.process.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.1 - stopped_s)

    await process.event("ready")
    process.tell("go")
    starving = asyncio.ensure_future(starve())
    summary = LaneSummary.from_json((await process.event("done"))["summary"])
    starving.cancel()
    await asyncio.gather(starving, return_exceptions=True)
    assert any(message in reason for reason in reasons(summary)), reasons(summary)


async def test_the_p99_of_an_open_load_equals_the_servers(serve: Serve, agent: Start, tmp_path: Path) -> None:
    """The server's delays are known (log-normal, p99 about 0.3 s); the client must measure the same.

    A loaded machine delays client and server differently, so one measurement of several decides: a client that measures
    something else never agrees.
    """
    rng = random.Random(7)
    truth: list[int] = []

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        await asyncio.sleep(min(rng.lognormvariate(-3.0, 0.8), 1.0))
        writer.write(counted(request.number))
        truth.append(round((loop.time() - arrived) * 1e6))
        return None

    server = await serve(handler)
    pairs = []
    while len(pairs) < 8:
        truth.clear()
        job = job_dict(server.port, tmp_path, mode="open", rate=400.0, seconds=3.0, clients=200, arrivals="poisson")
        process = await agent(job)
        await process.event("ready")
        process.tell("go")
        summary = LaneSummary.from_json((await process.event("done"))["summary"])
        true_p99 = (histogram.quantiles_us(histogram_of(truth), [0.99])[0] or 0) / 1000
        pairs.append((summary.latency_ms.p99_ms, true_p99))
        if summary.latency_ms.p99_ms == pytest.approx(true_p99, rel=0.1):
            return
    raise AssertionError(f"p99 of client and server: {pairs}")


def test_a_slow_reader_does_not_delay_the_load() -> None:
    """Standard output is full: progress is dropped, nothing blocks."""
    code = (
        "import os, sys\n"
        "from harness.load.agent import emit\n"
        "os.set_blocking(1, False)\n"
        "try:\n"
        "    while True: os.write(1, b'x' * 4096)\n"
        "except BlockingIOError: pass\n"
        "emit({'event': 'progress', 'second': 1})\n"
        "sys.stderr.write('not delayed')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    with process:
        assert process.stderr
        assert process.stderr.read() == b"not delayed"
        assert process.stdout
        assert b"progress" not in process.stdout.read()
