"""One suite, every backend: the contract does not depend on where the counters are stored."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from yarl import URL

from app.service import BACKEND, SETTINGS

from .conftest import Service, Start

BACKENDS = ("postgres", "sqlite-naive", "sqlite-tuned")


@pytest.fixture(params=BACKENDS)
async def service(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> Service:
    environ = {"BACKEND": request.param, "SQLITE_PATH": str(tmp_path / "crucible.sqlite")}
    if request.param == "postgres":
        environ |= request.getfixturevalue("database").environ
    return await start(environ)


async def test_increment_counts_from_one(service: Service) -> None:
    answers = [await service.increment("a") for _ in range(3)]
    assert [answer.body["value"] for answer in answers] == [1, 2, 3]
    body = answers[0].body
    assert body["success"] is True
    assert body["container"] == "app-1"
    assert body["duration"] >= body["pool_wait_ms"] >= 0
    assert (body["retries"], body["transactions"]) == (0, 1)
    assert await service.value("a") == 3


async def test_concurrent_increments_lose_nothing(service: Service) -> None:
    answers = await asyncio.gather(*(service.increment("a") for _ in range(200)))
    assert {answer.status for answer in answers} == {200}
    assert sorted(answer.body["value"] for answer in answers) == list(range(1, 201))


async def test_an_unknown_counter_is_404(service: Service) -> None:
    answer = await service.get("/api/counter/nope")
    assert (answer.status, answer.body["code"], answer.body["outcome"]) == (404, "NO_COUNTER", "aborted")


async def test_an_idempotency_key_counts_once(service: Service) -> None:
    first = await service.increment("a", entry_id="id-1")
    await service.increment("a")
    again = await service.increment("a", entry_id="id-1")
    assert (first.body["value"], again.body["value"]) == (1, 1)
    assert await service.value("a") == 2
    other = await service.increment("b", entry_id="id-1")
    assert (other.status, other.body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (await service.get("/api/counter/b")).status == 404


async def test_concurrent_duplicates_count_once(service: Service) -> None:
    answers = await asyncio.gather(*(service.increment("a", entry_id="twin") for _ in range(20)))
    assert [(answer.status, answer.body["value"]) for answer in answers] == [(200, 1)] * 20
    assert await service.value("a") == 1


async def test_bulk_insert_is_all_or_nothing(service: Service) -> None:
    answer = await service.post("/api/bulk-insert", {"data": ["a", "b", "c"]})
    assert answer.body["count"] == len(set(answer.body["ids"])) == 3
    assert answer.body["ids"] == sorted(answer.body["ids"])
    bad = await service.post("/api/bulk-insert", {"data": ["d", "e\0"]})
    assert (bad.status, bad.body["outcome"]) == (400, "aborted")
    long = await service.post("/api/bulk-insert", {"data": ["f", "g", "💥" * 65_537]})  # the table's own limit
    assert (long.status, long.body["outcome"]) == (422, "aborted")
    assert long.body["code"] in ("23514", "SQLITE_CONSTRAINT")
    database = (await service.get("/metrics")).body["database"]
    assert (database["total_records"], database["container_records"]) == (3, 3)


async def test_bulk_insert_of_ten_thousand_rows_fits(service: Service) -> None:
    rows = [f"row {number} {'x' * 80}" for number in range(10_000)]
    assert len(json.dumps(rows)) < 1024 * 1024
    answer = await service.post("/api/bulk-insert", {"data": rows})
    assert answer.status == 200
    assert len(set(answer.body["ids"])) == 10_000


async def test_transaction_increments_each_key(service: Service) -> None:
    await service.increment("a")
    answer = await service.post("/api/transaction", {"keys": ["b", "a"], "hold_ms": 1})
    assert (answer.status, answer.body["values"]) == (200, [1, 2])
    one = await service.post("/api/transaction", {"key": "a"})
    assert one.body["values"] == [3]
    assert one.body["retries"] == 0


async def test_a_transaction_without_keys_holds_a_connection_and_writes_nothing(service: Service) -> None:
    answers = await asyncio.gather(
        *(service.post("/api/transaction", {"keys": [], "hold_ms": 50}) for _ in range(6))  # the pool has 5
    )
    assert {answer.status for answer in answers} == {200}
    for body in (answer.body for answer in answers):
        assert (body["values"], body["transactions"], body["retries"]) == ([], 1, 0)
        assert body["duration"] - body["pool_wait_ms"] >= 49
    metrics = (await service.get("/metrics")).body
    assert metrics["database"]["total_counters"] == 0
    assert 1 <= metrics["pool"]["peak"] <= 6  # SQLite's writer has one more


async def test_a_serializable_transaction_is_observed_as_such(service: Service) -> None:
    await service.increment("a")
    answer = await service.post("/api/test-isolation", {"level": "SERIALIZABLE"})
    assert (answer.body["isolationLevel"], answer.body["observedLevel"]) == ("SERIALIZABLE", "SERIALIZABLE")
    assert answer.body["rows"][0]["key"] == "a"


async def test_health_live_and_pool_stats(service: Service) -> None:
    health = await service.get("/health")
    assert (health.status, health.body["status"], health.body["container"]) == (200, "healthy", "app-1")
    assert health.body["dbTime"]
    assert set(health.body["poolStats"]) == {"total", "idle", "waiting", "peak"}
    assert (await service.get("/live")).status == 200
    stats = await service.get("/api/pool-stats")
    assert set(stats.body) == {"totalCount", "idleCount", "waitingCount", "container"}


async def test_metrics_count_every_answer_once(service: Service) -> None:
    await service.increment("a")
    await service.post("/api/increment", {"key": 1})
    await service.get("/nowhere")
    body = (await service.get("/metrics?database=0")).body
    assert body["requests"]["increment"] == {"ok": 1, "rejected": 1, "aborted": 0, "unknown": 0}
    assert body["requests"]["other"]["rejected"] == 1
    assert body["database"] is None
    assert (body["pid"], 0 < time.time() - body["started"] < 600) == (os.getpid(), True), "who counts, since when"
    assert body["settings"]["pool_size"] == 5
    assert "postgres_password" not in body["settings"]
    assert (await service.get("/metrics")).body["database"]["max_counter_value"] == 1


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("text/plain", "text/plain; version=0.0.4"), ("application/openmetrics-text;version=1.0.0", "application/o")],
)
async def test_metrics_for_prometheus(service: Service, accept: str, kind: str) -> None:
    await service.increment("a")
    async with service.client.get(f"{service.url}/metrics", headers={"Accept": accept}) as answer:
        text = await answer.text()
        assert answer.headers["Content-Type"].startswith(kind)
    assert 'pgcrucible_requests_total{container="app-1",op="increment",result="ok"} 1\n' in text
    assert "pgcrucible_database_max_counter_value" in text
    assert 'pgcrucible_pool_peak{container="app-1"} ' in text
    assert text.endswith("# EOF\n") == kind.startswith("application")


BAD = {
    "no body": b"",
    "no object": b"[]",
    "broken": b'{"key": "a"',
    "not UTF-8": b'{"key": "\xff"}',
    "UTF-16": '{"key": "a"}'.encode("utf-16"),
    "deep": b"[" * 100_000,
    "huge number": b'{"key": ' + b"9" * 10_000 + b"}",
    "missing": b"{}",
    "number": b'{"key": 1}',
    "null": b'{"key": null}',
    "empty": b'{"key": ""}',
    "NUL": b'{"key": "a\\u0000b"}',
    "newline": b'{"key": "a\\n"}',
    "delete": b'{"key": "a\\u007f"}',
    "C1 control": b'{"key": "a\\u009b31m"}',
    "surrogate": b'{"key": "\\ud800"}',
    "too long": b'{"key": "' + b"x" * 256 + b'"}',
    "strategy type": b'{"key": "a", "strategy": 1}',
    "strategy": b'{"key": "a", "strategy": "nope"}',
}


LIMIT = 2**63 - 1
"""The largest value of a counter: bigint, and INTEGER of SQLite."""


async def set_counter(service: Service, key: str, value: int) -> None:
    """Writes a counter's value directly into the database of the service."""
    settings = service.app[SETTINGS]
    if settings.backend != "postgres":
        with contextlib.closing(sqlite3.connect(settings.sqlite_path, timeout=20)) as file, file:
            file.execute("INSERT INTO counters (key, value) VALUES (?, ?)", (key, value))
        return
    place = {"host": settings.postgres_host, "port": settings.postgres_port, "dbname": settings.postgres_db}
    login = {"user": settings.postgres_user, "password": settings.postgres_password}
    async with await psycopg.AsyncConnection.connect(**place, **login) as connection:
        await connection.execute("INSERT INTO counters (key, value) VALUES (%s, %s)", (key, value))


