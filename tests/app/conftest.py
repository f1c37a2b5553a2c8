"""Starts the service on a loopback port, any number of times per test: in this process, or as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from app.service import make_app
from app.settings import Settings
from tests.support.faulty_link import FaultyLink, faulty_link
from tests.support.postgres_server import Database


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


Eventually = Callable[..., Awaitable[None]]
SAFE = ("upsert", "for-update", "coalesce", "optimistic", "serializable")
CLIENTS = 20
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    connection = await psycopg.AsyncConnection.connect(database.dsn, autocommit=True)
    yield connection
    await connection.close()


async def scalar(connection: psycopg.AsyncConnection, sql: str) -> int:
    row = await (await connection.execute(sql)).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


async def one_waits(database: Database) -> bool:
    """Returns whether a session waits for a lock; on a separate connection, outside any transaction's snapshot."""
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as connection:
        return await scalar(connection, WAITING) == 1


@contextlib.asynccontextmanager
async def load_on(services: Sequence[Service]) -> AsyncIterator[list[Answer]]:
    """Increments one counter of the services with every safe strategy while the context lasts; yields the answers."""
    answers: list[Answer] = []
    going = True

    async def client(number: int) -> None:
        while going:
            answers.append(await services[number % len(services)].increment("hot", SAFE[number % len(SAFE)]))

    tasks = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    try:
        yield answers
    finally:
        going = False
        await asyncio.gather(*tasks)


def statuses(answers: list[Answer]) -> dict[int, int]:
    return dict(Counter(answer.status for answer in answers))


async def crossed(service: Service, *, retry: bool) -> list[Answer]:
    def transaction(*keys: str) -> Awaitable[Answer]:
        return service.post("/api/transaction", {"keys": keys, "hold_ms": 300, "retry": retry})

    return list(await asyncio.gather(transaction("a", "b"), transaction("b", "a")))


BOUND = 20.0
"""A request that takes longer hangs: far above any limit that these tests set."""


@pytest.fixture
async def link(server) -> AsyncIterator[FaultyLink]:  # type: ignore[no-untyped-def]
    async with faulty_link(server.port) as opened:
        yield opened


def through(database, link: FaultyLink) -> dict[str, str]:  # type: ignore[no-untyped-def]
    return {**database.environ, "POSTGRES_PORT": str(link.port), "POSTGRES_SSLMODE": "disable"}


async def ready(service: Service) -> bool:
    return (await service.get("/ready")).status == 200


def outcome(answer: Answer) -> tuple[int, str, str]:
    return answer.status, answer.body["code"], answer.body["outcome"]


async def unready(service: Service) -> bool:
    answer = await service.get("/ready")
    assert answer.status in (200, 503)
    return answer.status == 503 and outcome(answer) == (503, "DATABASE_LOST", "aborted")


ROOT = Path(__file__).parents[2]
Launch = Callable[..., "asyncio.Future[tuple[asyncio.subprocess.Process, str]]"]


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    """Starts a process, waits until it listens, returns it and its URL; its log is tmp_path/log."""
    processes: list[asyncio.subprocess.Process] = []

    async def begin(**environ: str) -> tuple[asyncio.subprocess.Process, str]:
        log = tmp_path / "log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app", cwd=ROOT, stderr=stderr,
                env={"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0", **environ},
            )  # fmt: skip
        processes.append(process)
        for _ in range(600):
            if log.read_text().endswith("\n"):
                break
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.05)
        first = json.loads(log.read_text().splitlines()[0])
        assert first["event"] == "listening", first
        return process, f"http://127.0.0.1:{first['port']}"

    yield begin  # type: ignore[misc]
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


BACKENDS = ("postgres", "sqlite-naive", "sqlite-tuned")


@pytest.fixture(params=BACKENDS)
async def service(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> Service:
    environ = {"BACKEND": request.param, "SQLITE_PATH": str(tmp_path / "crucible.sqlite")}
    if request.param == "postgres":
        environ |= request.getfixturevalue("database").environ
    return await start(environ)
