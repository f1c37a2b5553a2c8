"""Dead row versions on a real server: kept while a transaction is open, gone when it has ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.targets import dead_rows
from harness.targets.dead_rows import summary, vacuum, vacuumed

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


def test_a_transaction_on_another_row_keeps_what_died_since_and_its_end_lets_it_go(
    db: psycopg.Connection[Any], postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()

    def seen(*args: Any) -> Any:
        reading = vacuum(*args)
        if reading and reading[2] >= 5:
            looked.set()
        return reading

    monkeypatch.setattr(dead_rows, "vacuum", seen)
    with vacuumed(db, "dying", 0.01) as end, psycopg.connect(postgres) as long:
        long.execute("UPDATE dying SET value = 1 WHERE key = 1")
        for _ in range(5):
            db.execute("UPDATE dying SET value = value + 1 WHERE key = 2")
        assert looked.wait(WAIT_S)
        long.commit()
        found = end()
    assert found == {"kept": 5, "removed": 6, "not_removable": 0}


def test_nothing_is_kept_where_no_transaction_is_open(db: psycopg.Connection[Any]) -> None:
    db.execute("UPDATE dying SET value = value + 1")
    assert vacuum(db, "dying") == (2, 2, 0)


def test_what_was_not_looked_at_is_not_there() -> None:
    assert summary([], (4, 1, 0)) == {"removed": 4, "not_removable": 0}
    assert summary([None, (1, 9, 7), (2, 9, 3)], (4, 1, 1)) == {"kept": 7, "removed": 7, "not_removable": 1}
    assert summary([(1, 2, 3)], None) == {}


def test_a_server_that_hangs_up_ends_the_looking_and_is_told_at_the_end(
    db: psycopg.Connection[Any], postgres: str
) -> None:
    with psycopg.connect(postgres, autocommit=True) as lost, vacuumed(lost, "dying", 0.01) as end:
        db.execute("SELECT pg_terminate_backend(%s)", [lost.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            end()
