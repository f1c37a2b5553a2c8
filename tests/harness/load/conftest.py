"""Servers on the loopback with a handler per test, and ways to run a job against them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from harness.load.job import decode_job
from harness.load.results.samples import read_samples, sample_file
from harness.load.results.summary import LaneSummary
from harness.load.worker import work
from harness.record import Samples

BOTH = ("test_connector", "test_idle_connections", "test_tcp_state")


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Runs the tests of TLS and of how a connection ends with asyncio and uvloop, which implement both separately."""
    both = {"uvloop": uvloop.new_event_loop} if item.path.stem in BOTH else {}
    return {"asyncio": asyncio.new_event_loop, **both}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as the server received it; `number` counts from 0 over all connections."""

    number: int
    line: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Request, asyncio.StreamWriter], Awaitable[bool | None]]
"""Writes a response; False ends the connection."""


def http(body: object = None, *, status: int = 200, headers: str = "", raw: bytes | None = None) -> bytes:
    """A complete response: JSON of `body`, or `raw` bytes as they are."""
    data = raw if raw is not None else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    return head.encode() + data


def counted(value: int, container: str = "app-1") -> bytes:
    return http({"success": True, "value": value, "duration": 0.1, "container": container})


class LoopbackServer:
    """An HTTP/1.1 server; `open` and `peak` count its connections, `busy_peak` requests without a response."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self.writers: list[asyncio.StreamWriter] = []
        self.requests = self.open = self.peak = self.busy = self.busy_peak = 0
        self.port = 0

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=1024, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.open += 1
        self.writers.append(writer)
        self.peak = max(self.peak, self.open)
        try:
            while await self._one(reader, writer) is not False:
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        number, self.requests = self.requests, self.requests + 1
        self.busy += 1
        self.busy_peak = max(self.busy_peak, self.busy)
        try:
            return await self._handler(Request(number=number, line=head[0], headers=headers, body=body), writer)
        finally:
            self.busy -= 1


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[LoopbackServer]]]:
    """Starts servers; stops them when the test ends."""
    servers: list[LoopbackServer] = []

    async def start(handler: Handler, tls: ssl.SSLContext | None = None) -> LoopbackServer:
        server = LoopbackServer(handler)
        await server.start(tls=tls)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


INCREMENT = {"name": "increment", "path": "/api/increment", "body": {"key": "{key}"}, "value": "value"}


def job_dict(port: int, out: Path, **changes: Any) -> dict[str, Any]:
    """A valid closed job of one client and one request, with `changes`."""
    job: dict[str, Any] = {
        "format": 1,
        "target": {"host": "127.0.0.1", "port": port},
        "mode": "closed",
        "clients": 1,
        "requests": 1,
        "operations": [INCREMENT],
        "load_host": "load-1",
        "run_tag": "t",
        "out": str(out),
    }
    job.update(changes)
    if "seconds" in changes and "requests" not in changes:
        job["requests"] = None
    return job


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of a job."""

    summary: LaneSummary
    events: list[dict[str, Any]]
    folder: Path

    @property
    def samples(self) -> Samples:
        file = sample_file(self.folder)
        assert file
        return read_samples(file)

    @property
    def errors(self) -> dict[str, int]:
        return dict(self.summary.measure.errors)


async def run_job(job: dict[str, Any], *lines: str | None) -> Outcome:
    """Runs a job in this process and event loop with the commands `go` and `lines`."""
    commands: asyncio.Queue[str | None] = asyncio.Queue()
    for line in ("go", *lines):
        commands.put_nowait(line)
    events: list[dict[str, Any]] = []
    summary = await work(decode_job(job), commands, events.append)
    assert summary
    return Outcome(summary=summary, events=events, folder=Path(job["out"]))


class AgentProcess:
    """A `python -m harness.load.agent` process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")

    def hang_up(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    async def event(self, *kinds: str) -> dict[str, Any]:
        """The next event of one of these kinds."""
        assert self.process.stdout
        while line := await asyncio.wait_for(self.process.stdout.readline(), 60):
            event: dict[str, Any] = json.loads(line)
            if event["event"] in kinds:
                return event
        raise AssertionError(f"the agent ended before any of {kinds}")


@pytest.fixture
async def agent() -> AsyncIterator[Callable[[dict[str, Any] | str], Awaitable[AgentProcess]]]:
    """Starts agents with a job (or any first line); ends them with the test."""
    processes: list[AgentProcess] = []

    async def start(job: dict[str, Any] | str) -> AgentProcess:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "harness.load.agent",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[3],
            limit=1 << 22,
        )
        started = AgentProcess(process)
        processes.append(started)
        started.tell(job if isinstance(job, str) else json.dumps(job))
        return started

    yield start
    for started in processes:
        if started.process.returncode is None:
            started.process.kill()
        await started.process.communicate()


Serve = Callable[[Handler], Awaitable[LoopbackServer]]
BODY = b'{"success": true, "value": 7, "container": "app-1"}'


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


def until_close(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body
