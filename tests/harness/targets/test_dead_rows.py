"""Dead row versions on a real server: an open transaction keeps them; after its end VACUUM removes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.record import DeadRows
from harness.targets.dead_rows import summary, vacuum, vacuuming

WAIT_S = 30.0


@pytest.fixture
def db(postgres: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE dying (key int PRIMARY KEY, value int NOT NULL) WITH (autovacuum_enabled = off)"
        )
        connection.execute("INSERT INTO dying VALUES (1, 0), (2, 0)")
        yield connection
        connection.execute("DROP TABLE dying")


def test_vacuum_counts_the_dead_rows_that_an_open_transaction_keeps(db: psycopg.Connection[Any], postgres: str) -> None:
    with vacuuming(db, "dying", 0.01) as readings, psycopg.connect(postgres) as long:
        long.execute("UPDATE dying SET value = 1 WHERE key = 1")
        for _ in range(5):
            db.execute("UPDATE dying SET value = value + 1 WHERE key = 2")
        deadline = time.monotonic() + WAIT_S
        while not any(reading and reading[2] >= 5 for reading in readings):
            assert time.monotonic() < deadline, readings
            time.sleep(0.01)
        long.commit()
    assert summary(readings, vacuum(db, "dying")) == DeadRows(kept=5, removed=6, not_removable=0)


def test_vacuum_removes_all_dead_rows_without_an_open_transaction(db: psycopg.Connection[Any]) -> None:
    db.execute("UPDATE dying SET value = value + 1")
    assert vacuum(db, "dying") == (2, 2, 0)


def test_summary_omits_readings_that_are_missing() -> None:
    assert summary([], (4, 1, 0)) == DeadRows(removed=4, not_removable=0)
    assert summary([None, (1, 9, 7), (2, 9, 3)], (4, 1, 1)) == DeadRows(kept=7, removed=7, not_removable=1)
    assert summary([(1, 2, 3)], None) is None


def test_a_closed_connection_ends_the_thread_and_fails_the_next_query(
    db: psycopg.Connection[Any], postgres: str
) -> None:
    with psycopg.connect(postgres, autocommit=True) as lost:
        with vacuuming(lost, "dying", 0.01):
            db.execute("SELECT pg_terminate_backend(%s)", [lost.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            vacuum(lost, "dying")
