"""Cases of SQLite alone: one file shared by several instances."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.backends import filesystem, sqlite
from harness.isolation.sqlite_profiles import PROFILES

from .conftest import Start

NAIVE, TUNED = "sqlite-naive", "sqlite-tuned"


def environ(folder: Path, backend: str) -> dict[str, str]:
    return {"BACKEND": backend, "SQLITE_PATH": str(folder / "crucible.sqlite")}


def integrity(folder: Path) -> str:
    connection = sqlite3.connect(folder / "crucible.sqlite")
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


async def test_tuned_instances_wait_for_each_other(start: Start, tmp_path: Path) -> None:
    services = [await start(environ(tmp_path, TUNED)) for _ in range(3)]
    answers = await asyncio.gather(*(services[n % 3].increment("hot") for n in range(300)))
    assert sorted(answer.body["value"] for answer in answers) == list(range(1, 301))
    assert integrity(tmp_path) == "ok"


@pytest.mark.parametrize("backend", [NAIVE, TUNED])
async def test_a_locked_file_is_busy_or_waits(start: Start, tmp_path: Path, backend: str) -> None:
    service = await start(environ(tmp_path, backend))
    await service.increment("a")
    other = sqlite3.connect(tmp_path / "crucible.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        task = asyncio.create_task(service.increment("a"))
        await asyncio.sleep(0.3)
        assert task.done() is (backend == NAIVE)
        other.execute("ROLLBACK")
    finally:
        other.close()
    answer = await task
    if backend == NAIVE:
        assert (answer.status, answer.body["code"]) == (503, "SQLITE_BUSY")
        assert (answer.body["outcome"], answer.body["retries"], answer.body["transactions"]) == ("aborted", 0, 1)
    assert (await service.get("/metrics?database=0")).body["transactions"] == 2
    assert await service.value("a") == (1 if backend == NAIVE else 2)


async def test_naive_instances_get_busy_and_lose_no_acknowledged_write(start, tmp_path: Path) -> None:
    services = [await start(environ(tmp_path, NAIVE)) for _ in range(4)]
    ok: Counter[str] = Counter()
    for _ in range(20):  # until it happens, which is nearly at once
        answers = await asyncio.gather(*(services[n % 4].increment("hot") for n in range(100)))
        ok.update("ok" if answer.status == 200 else answer.body["code"] for answer in answers)
        if ok["SQLITE_BUSY"]:
            break
    assert set(ok) == {"ok", "SQLITE_BUSY"}
    while (answer := await services[0].get("/api/counter/hot")).status != 200:
        assert answer.body["code"] == "SQLITE_BUSY"
    assert answer.body["value"] == ok["ok"]
    assert integrity(tmp_path) == "ok"


@pytest.mark.parametrize(("backend", "journal", "timeout"), [(NAIVE, "delete", 0), (TUNED, "wal", 10_000)])
async def test_the_effective_pragmas_are_those_the_harness_expects(
    start: Start, tmp_path: Path, backend, journal, timeout
) -> None:
    facts = (await (await start(environ(tmp_path, backend))).get("/metrics")).body["facts"]
    assert (facts["journal_mode"], facts["busy_timeout"], facts["synchronous"]) == (journal, timeout, 2)
    promised = asdict(PROFILES[backend.removeprefix("sqlite-")])
    assert {name: facts[name] for name in promised} == promised


async def test_sqlite_offers_one_strategy_and_one_level(start: Start, tmp_path: Path) -> None:
    service = await start(environ(tmp_path, TUNED))
    assert (await service.increment("a", "upsert")).status == 200
    assert (await service.increment("a", "for-update")).status == 422
    answer = await service.post("/api/test-isolation", {"level": "READ COMMITTED"})
    assert (answer.status, answer.body["outcome"]) == (422, "aborted")


@pytest.mark.parametrize("backend", [NAIVE, TUNED])
@pytest.mark.parametrize(("flag", "observed"), [(0, "SERIALIZABLE"), (1, "READ UNCOMMITTED")])
async def test_the_observed_level_is_read_in_the_transaction(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, backend: str, flag: int, observed: str
) -> None:
    connect, sent = sqlite3.connect, list[str]()

    def watched(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.execute(f"PRAGMA read_uncommitted = {flag}")
        connection.set_trace_callback(sent.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    service = await start(environ(tmp_path, backend))
    await service.increment("a")
    sent.clear()
    answer = await service.post("/api/test-isolation", {"level": "SERIALIZABLE"})
    assert (answer.status, answer.body["observedLevel"], answer.body["rows"][0]["key"]) == (200, observed, "a")
    begun = sent.index("BEGIN DEFERRED")
    assert begun < sent.index("PRAGMA read_uncommitted") < sent.index("COMMIT")


async def test_the_database_time_query_reads_the_file(start: Start, tmp_path: Path) -> None:
    service = await start(environ(tmp_path, NAIVE))
    before = datetime.now(UTC)
    health = (await service.get("/health")).body
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(health["dbTime"]) <= datetime.now(UTC)
    other = sqlite3.connect(tmp_path / "crucible.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        answer = await service.get("/health")
        assert (answer.status, answer.body["code"]) == (503, "SQLITE_BUSY")
    finally:
        other.close()


async def test_a_transaction_holds_the_file(start: Start, tmp_path: Path) -> None:
    services = [await start(environ(tmp_path, TUNED)) for _ in range(2)]
    await services[0].increment("a")
    holding = asyncio.create_task(services[0].post("/api/transaction", {"key": "a", "hold_ms": 500}))
    await asyncio.sleep(0.2)
    answer = await services[1].increment("b")
    assert answer.status == 200
    assert holding.done()
    assert (await holding).body["values"] == [2]


async def test_a_network_filesystem_is_refused(start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "mounted_type", lambda path, mountinfo: "nfs4")
    with pytest.raises(RuntimeError, match="nfs4"):
        await start(environ(tmp_path, TUNED))


async def test_a_file_that_is_not_a_database_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "crucible.sqlite").write_text("not a database, whatever its name says " * 100)
    with pytest.raises(RuntimeError, match="cannot be prepared"):
        await start(environ(tmp_path, TUNED))


@pytest.mark.parametrize("backend", [NAIVE, TUNED])
@pytest.mark.parametrize("value", ["9223372036854775807", "9.3e18", "'text'", "x'00'", "9e999"])
async def test_a_stored_value_that_cannot_be_counted_on_keeps_no_lock(
    start: Start, tmp_path: Path, backend: str, value: str
) -> None:
    service = await start(environ(tmp_path, backend))
    path = tmp_path / "crucible.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute(f"INSERT INTO counters (key, value) VALUES ('odd', {value})")
    answer = await service.increment("odd")
    assert (answer.status, answer.body["code"], answer.body["outcome"]) == (422, "OUT_OF_RANGE", "aborted")
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as other, other:
        other.execute("UPDATE counters SET value = 1")
    assert (await service.increment("odd")).body["value"] == 2


async def test_an_unexpected_error_is_rolled_back(start: Start, tmp_path: Path, monkeypatch: Any) -> None:
    service = await start(environ(tmp_path, TUNED))
    monkeypatch.setattr(sqlite, "replayed_value", lambda *_: 1 / 0)
    assert (await service.increment("a", entry_id="x")).status == 200
    assert (await service.increment("a", entry_id="x")).status == 500
    with contextlib.closing(sqlite3.connect(tmp_path / "crucible.sqlite", timeout=0)) as other, other:
        other.execute("UPDATE counters SET value = 7")
    assert (await service.increment("a")).body["value"] == 8
