"""Requests that every backend refuses alike, and that write nothing."""

from __future__ import annotations

import contextlib
import io
import sqlite3

import psycopg
import pytest

from app.service import BACKEND, SETTINGS

from .conftest import Service

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
