"""One suite, every backend: the contract does not depend on where the counters are stored."""

from __future__ import annotations

import asyncio
import json
import os
import time
from urllib.parse import quote

import pytest
from yarl import URL

from .conftest import Service


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


async def test_keys_with_slashes_and_every_script(service: Service) -> None:
    for key in ("a/b", "日本語", "%41", " ", "x" * 255, "💥" * 255, "..", "'; DROP TABLE counters; --"):
        assert (await service.increment(key)).body["value"] == 1
        if key != "..":  # the URL's own syntax takes it away
            async with service.client.get(
                URL(f"{service.url}/api/counter/{quote(key, safe='')}", encoded=True)
            ) as answer:
                assert await answer.json() == {"key": key, "value": 1}