async def test_a_counter_at_its_limit_is_422_and_other_counters_go_on(service: Service) -> None:
    await set_counter(service, "full", LIMIT - 1)
    assert (await service.increment("full")).body["value"] == LIMIT
    strategies = service.app[BACKEND].strategies
    for strategy in strategies:
        for entry_id in ("", f"id-{strategy}"):
            answer = await service.increment("full", strategy, entry_id=entry_id)
            assert (answer.status, answer.body["outcome"]) == (422, "aborted"), (strategy, answer)
            assert answer.body["code"] in ("22003", "OUT_OF_RANGE")
            # Nothing is locked, and the id was not used.
            assert (await service.increment("other", strategy, entry_id=entry_id)).status == 200, strategy
    held = await service.post("/api/transaction", {"keys": ["first", "full"]})
    assert (held.status, held.body["outcome"]) == (422, "aborted")
    assert (await service.get("/api/counter/first")).status == 404
    assert await service.value("full") == LIMIT
    assert await service.value("other") == 2 * len(strategies)
    assert (await service.get("/metrics")).body["database"]["max_counter_value"] == LIMIT


async def test_a_bad_increment_is_refused_and_counts_nothing(service: Service) -> None:
    for name, data in BAD.items():
        answer = await service.post("/api/increment", data=data)
        assert answer.status == (422 if name == "strategy" else 400), name
        assert answer.body["outcome"] == "aborted", name
        assert set(answer.body) == {"error", "code", "outcome", "container"}, name
    assert (await service.get("/metrics")).body["database"]["total_counters"] == 0


