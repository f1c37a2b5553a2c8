"""Connections that the service closes while they are idle: before the release, at it, and during the load."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.load import engine
from harness.load.clock import now_us
from harness.load.engine import Engine
from harness.load.job import decode_job
from harness.load.sample_buffer import SampleBuffer
from harness.load.worker import model_of, work
from tests.support.odd_service import OddService

from .conftest import Handler, LoopbackServer, Request, counted, job_dict, run_job

Serve = Callable[[Handler], Awaitable[LoopbackServer]]
LOADS: dict[str, dict[str, Any]] = {
    "together": {},
    "ramp": {"release": "ramp"},
    "open": {"mode": "open", "rate": 1000.0},
}


async def count_up(request: Request, writer: asyncio.StreamWriter) -> bool | None:
    writer.write(counted(request.number + 1))
    return None


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def released(job: dict[str, Any], between: Callable[[Engine], Awaitable[None]]) -> Engine:
    """Runs a job whose connections meet something between their opening and the release."""
    decoded = decode_job(job)
    buffer = SampleBuffer(decoded, Path(job["out"]), lambda _: None)
    made = model_of(decoded)(decoded, buffer)
    await made.open()
    await between(made)
    made.release(now_us())
    async with asyncio.timeout(20):
        await made.finished
    buffer.finish(now_us())
    made.close()
    buffer.close()
    return made


async def test_connections_closed_while_the_load_waits_for_its_release_are_opened_again(
    serve: Serve, tmp_path: Path
) -> None:
    server = await serve(count_up)
    commands: asyncio.Queue[str | None] = asyncio.Queue()
    job = decode_job(job_dict(server.port, tmp_path, clients=5, requests=5))
    task = asyncio.ensure_future(work(job, commands, lambda _: None))
    await until(lambda: server.open == 5)
    port = server.port
    await server.stop()
    await server.start(port)
    await until(lambda: server.open == 5)
    commands.put_nowait("go")
    summary = await task
    assert summary
    assert (summary.measure.ok, summary.connections.opened) == (5, 10)


@pytest.mark.parametrize("name", LOADS)
async def test_all_clients_begin_though_connections_were_lost_just_before_the_release(
    serve: Serve, tmp_path: Path, name: str
) -> None:
    """They were forgotten: the load had fewer clients than it said."""
    arrived = asyncio.Event()

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        if server.busy == 6:
            arrived.set()
        await arrived.wait()  # until six requests are in flight at the same time
        return await count_up(request, writer)

    async def lose(made: Engine) -> None:
        for connection in list(made._connections)[:4]:
            connection.transport.abort()
        await until(lambda: len(made._connections) == 2)

    server = await serve(handler)
    made = await released(job_dict(server.port, tmp_path, clients=6, requests=6, **LOADS[name]), lose)
    assert made.buffer.phases[1].outcomes == [6, 0, 0]
    assert (made.missing, made.peak_in_flight) == (4, 6)


@pytest.mark.parametrize("name", LOADS)
async def test_a_connection_whose_end_is_unread_carries_no_request(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The service closes while the event loop does something else: no request was written, so none is lost."""
    monkeypatch.setattr(engine, "_IDLE_US", 0)

    async def close_three(_: Engine) -> None:
        await until(lambda: server.open == 4)
        for writer in server.writers[:3]:  # no await from here to the release: the loop cannot read it
            with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    server = await serve(count_up)
    made = await released(job_dict(server.port, tmp_path, clients=4, requests=12, **LOADS[name]), close_three)
    assert made.buffer.phases[1].outcomes == [12, 0, 0]
    assert made.missing == 0


async def test_the_connection_opened_first_sends_first(serve: Serve, tmp_path: Path) -> None:
    """A service closes idle connections in the order of their age."""
    first: list[object] = []

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        first.append(writer)
        return await count_up(request, writer)

    async def open_one_by_one(made: Engine) -> None:
        for _ in range(20):  # opened in another order than that of their addresses in memory
            made._connections.add(await made._connector.connect())
        await until(lambda: server.open == 20)

    server = await serve(handler)
    job = decode_job(job_dict(server.port, tmp_path, clients=20, requests=20))
    buffer = SampleBuffer(job, tmp_path, lambda _: None)
    made = model_of(job)(job, buffer)
    await open_one_by_one(made)
    made.release(now_us())
    await made.finished
    made.close()
    buffer.close()
    assert first == server.writers


@pytest.mark.parametrize("name", ["together", "open"])
async def test_a_crash_that_ends_the_request_on_an_idle_connection_is_no_idle_close(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The service reads the request and its process ends: the request may be applied, and the service is the cause."""
    monkeypatch.setattr(engine, "_IDLE_US", 0)

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        return False

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, clients=4, requests=4, **LOADS[name]))
    assert done.samples.outcome == ["unknown"] * 4
    assert done.samples.error == ["eof"] * 4


@pytest.mark.parametrize(("name", "unread"), [("together", False), ("together", True), ("open", True)])
async def test_a_request_that_crosses_the_end_of_an_idle_connection_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, unread: bool
) -> None:
    """The connection ends before the request is read: its end and the request cross, or the request lies unread."""
    monkeypatch.setattr(engine, "_IDLE_US", 0)
    monkeypatch.setattr(Engine, "_is_gone", lambda *_: False)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def close(made: Engine) -> None:
            accepted, _ = listener.accept()
            asyncio.get_running_loop().call_later(0.3, accepted.close) if unread else accepted.close()

        made = await released(job_dict(listener.getsockname()[1], tmp_path, requests=1, **LOADS[name]), close)
    assert made.buffer.phases[1].outcomes == [0, 0, 1]
    assert made.buffer.phases[1].errors == {"closed while idle": 1}


async def test_a_service_with_a_short_idle_timeout_is_blamed_for_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections end while the load waits for its release; one that ends in that very moment is named.

    From then on the service waits longer: on a busy machine half a second can pass between two requests.
    """
    monkeypatch.setattr(engine, "_WAIT_US", 60_000_000)
    with OddService(idle_s=0.5) as service:
        commands: asyncio.Queue[str | None] = asyncio.Queue()

        def release() -> None:
            service.habits.idle_s = None
            commands.put_nowait("go")

        asyncio.get_running_loop().call_later(1.5, release)
        job = job_dict(service.port, tmp_path, clients=100, requests=500)
        summary = await work(decode_job(job), commands, lambda _: None)
    assert summary
    assert summary.measure.ok + summary.measure.errors.get("closed while idle", 0) == 500
    assert summary.connections.opened > 100


async def test_a_connection_that_ends_as_it_is_opened_is_tried_again(serve: Serve, tmp_path: Path) -> None:
    """uvloop raised RuntimeError at the write, which ended the agent."""

    async def lose(made: Engine) -> None:
        connect = made._connector._connect
        tries = iter([True, True, False])

        async def connect_and_end(address: str) -> Any:
            connection = await connect(address)
            if next(tries, False):
                connection.transport.abort()
                await until(lambda: not connection.usable)
            return connection

        made._connector._connect = connect_and_end  # type: ignore[method-assign]
        for connection in list(made._connections):
            connection.transport.abort()
        await until(lambda: not made._connections)

    server = await serve(count_up)
    made = await released(job_dict(server.port, tmp_path, requests=3), lose)
    assert made.buffer.phases[1].outcomes == [3, 0, 0]
