"""The service as a process: start, logs, end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession

from .conftest import ROOT, Launch


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def in_flight(client: ClientSession, url: str) -> None:
    """Waits until a request uses a connection."""
    for _ in range(600):
        async with client.get(f"{url}/api/pool-stats") as answer:
            stats = await answer.json()
        if stats["totalCount"] > stats["idleCount"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the request did not reach the database")


async def test_sigterm_finishes_requests_in_flight(database, launch: Launch, tmp_path: Path) -> None:
    process, url = await launch(**database.environ)
    async with ClientSession() as client:

        async def transaction() -> tuple[int, object]:
            body = {"key": "a", "hold_ms": 1500}
            async with client.post(f"{url}/api/transaction", json=body) as answer:
                return answer.status, (await answer.json())["values"]

        task = asyncio.create_task(transaction())
        await in_flight(client, url)
        process.send_signal(signal.SIGTERM)
        assert await task == (200, [1])
    assert await asyncio.wait_for(process.wait(), 20) == 0
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events == ["listening", "stopping", "stopped"]


async def balanced(client: ClientSession, url: str, process: asyncio.subprocess.Process) -> list[tuple[int, bool]]:
    """Sends requests as 20 clients of a load balancer until it takes the host out; SIGTERM comes in between.

    The balancer checks /ready and takes the host out after two failures. Returns (status, whether the response closes
    its connection) of each request; the status of a request without a response is 0.
    """
    answers: list[tuple[int, bool]] = []
    serving = True

    async def load(number: int) -> None:
        while serving:
            try:
                async with client.post(f"{url}/api/increment", json={"key": f"k{number}"}) as answer:
                    answers.append((answer.status, answer.headers.get("Connection") == "close"))
            except ClientConnectionError:
                answers.append((0, False))
                return

    async def ready() -> bool:
        try:
            async with client.get(f"{url}/ready") as answer:
                return answer.status == 200
        except ClientConnectionError:
            return False

    tasks = [asyncio.create_task(load(number)) for number in range(20)]
    while len(answers) < 200:
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    failures = 0
    while failures < 2:
        failures = 0 if await ready() else failures + 1
        await asyncio.sleep(0.2)
    serving = False
    await asyncio.gather(*tasks)
    return answers


async def test_a_rolling_restart_fails_no_request(database, launch: Launch) -> None:
    process, url = await launch(**database.environ, DRAIN_SECONDS="60")
    async with ClientSession() as client:
        answers = await asyncio.wait_for(balanced(client, url, process), 60)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert {status for status, _ in answers} == {200}
    assert sum(closes for _, closes in answers) >= 20


async def test_without_a_drain_requests_fail(database, launch: Launch) -> None:
    """The negative control of the rolling restart."""
    process, url = await launch(**database.environ, DRAIN_SECONDS="0")
    async with ClientSession() as client:
        answers = await asyncio.wait_for(balanced(client, url, process), 60)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert 0 in {status for status, _ in answers}


async def test_the_drain_ends_without_a_load_balancer(database, launch: Launch) -> None:
    process, url = await launch(**database.environ, DRAIN_SECONDS="0.5")
    async with ClientSession() as client:
        async with client.post(f"{url}/api/increment", json={"key": "a"}) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_service_without_requests_does_not_drain(database, launch: Launch) -> None:
    process, url = await launch(**database.environ, DRAIN_SECONDS="600")
    async with ClientSession() as client, client.get(f"{url}/metrics") as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_requests_beyond_the_shutdown_time_are_cut_off(database, launch: Launch) -> None:
    process, url = await launch(**database.environ, SHUTDOWN_SECONDS="0.3")
    async with ClientSession() as client:
        post = client.post(f"{url}/api/transaction", json={"key": "a", "hold_ms": 30_000})
        task = asyncio.create_task(post.__aenter__())
        await in_flight(client, url)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        with pytest.raises(Exception, match="disconnected"):
            await task


async def test_errors_are_json_lines_without_secrets_or_tracebacks(database, launch, tmp_path: Path) -> None:
    environ = {**database.environ, "POSTGRES_PASSWORD": "hunter2"}
    process, url = await launch(**environ)
    async with ClientSession() as client:
        for _ in range(20):
            async with client.post(f"{url}/api/increment", json={"key": "a"}) as answer:
                assert answer.status == 503
                assert "hunter2" not in await answer.text()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    text = (tmp_path / "log").read_text()
    failed = [line for line in map(json.loads, text.splitlines()) if line["event"] == "request failed"]
    assert 1 <= len(failed) < 20  # equal ones share a line a second
    assert (failed[0]["code"], failed[0]["outcome"], failed[0]["op"]) == ("28P01", "aborted", "increment")
    assert "hunter2" not in text
    assert "Traceback" not in text


def test_help_lists_every_setting() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "POOL_WAIT_SECONDS" in done.stdout


def test_an_invalid_setting_is_one_line_and_exit_code_2() -> None:
    done = run(POOL_SIZE="many")
    assert done.returncode == 2
    assert done.stderr.startswith("app: POOL_SIZE='many'")
    assert done.stderr.count("\n") == 1


def test_a_failed_start_prints_the_reason_and_exits_with_1(tmp_path: Path) -> None:
    done = run(BACKEND="sqlite-tuned", SQLITE_PATH=str(tmp_path / "nowhere" / "file"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"] == "cannot start"
