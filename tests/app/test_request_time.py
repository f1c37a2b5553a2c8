"""The time that a request may take: in the service, on the server and on the socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter

import psycopg
import pytest

from app.backends.watch import GRACE_SECONDS
from app.service import BACKEND
from app.settings import Settings

from .conftest import BOUND, SAFE, Start


@pytest.mark.parametrize("strategy", [*SAFE, "unsafe"])
async def test_a_request_beyond_its_time_is_cancelled_and_aborted(database, start: Start, admin, strategy: str) -> None:
    service = await start(database.environ, REQUEST_SECONDS=0.5, POOL_SIZE=1, COALESCE_BATCHES=1)
    await service.increment("a")
    async with admin.transaction():
        await admin.execute("SELECT FROM counters FOR UPDATE")
        answers = await asyncio.wait_for(asyncio.gather(*(service.increment("a", strategy) for _ in range(3))), BOUND)
    assert {answer.body["outcome"] for answer in answers} == {"aborted"}
    assert {answer.body["code"] for answer in answers} <= {"57014", "POOL_TIMEOUT", "REQUEST_TIMEOUT"}
    assert await service.value("a") == 1
    assert (await service.increment("a", strategy)).body["value"] == 2


async def test_increments_that_wait_for_a_batch_end_with_it(database, start: Start, admin) -> None:
    """The queue is answered when the batches in flight are cancelled: it does not wait for one turn each."""
    service = await start(database.environ, REQUEST_SECONDS=0.5, COALESCE_MAX_BATCH=1, COALESCE_BATCHES=1)
    await service.increment("a")
    async with admin.transaction():
        await admin.execute("SELECT FROM counters FOR UPDATE")
        tasks = (service.increment("a", "coalesce") for _ in range(200))
        answers = await asyncio.wait_for(asyncio.gather(*tasks), BOUND)
    assert {(answer.status, answer.body["outcome"]) for answer in answers} == {(503, "aborted")}
    # one batch, and few more where the machine is so busy that requests arrive after it was cancelled
    assert 1 <= Counter(answer.body["code"] for answer in answers)["57014"] <= 10


async def test_a_hold_extends_the_time_of_its_request(database, start: Start) -> None:
    service = await start(database.environ, REQUEST_SECONDS=0.5)
    answer = await service.post("/api/transaction", {"keys": ["a", "b"], "hold_ms": 1000})
    assert answer.status == 200


async def test_time_outs_are_in_force_on_server_and_socket(database, start: Start) -> None:
    service = await start(database.environ, IDLE_TRANSACTION_MS=3000, LOCK_TIMEOUT_MS=4000)
    connection = await service.app[BACKEND]._connect()  # type: ignore[attr-defined]
    try:
        names = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
        in_force = [(await connection.query(f"SHOW {name}"))[0][0] for name in names]
        assert in_force == ["3s", "4s", "1min"]
        with socket.socket(fileno=os.dup(connection._connection.fileno())) as copy:
            assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000
            assert copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1
    finally:
        connection.close()


async def test_a_transaction_that_is_left_open_frees_its_locks(database, start: Start) -> None:
    """A service that stops in mid-transaction must not block the other hosts for long."""
    stuck = await start(database.environ, IDLE_TRANSACTION_MS=300)
    other = await start(database.environ, CONTAINER_ID="app-2")
    await other.increment("a")
    connection = await stuck.app[BACKEND]._connect()  # type: ignore[attr-defined]
    try:
        await connection.query("BEGIN")
        await connection.query("SELECT FROM counters FOR UPDATE")
        assert (await asyncio.wait_for(other.increment("a"), BOUND)).body["value"] == 2
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            await connection.query("COMMIT")
    finally:
        connection.close()


def test_the_default_time_of_a_request_is_below_the_clients() -> None:
    """30 s is the limit of a request of the load generator (harness/load/spec.py)."""
    settings = Settings()
    assert settings.request_seconds + GRACE_SECONDS + 1 < 30
    assert settings.pool_wait_seconds <= settings.request_seconds
    assert settings.lock_timeout_ms / 1000 < settings.request_seconds
