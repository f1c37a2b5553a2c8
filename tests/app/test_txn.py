"""POST /api/txn: transactions over lists at each level, on a real database."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import psycopg
import pytest

from app.backends.base import LEVELS

from .conftest import Answer, Service, Start

STRICT = "SERIALIZABLE"


@pytest.fixture
async def service(database: Any, start: Start) -> Service:
    return await start(database.environ, POOL_SIZE=20)


async def txn(service: Service, *ops: list[Any], level: str = STRICT, entry_id: str = "") -> Answer:
    return await service.post("/api/txn", {"level": level, "ops": list(ops)}, entry_id=entry_id)


@pytest.mark.parametrize("level", LEVELS)
async def test_results_are_in_the_order_of_the_operations(service: Service, level: str) -> None:
    answer = await txn(service, ["r", "x"], ["append", "x", 1], ["r", "x"], ["append", "x", 2], level=level)
    assert answer.status == 200
    assert answer.body["results"] == [[], None, [1], None]
    assert (answer.body["success"], answer.body["retries"], answer.body["transactions"]) == (True, 0, 1)
    assert answer.body["backend"] > 0
    assert (await txn(service, ["r", "x"], ["r", "y"], level=level)).body["results"] == [[1, 2], []]


@pytest.mark.parametrize("level", LEVELS)
async def test_the_transaction_runs_at_the_level(database: Any, service: Service, level: str) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as db:
        db.execute(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO data (content)"
            " VALUES (current_setting('transaction_isolation')); RETURN new; END $$"
        )
        db.execute("CREATE TRIGGER note BEFORE INSERT ON lists FOR EACH ROW EXECUTE FUNCTION note()")
        assert (await txn(service, ["append", "x", 1], level=level)).status == 200
        assert db.execute("SELECT upper(content) FROM data").fetchall() == [(level,)]


@pytest.mark.parametrize(
    "body",
    [
        {"ops": [["r", "x"]]},
        {"level": "serializable", "ops": [["r", "x"]]},
        {"level": "SERIALIZABLE; DROP TABLE lists", "ops": [["r", "x"]]},
        {"level": STRICT},
        {"level": STRICT, "ops": []},
        {"level": STRICT, "ops": {}},
        {"level": STRICT, "ops": [["r", "x"]] * 17},
        {"level": STRICT, "ops": ["r"]},
        {"level": STRICT, "ops": [[]]},
        {"level": STRICT, "ops": [[["r"], "x"]]},
        {"level": STRICT, "ops": [["w", "x", 1]]},
        {"level": STRICT, "ops": [["r"]]},
        {"level": STRICT, "ops": [["r", "x", None]]},
        {"level": STRICT, "ops": [["r", 1]]},
        {"level": STRICT, "ops": [["r", "\n"]]},
        {"level": STRICT, "ops": [["append", "x"]]},
        {"level": STRICT, "ops": [["append", "x", True]]},
        {"level": STRICT, "ops": [["append", "x", 1.5]]},
        {"level": STRICT, "ops": [["append", "x", 2**63]]},
        {"level": STRICT, "ops": [["transfer", "x", "y", 0]]},
    ],
)
async def test_bad_requests_are_aborted(service: Service, body: Any) -> None:
    answer = await service.post("/api/txn", body)
    assert (answer.status, answer.body["outcome"]) == (400, "aborted")
    assert answer.body["code"] in {"BAD_OPS", "BAD_LEVEL", "BAD_KEY"}


async def test_a_lost_conflict_is_aborted_and_not_retried(service: Service) -> None:
    async def skew(number: int) -> Answer:
        return await txn(service, ["r", "x"], ["r", "y"], ["append", "xy"[number % 2], number])

    answers = await asyncio.gather(*(skew(number) for number in range(40)))
    lost = [answer for answer in answers if answer.status != 200]
    assert lost
    assert {(answer.status, answer.body["code"], answer.body["outcome"]) for answer in lost} == {
        (409, "40001", "aborted")
    }
    assert {answer.body["retries"] for answer in answers} == {0}
    elements = (await txn(service, ["r", "x"], ["r", "y"])).body["results"]
    assert sorted(elements[0] + elements[1]) == [n for n, answer in enumerate(answers) if answer.status == 200]


async def test_a_failed_transaction_leaves_nothing(database: Any, service: Service) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as db:
        db.execute("INSERT INTO lists VALUES ('full', array_fill(0::bigint, ARRAY[10000]))")
        answer = await txn(service, ["append", "x", 1], ["append", "full", 1], entry_id="one")
        assert (answer.status, answer.body["code"], answer.body["outcome"]) == (422, "LIST_FULL", "aborted")
        assert db.execute("SELECT count(*) FROM ledger").fetchone() == (0,)
    again = await txn(service, ["r", "x"], entry_id="one")
    assert again.body["results"] == [[]]


@pytest.mark.parametrize("level", LEVELS)
async def test_a_replay_returns_the_stored_answer(service: Service, level: str) -> None:
    ops = [["r", "x"], ["append", "x", 1], ["transfer", "a", "b", 5]]
    first = await txn(service, *ops, level=level, entry_id="one")
    await txn(service, ["append", "x", 2])
    again = await txn(service, *ops, level=level, entry_id="one")
    assert first.body["results"] == again.body["results"] == [[], None, [100, 100]]
    assert (await txn(service, ["r", "x"])).body["results"] == [[1, 2]]
    other = await txn(service, ["append", "x", 3], level=level, entry_id="one")
    assert (other.status, other.body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    increment = await service.increment("x", entry_id="one")
    assert (increment.status, increment.body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("level", LEVELS)
async def test_concurrent_requests_with_one_id_are_applied_once(service: Service, level: str) -> None:
    answers = await asyncio.gather(
        *(txn(service, ["append", "x", 1], ["r", "x"], level=level, entry_id="one") for _ in range(10))
    )
    assert {(a.status, a.body["outcome"]) for a in answers if a.status != 200} <= {(409, "aborted")}
    assert {str(a.body["results"]) for a in answers if a.status == 200} == {"[None, [1]]"}
    assert (await txn(service, ["r", "x"])).body["results"] == [[1]]


async def test_a_transfer_reads_then_writes(service: Service) -> None:
    assert (await txn(service, ["transfer", "a", "b", 30])).body["results"] == [[100, 100]]
    assert (await txn(service, ["transfer", "a", "b", 71])).body["results"] == [[70, 130]]
    assert (await txn(service, ["transfer", "a", "a", 1])).body["results"] == [[70, 70]]
    assert (await txn(service, ["r", "a"], ["r", "b"], ["r", "c"])).body["results"] == [[70], [130], []]
    most = await txn(service, ["append", "b", 2**63 - 1], ["transfer", "a", "b", 1])
    assert (most.status, most.body["code"], most.body["outcome"]) == (422, "22003", "aborted")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_concurrent_transfers_keep_the_total(service: Service, level: str) -> None:
    chance = random.Random(1)
    pairs = [chance.sample("abcd", 2) for _ in range(200)]
    answers = await asyncio.gather(*(txn(service, ["transfer", *pair, 20], level=level) for pair in pairs))
    assert {answer.status for answer in answers} <= {200, 409}
    balances = (await txn(service, *(["r", key] for key in "abcd"))).body["results"]
    assert sum((read or [100])[-1] for read in balances) == 400
    assert all(read[-1] >= 0 for read in balances if read)


@pytest.mark.parametrize("backend", ["sqlite-naive", "sqlite-tuned"])
async def test_sqlite_does_not_offer_it(start: Start, tmp_path: Any, backend: str) -> None:
    service = await start({"BACKEND": backend, "SQLITE_PATH": str(tmp_path / "file")})
    answer = await txn(service, ["r", "x"])
    assert (answer.status, answer.body["code"], answer.body["outcome"]) == (422, "TXN_NOT_OFFERED", "aborted")
    assert (await service.post("/api/txn", {})).status == 400


async def test_requests_are_counted(service: Service) -> None:
    await txn(service, ["r", "x"])
    await service.post("/api/txn", {})
    counted = (await service.get("/metrics")).body["requests"]["txn"]
    assert counted == {"ok": 1, "rejected": 1, "aborted": 0, "unknown": 0}
