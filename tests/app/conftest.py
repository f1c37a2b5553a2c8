"""Starts the service in this process, on a loopback port, any number of times per test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from app.service import make_app
from app.settings import Settings


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of the service: uvloop reports a lost socket differently than asyncio's loop."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A complete HTTP response."""

    status: int
    body: Any
    headers: Any


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service and a client without a connection limit."""

    url: str
    app: web.Application
    client: ClientSession

    async def post(self, path: str, document: object = None, *, entry_id: str = "", data: Any = None) -> Answer:
        """Sends a POST with `document` as JSON, or with `data` unchanged."""
        headers = {"Idempotency-Key": entry_id} if entry_id else {}
        sent = {"json": document} if data is None else {"data": data}
        async with self.client.post(self.url + path, headers=headers, **sent) as answer:
            return Answer(status=answer.status, body=await answer.json(), headers=answer.headers)

    async def get(self, path: str) -> Answer:
        """Sends a GET."""
        async with self.client.get(self.url + path) as answer:
            return Answer(status=answer.status, body=await answer.json(), headers=answer.headers)

    async def increment(self, key: str, strategy: str | None = None, *, entry_id: str = "") -> Answer:
        """Sends one increment."""
        document = {"key": key} if strategy is None else {"key": key, "strategy": strategy}
        return await self.post("/api/increment", document, entry_id=entry_id)

    async def value(self, key: str) -> int:
        """Returns the counter's value."""
        answer = await self.get(f"/api/counter/{key}")
        assert answer.status == 200, answer
        return int(answer.body["value"])


Start = Callable[..., Awaitable[Service]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(environ, POOL_SIZE=1)`: a service with these settings, stopped at the end of the test."""
    runners: list[web.AppRunner] = []
    client = ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60))

    async def begin(environ: dict[str, str], **settings: object) -> Service:
        changed = {name: str(value) for name, value in settings.items()}
        app = make_app(Settings.from_environment({**environ, "HOST": "127.0.0.1", "PORT": "0", **changed}))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=5, auto_decompress=False)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        return Service(url=f"http://127.0.0.1:{runner.addresses[0][1]}", app=app, client=client)

    yield begin
    await client.close()
    for runner in runners:
        await runner.cleanup()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Waits until the condition holds, or fails."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """`await eventually(condition)`."""
    return until