async def test_bad_requests_are_400_aborted_and_write_nothing(service: Service) -> None:
    for path, document in (
        ("/api/test-isolation", {"level": "SERIALIZABLE; DROP TABLE counters"}),
        ("/api/test-isolation", {"level": ["SERIALIZABLE"]}),
        ("/api/test-isolation", {}),
        ("/api/bulk-insert", {}),
        ("/api/bulk-insert", {"data": []}),
        ("/api/bulk-insert", {"data": "text"}),
        ("/api/bulk-insert", {"data": ["a", 1]}),
        ("/api/bulk-insert", {"data": ["\ud800"]}),
        ("/api/transaction", {}),
        ("/api/transaction", {"key": "a", "keys": ["b"]}),
        ("/api/transaction", {"keys": None}),
        ("/api/transaction", {"key": "a", "keys": []}),
        ("/api/transaction", {"keys": ["a", "a"]}),
        ("/api/transaction", {"keys": ["a", "x" * 256]}),
        ("/api/transaction", {"keys": ["a", "b\x9b"]}),
        ("/api/transaction", {"keys": [str(number) for number in range(17)]}),
        ("/api/transaction", {"key": "a", "hold_ms": -1}),
        ("/api/transaction", {"key": "a", "hold_ms": 60_001}),
        ("/api/transaction", {"key": "a", "hold_ms": True}),
        ("/api/transaction", {"key": "a", "hold_ms": float("nan")}),
        ("/api/transaction", {"key": "a", "retry": 1}),
    ):
        answer = await service.post(path, document)
        assert (answer.status, answer.body["outcome"]) == (400, "aborted"), (path, document)
    database = (await service.get("/metrics")).body["database"]
    assert (database["total_counters"], database["total_records"]) == (0, 0)


async def test_a_bad_idempotency_key_is_refused(service: Service) -> None:
    for entry_id in ("a b", "x" * 201, "é"):
        answer = await service.increment("a", entry_id=entry_id)
        assert (answer.status, answer.body["code"]) == (400, "BAD_IDEMPOTENCY_KEY"), entry_id


@pytest.mark.parametrize("chunked", [False, True])
async def test_two_megabytes_are_413(service: Service, chunked: bool) -> None:
    body = b'{"key": "' + b"x" * 2_000_000 + b'"}'

    async def pieces():  # type: ignore[no-untyped-def]
        for at in range(0, len(body), 65536):
            yield body[at : at + 65536]

    answer = await service.post("/api/increment", data=pieces() if chunked else io.BytesIO(body))
    assert (answer.status, answer.body["outcome"]) == (413, "aborted")


async def test_an_unknown_path_or_method_is_answered_in_json(service: Service) -> None:
    nowhere = await service.get("/api")
    assert (nowhere.status, nowhere.body["outcome"]) == (404, "aborted")
    wrong = await service.get("/api/increment")
    assert (wrong.status, wrong.body["code"], wrong.headers["Allow"]) == (405, "WRONG_METHOD", "POST")


async def test_an_expect_header_is_continued_or_refused_in_json(service: Service) -> None:
    async def increment(expect: str) -> tuple[int, object]:
        async with service.client.post(
            f"{service.url}/api/increment", json={"key": "a"}, headers={"Expect": expect}
        ) as answer:
            return answer.status, await answer.json()

    status, body = await increment("100-continue")
    assert (status, body["value"]) == (200, 1)  # type: ignore[index]
    for nonsense in ("more", "\xe9", "100-continue, 200-ok"):
        status, body = await increment(nonsense)
        assert (status, body["code"], body["outcome"]) == (417, "BAD_EXPECT", "aborted")  # type: ignore[index]
    assert await service.value("a") == 1


async def test_a_compressed_body_closes_the_connection(service: Service) -> None:
    answer = await service.client.post(
        f"{service.url}/api/increment", data=b"no gzip", headers={"Content-Encoding": "gzip"}, compress=None
    )
    assert (answer.status, (await answer.json())["code"]) == (415, "ENCODED_BODY")
    assert answer.headers["Connection"] == "close"


async def test_keys_with_slashes_and_every_script(service: Service) -> None:
    for key in ("a/b", "日本語", "%41", " ", "x" * 255, "💥" * 255, "..", "'; DROP TABLE counters; --"):
        assert (await service.increment(key)).body["value"] == 1
        if key != "..":  # the URL's own syntax takes it away
            async with service.client.get(
                URL(f"{service.url}/api/counter/{quote(key, safe='')}", encoded=True)
            ) as answer:
                assert await answer.json() == {"key": key, "value": 1}
