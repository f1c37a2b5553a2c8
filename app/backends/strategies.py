"""The increment strategies in PostgreSQL, one function each.

    upsert        one statement, one round trip; the row lock lasts as long as the commit
    for-update    as the original system: lock, read, write; also correct on a new key, which has no row to lock
    optimistic    compare and set; no lock is held between the round trips; retried after a lost race
    serializable  reads and writes as if alone; PostgreSQL aborts one of two conflicting transactions (40001)
    unsafe        reads, then writes that value plus one: loses updates. The negative control

`coalesce` is in its own module. With a ledger id, the ledger row is written in the transaction of the increment. If
two requests with one id run at the same time, the INSERT of the second waits for the first and fails with 23505 after
its commit; the retry finds the value of the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from app.backends.pg_connection import PgConnection
from app.errors import unprocessable

Strategy = Callable[[PgConnection, str, "str | None"], Awaitable[int]]

_ADD = "ON CONFLICT (key) DO UPDATE SET value = c.value + 1, last_modified = now() RETURNING value"
_UPSERT = f"INSERT INTO counters AS c (key, value) VALUES ($1, 1) {_ADD}"  # noqa: S608 -- constants
_UPSERT_WITH_LEDGER = f"""
    WITH seen AS (SELECT key, value FROM ledger WHERE id = $2::text),
    bump AS (
        INSERT INTO counters AS c (key, value) SELECT $1::text, 1 WHERE NOT EXISTS (SELECT FROM seen) {_ADD}
    ),
    entry AS (INSERT INTO ledger (id, key, value) SELECT $2::text, $1::text, value FROM bump)
    SELECT $1::text, value FROM bump UNION ALL SELECT key, value FROM seen
"""  # noqa: S608 -- constants
_READ = "SELECT value FROM counters WHERE key = $1"
_LOCK = "SELECT value FROM counters WHERE key = $1 FOR UPDATE"
_UPDATE = "UPDATE counters SET value = value + 1, last_modified = now() WHERE key = $1 RETURNING value"
_READ_LEDGER = "SELECT key, value FROM ledger WHERE id = $1"
_WRITE_LEDGER = "INSERT INTO ledger (id, key, value) VALUES ($1, $2, $3)"
_OVERWRITE = """
    INSERT INTO counters (key, value) VALUES ($1::text, $2::bigint)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, last_modified = now() RETURNING value
"""
_INSERT_NEW = (
    "INSERT INTO counters (key, value) VALUES ($1::text, $2::bigint) ON CONFLICT (key) DO NOTHING RETURNING value"
)
_COMPARE_AND_SET = """
    UPDATE counters SET value = $2::bigint, last_modified = now()
    WHERE key = $1::text AND value = $2::bigint - 1 RETURNING value
"""
_SLEEP = "SELECT pg_sleep($1::float8)"


class LostRaceError(Exception):
    """Compare and set found another value: nothing was written, so the work is retried."""


def replayed_value(key: str, entry: Sequence[object]) -> int:
    """Returns the value of a ledger entry (key, value); raises 422 if the entry is for another key."""
    if entry[0] != key:
        raise unprocessable("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used for another counter")
    value = entry[1]
    assert isinstance(value, int)
    return value


async def upsert(connection: PgConnection, key: str, entry_id: str | None) -> int:
    """One autocommit statement, with and without a ledger id."""
    if entry_id is None:
        ((value,),) = await connection.autocommit(_UPSERT, (key,))
        return int(value)
    (row,) = await connection.autocommit(_UPSERT_WITH_LEDGER, (key, entry_id))
    return replayed_value(key, row)


def _transactional(*, begin: str, read: str) -> Strategy:
    """Reads by `read`, writes the counter, then the ledger, between `begin` and COMMIT: four round trips or more."""

    async def strategy(connection: PgConnection, key: str, entry_id: str | None) -> int:
        async def work(connection: PgConnection) -> int:
            if entry_id is not None and (entries := await connection.query(_READ_LEDGER, (entry_id,))):
                return replayed_value(key, entries[0])
            rows = await connection.query(read, (key,))
            # Without a row nothing is locked: another transaction may insert it first, so this one must add to it.
            ((value,),) = await connection.query(_UPDATE if rows else _UPSERT, (key,))
            if entry_id is not None:
                await connection.query(_WRITE_LEDGER, (entry_id, key, value))
            return int(value)

        value: int = await connection.transaction(begin, work)
        return value

    return strategy


def _read_then_write(*, insert_sql: str, update_sql: str) -> Strategy:
    """Reads in one transaction, writes that value plus one in another; `insert_sql` writes a new key."""

    async def strategy(connection: PgConnection, key: str, entry_id: str | None) -> int:
        if entry_id is not None and (entries := await connection.read(_READ_LEDGER, (entry_id,))):
            return replayed_value(key, entries[0])
        rows = await connection.read(_READ, (key,))
        write_sql, value = (update_sql, rows[0][0] + 1) if rows else (insert_sql, 1)
        if entry_id is None:
            written = await connection.autocommit(write_sql, (key, value))
        else:
            with_ledger = (
                f"WITH bump AS ({write_sql}) INSERT INTO ledger (id, key, value)"  # noqa: S608 -- constants
                " SELECT $3::text, $1::text, value FROM bump RETURNING value"
            )
            written = await connection.autocommit(with_ledger, (key, value, entry_id))
        if not written:
            raise LostRaceError
        return int(value)

    return strategy


STRATEGIES: dict[str, Strategy] = {
    "upsert": upsert,
    "for-update": _transactional(begin="BEGIN ISOLATION LEVEL READ COMMITTED", read=_LOCK),
    "optimistic": _read_then_write(insert_sql=_INSERT_NEW, update_sql=_COMPARE_AND_SET),
    "serializable": _transactional(begin="BEGIN ISOLATION LEVEL SERIALIZABLE", read=_READ),
    "unsafe": _read_then_write(insert_sql=_OVERWRITE, update_sql=_OVERWRITE),
}


async def hold(connection: PgConnection, keys: Sequence[str], hold_ms: float) -> list[int]:  # noqa: ARG001 -- always empty
    """Holds the connection for `hold_ms` without any other work: the original system's query to measure a pool."""
    await connection.read(_SLEEP, (hold_ms / 1000,))
    return []


async def lock_and_increment(connection: PgConnection, keys: Sequence[str], hold_ms: float) -> list[int]:
    """Increments each key in the given order; holds all row locks taken so far for `hold_ms` after each.

    The server waits (pg_sleep), so the connection is held as well and the client cannot shorten the wait.
    """

    async def work(connection: PgConnection) -> list[int]:
        values = []
        for key in keys:
            ((value,),) = await connection.query(_UPSERT, (key,))
            values.append(int(value))
            if hold_ms:
                await connection.query(_SLEEP, (hold_ms / 1000,))
        return values

    result: list[int] = await connection.transaction("BEGIN ISOLATION LEVEL READ COMMITTED", work)
    return result
