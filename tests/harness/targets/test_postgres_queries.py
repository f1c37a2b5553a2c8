"""Queries of PostgreSQL against a real server."""

from __future__ import annotations

import psycopg

from harness.record import BulkRows
from harness.targets.postgres_queries import bulk_rows, durability
from tests.support.postgres_server import Database


def test_bulk_rows_are_ranges_of_ids_and_rows_per_request(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        assert bulk_rows(connection) == BulkRows(requests={}, ranges=())
        contents = ["1-0", "1-1", "foreign", "2-0", "2-1", "2-2"]
        connection.cursor().executemany("INSERT INTO data (content) VALUES (%s)", [(text,) for text in contents])
        form = r"^\d+-\d+$"
        assert bulk_rows(connection, form=form) == BulkRows(requests={1: 2, 2: 3}, ranges=((1, 2), (4, 6)))
        assert bulk_rows(connection, after=4, form=form) == BulkRows(requests={2: 2}, ranges=((5, 6),))


def test_durability_is_that_of_the_server_and_of_roles_and_databases(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        known = durability(connection)
        assert list(known) == ["fsync", "full_page_writes", "synchronous_commit"]
        assert known["full_page_writes"] == known["synchronous_commit"] == "on"
        connection.execute("CREATE ROLE hasty")
        try:
            connection.execute("ALTER ROLE hasty SET synchronous_commit = off")
            assert durability(connection) == known | {"synchronous_commit of hasty": "off"}
        finally:
            connection.execute("DROP ROLE hasty")
