"""One connection: statements of any size, errors, a closed connection, a cancelled wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest

from app.backends.pg_connection import PgConnection

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def connect(database) -> AsyncIterator[Callable[[], Awaitable[PgConnection]]]:
    """Connections to a fresh database, closed at the end of the test."""
    links: list[PgConnection] = []

    async def begin() -> PgConnection:
        links.append(
            PgConnection(await psycopg.AsyncConnection.connect(database.app_dsn, autocommit=True), prepare=True)
        )
        return links[-1]

    yield begin
    for link in links:
        link.close()


async def test_statements_of_any_size_in_turn(connect) -> None:
    link = await connect()
    large = "x" * 20_000_000  # more than the kernel takes at once
    for text in ("a", large, "b", large):
        assert await link.query("SELECT length($1::text), $1::text", (text,)) == [(len(text), text)]
    assert link.idle
    assert link.silent()


async def test_a_connection_is_usable_after_an_error(connect) -> None:
    link = await connect()
    for _ in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await link.query("SELECT 1 / $1::int", (0,))
        assert await link.query("SELECT 1 / $1::int", (1,)) == [(1,)]


async def test_a_closed_connection_is_detected(database, connect, eventually: Eventually) -> None:
    link = await connect()
    await link.query("SELECT 1")
    await end_sessions(database.dsn)

    async def detected() -> bool:
        return not link.silent()

    await eventually(detected)
    with pytest.raises(psycopg.OperationalError):
        await link.query("SELECT 1")
    assert not link.idle


async def test_a_cancelled_wait_cancels_the_statement(database, connect, eventually: Eventually) -> None:
    link = await connect()
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as admin:

        async def asleep() -> int:
            row = await (await admin.execute(sleeping)).fetchone()
            assert row
            return int(row[0])

        async def awake() -> bool:
            return await asleep() == 0

        async def begun() -> bool:
            return await asleep() == 1

        task = asyncio.create_task(link.query("SELECT pg_sleep(600)"))
        await eventually(begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(awake)
    assert await link.query("SELECT 1") == [(1,)]


async def end_sessions(dsn: str) -> None:
    """End the app's sessions and wait until they are gone."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = 'appuser'"
        )
