"""Strategies on PostgreSQL: races, idempotency, transaction ids."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from .conftest import SAFE, Start, scalar, statuses


@pytest.mark.parametrize("strategy", SAFE)
async def test_no_strategy_loses_an_update_on_two_instances(database, start: Start, strategy: str) -> None:
    services = [await start(database.environ, CONTAINER_ID=f"app-{number}") for number in (1, 2)]
    keys = ["hot"] * 100 + [f"k{number % 7}" for number in range(100)]
    answers = await asyncio.gather(*(services[number % 2].increment(key, strategy) for number, key in enumerate(keys)))
    assert statuses(answers) == {200: 200}
    got: dict[str, list[int]] = {}
    for key, answer in zip(keys, answers, strict=True):
        got.setdefault(key, []).append(answer.body["value"])
    assert {key: sorted(values) for key, values in got.items()} == {
        key: list(range(1, number + 1)) for key, number in Counter(keys).items()
    }


async def test_unsafe_loses_updates_and_never_fails(database, start: Start) -> None:
    """The negative control of the search for lost updates."""
    services = [await start(database.environ) for _ in range(2)]
    answers = await asyncio.gather(*(services[n % 2].increment("hot", "unsafe") for n in range(400)))
    assert statuses(answers) == {200: 400}
    assert 1 <= await services[0].value("hot") < 400


@pytest.mark.parametrize("strategy", SAFE)
async def test_an_answer_names_the_session_that_ran_it(database, start: Start, admin, strategy: str) -> None:
    service = await start(database.environ, POOL_SIZE=1)
    answer = await service.increment("k", strategy)
    pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert answer.body["backend"] == await scalar(admin, pids)


async def test_a_thousand_first_writes_at_once_all_succeed(database, start: Start) -> None:
    """The original answers 500 (23505) to some of them: no row yet, so nothing is locked."""
    services = [await start(database.environ) for _ in range(4)]
    answers = await asyncio.gather(*(services[n % 4].increment("new", "for-update") for n in range(1000)))
    assert statuses(answers) == {200: 1000}
    assert sorted(answer.body["value"] for answer in answers) == list(range(1, 1001))
    assert max(answer.body["pool_wait_ms"] for answer in answers) > 0


@pytest.mark.parametrize("strategy", [*SAFE, "unsafe"])
async def test_every_strategy_counts_an_idempotency_key_once(database, start, admin, strategy: str) -> None:
    """Concurrent duplicates on two instances, among others; then a replay, then a replay for another key."""
    services = [await start(database.environ) for _ in range(2)]
    ids = [f"id-{number % 20}" for number in range(120)]
    answers = await asyncio.gather(
        *(services[n % 2].increment(f"k{n % 4}", strategy, entry_id=name) for n, name in enumerate(ids))
    )
    assert statuses(answers) == {200: 120}
    by_id: dict[str, set[int]] = {}
    for name, answer in zip(ids, answers, strict=True):
        by_id.setdefault(name, set()).add(answer.body["value"])
    assert all(len(values) == 1 for values in by_id.values())
    assert await scalar(admin, "SELECT count(*) FROM ledger") == 20
    if strategy != "unsafe":
        assert await scalar(admin, "SELECT sum(value) FROM counters") == 20
    again = await services[0].increment("k0", strategy, entry_id="id-0")
    assert again.body["value"] in by_id["id-0"]
    other = await services[0].increment("other", strategy, entry_id="id-0")
    assert (other.status, other.body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await scalar(admin, "SELECT count(*) FROM counters WHERE key = 'other'") == 0


@pytest.mark.parametrize("strategy", [*SAFE, "unsafe"])
async def test_the_server_assigns_as_many_transaction_ids_as_the_service_counts(
    database, start: Start, admin, strategy: str
) -> None:
    """checks/traffic.py assumes that a transaction takes an id if it locks or writes, and none if it only reads."""
    services = [await start(database.environ, POOL_SIZE=10) for _ in range(2)]

    async def counts() -> tuple[int, int]:
        numbers = [(await service.get("/metrics?database=0")).body["transactions"] for service in services]
        return sum(numbers), await scalar(admin, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")

    counted, assigned = await counts()
    answers = await asyncio.gather(*(services[n % 2].increment(f"k{n % 2}", strategy) for n in range(200)))
    assert statuses(answers) == {200: 200}
    counted, assigned = (after - before for after, before in zip(await counts(), (counted, assigned), strict=True))
    assert round(sum(answer.body["transactions"] for answer in answers), 3) == counted
    assert assigned <= counted
    if strategy in ("upsert", "for-update", "coalesce"):
        assert assigned == counted


async def test_a_value_out_of_range_is_refused(database, start: Start, admin) -> None:
    service = await start(database.environ)
    await admin.execute("INSERT INTO counters (key, value) VALUES ('full', 9223372036854775807)")
    for strategy in (*SAFE, "unsafe"):
        answer = await service.increment("full", strategy)
        assert (answer.status, answer.body["code"], answer.body["outcome"]) == (422, "22003", "aborted")


async def test_without_prepared_statements_as_behind_pgbouncer(database, start: Start, admin) -> None:
    service = await start(database.environ, PREPARE=0, POOL_SIZE=1)
    for strategy in (*SAFE, "unsafe"):
        assert (await service.increment("a", strategy)).status == 200
        assert (await service.increment("a", strategy, entry_id=f"id-{strategy}")).status == 200
    assert await service.value("a") == 12
