"""Whether the database answers: readiness, how long the service waits, which answers count."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from app.backends import watch as watch_module
from app.backends.postgres import PostgresBackend
from app.backends.watch import Watch, ask
from app.settings import Settings

from .conftest import BOUND, Eventually, Start, outcome, ready, unready


async def test_ready_means_that_the_database_answers(server, database, start: Start, eventually: Eventually) -> None:
    service = await start(database.environ)
    await eventually(lambda: ready(service))
    assert (await service.get("/ready")).body == {"status": "ready", "container": "app-1"}
    await service.increment("a")
    await asyncio.to_thread(server.stop)
    try:
        await eventually(lambda: unready(service))
        assert outcome(await service.increment("a")) == (503, "DATABASE_LOST", "aborted")
        assert (await service.get("/live")).status == 200
    finally:
        await asyncio.to_thread(server.start)
    await eventually(lambda: ready(service))
    assert (await service.increment("a")).body["value"] == 2


async def test_a_saturated_pool_is_ready(database, start: Start, eventually: Eventually) -> None:
    service = await start(database.environ, POOL_SIZE=1)
    await eventually(lambda: ready(service))
    tasks = [asyncio.create_task(service.post("/api/transaction", {"keys": [], "hold_ms": 4000})) for _ in range(2)]
    while not tasks[0].done():  # 4 s without a free connection and without the end of a statement
        assert await ready(service)
        await asyncio.sleep(0.1)
    assert [(await task).status for task in tasks] == [200, 200]


async def test_a_server_that_accepts_connections_has_longer_to_answer_than_one_that_is_not_reached() -> None:
    """Beside other load 578 of 1,000 writes were refused: a database without CPU had no byte for 1.5 s."""

    class Idle:
        """A pool that no statement uses."""

        signs = 0

        def overdue(self, _: float) -> tuple[()]:
            return ()

        def lose(self, _: Exception) -> None:
            """Nothing waits."""

    def lost(watch: Watch) -> bool:
        assert watch.reason is not None
        return watch.reason.code == "DATABASE_LOST"

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),  # the kernel drops what comes beyond the backlog
    ):
        watches = [Watch(Idle(), *place.getsockname()) for place in (full, silent)]  # type: ignore[arg-type]
        for watch in watches:
            watch.start()
        try:
            async with asyncio.timeout(BOUND):
                while not lost(watches[0]):
                    await asyncio.sleep(0.05)
                assert not lost(watches[1])
                while not lost(watches[1]):
                    await asyncio.sleep(0.05)
        finally:
            await asyncio.gather(*(watch.close() for watch in watches))


async def test_answers_that_take_half_of_the_limit_keep_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server short of CPU accepts a connection and answers after 3 s: each question was given up after 2 s."""
    monkeypatch.setattr(watch_module, "TICK_SECONDS", 0.02)
    ticks = open_now = most_open = 0

    class Ticking:
        """A pool that no statement uses; it counts the ticks."""

        signs = 0

        def overdue(self, _: float) -> tuple[()]:
            nonlocal ticks
            ticks += 1
            return ()

        def lose(self, _: Exception) -> None:
            """Nothing waits."""

        def regain(self) -> bool:
            return True

    async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most_open
        open_now += 1
        most_open = max(most_open, open_now)
        due = ticks + 12
        with contextlib.suppress(OSError):
            while ticks < due and not writer.is_closing():
                await asyncio.sleep(0.005)
            writer.write(b"N")
            await reader.read()
        open_now -= 1
        writer.close()

    async with asyncio.timeout(BOUND), await asyncio.start_server(answer_late, "127.0.0.1", 0) as listener:
        watch = Watch(Ticking(), *listener.sockets[0].getsockname())  # type: ignore[arg-type]
        watch.start()
        try:
            while ticks < 80:
                await asyncio.sleep(0.01)
                assert not watch.reason or watch.reason.code == "DATABASE_UNKNOWN"
            assert watch.reason is None
            assert most_open <= 11
        finally:
            await watch.close()
            ticks += 100  # no handler waits for an answer that is due
            while open_now:
                await asyncio.sleep(0.01)


async def test_questions_leave_no_line_in_the_servers_log(server, database, start: Start) -> None:
    before = server.log.read_text(encoding="utf-8")
    for _ in range(5):
        await ask("127.0.0.1", server.port)
    assert server.log.read_text(encoding="utf-8") == before


async def test_a_port_without_postgresql_is_no_answer() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    with pytest.raises((EOFError, OSError)):
        await ask("127.0.0.1", port)
    listener.close()
    with pytest.raises(OSError, match="refused"):
        await ask("127.0.0.1", port)


async def test_a_proxy_that_only_knows_tls_requests_is_an_answer(eventually: Eventually) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(8) == b"\0\0\0\x08\x04\xd2\x16\x2f":
            writer.write(b"S")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        backend = PostgresBackend(Settings(postgres_port=listener.sockets[0].getsockname()[1]))

        async def reached() -> bool:
            return backend.lost() is None

        await backend.open()
        await eventually(reached)
        for _ in range(30):
            assert await reached()
            await asyncio.sleep(0.1)
        await backend.close()
