"""How a counter is incremented in PostgreSQL, one function a strategy, and what each is for.

    upsert        one statement, one round trip; the row lock lasts as long as the commit
    for-update    the original's: lock, look, write; right on a new key, where there is no row to lock
    optimistic    compare and set, no lock held between the round trips; loses a race, tries again
    serializable  read and write as if alone; PostgreSQL aborts one of two that were not (40001)
    unsafe        read, then write what was read plus one: loses updates. The negative control

`coalesce` stands in a module of its own. With a ledger id, the ledger row is written in the transaction
that increments. Two requests with one id at the same time: the second one's INSERT waits for the first, fails
with 23505 when that has committed, and is run again, when it finds the first one's answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from app.backends.pg_connection import PgConnection
from app.errors import unprocessable

Strategy = Callable[[PgConnection, str, "str | None"], Awaitable[int]]

_ADD = "ON CONFLICT (key) DO UPDATE SET value = c.value + 1, last_modified = now() RETURNING value"
_UPSERT = f"INSERT INTO counters AS c (key, value) VALUES ($1, 1) {_ADD}"  # noqa: S608 -- constants
_UPSERT_ONCE = f"""
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
_SEEN = "SELECT key, value FROM ledger WHERE id = $1"
_ENTER = "INSERT INTO ledger (id, key, value) VALUES ($1, $2, $3)"
_OVERWRITE = """
    INSERT INTO counters (key, value) VALUES ($1::text, $2::bigint)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, last_modified = now() RETURNING value
"""
_FIRST = "INSERT INTO counters (key, value) VALUES ($1::text, $2::bigint) ON CONFLICT (key) DO NOTHING RETURNING value"
_SWAP = """
    UPDATE counters SET value = $2::bigint, last_modified = now()
    WHERE key = $1::text AND value = $2::bigint - 1 RETURNING value
"""
_SLEEP = "SELECT pg_sleep($1::float8)"


class LostRaceError(Exception):
    """Compare and set found another value: nothing was written, try again."""


def once(key: str, seen: Sequence[object]) -> int:
    """The value stored for a ledger id, if it was stored for this key; else 422."""
    if seen[0] != key:
        raise unprocessable("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used for another counter")
    value = seen[1]
    assert isinstance(value, int)
    return value


async def upsert(link: PgConnection, key: str, entry_id: str | None) -> int:
    """One autocommit statement, with a ledger id too."""
    if entry_id is None:
        ((value,),) = await link.autocommit(_UPSERT, (key,))
        return int(value)
    (row,) = await link.autocommit(_UPSERT_ONCE, (key, entry_id))
    return once(key, row)


def _transactional(begin: str, lock: str) -> Strategy:
    """Look, then write, then enter the ledger, between `begin` and COMMIT: four round trips or more."""

    async def strategy(link: PgConnection, key: str, entry_id: str | None) -> int:
        async def work(link: PgConnection) -> int:
            if entry_id is not None and (seen := await link.query(_SEEN, (entry_id,))):
                return once(key, seen[0])
            found = await link.query(lock, (key,))
            # No row, so nothing is locked: another may insert it first, and then this one must add.
            ((value,),) = await link.query(_UPDATE if found else _UPSERT, (key,))
            if entry_id is not None:
                await link.query(_ENTER, (entry_id, key, value))
            return int(value)

        value: int = await link.transaction(begin, work)
        return value

    return strategy


def _read_then_write(first: str, then: str) -> Strategy:
    """Read in one transaction, write in another what was read plus one."""

    async def strategy(link: PgConnection, key: str, entry_id: str | None) -> int:
        if entry_id is not None and (seen := await link.autocommit(_SEEN, (entry_id,))):
            return once(key, seen[0])
        found = await link.autocommit(_READ, (key,))
        write, value = (then, found[0][0] + 1) if found else (first, 1)
        if entry_id is None:
            written = await link.autocommit(write, (key, value))
        else:
            entered = (
                f"WITH bump AS ({write}) INSERT INTO ledger (id, key, value)"  # noqa: S608 -- constants
                " SELECT $3::text, $1::text, value FROM bump RETURNING value"
            )
            written = await link.autocommit(entered, (key, value, entry_id))
        if not written:
            raise LostRaceError
        return int(value)

    return strategy


STRATEGIES: dict[str, Strategy] = {
    "upsert": upsert,
    "for-update": _transactional("BEGIN ISOLATION LEVEL READ COMMITTED", _LOCK),
    "optimistic": _read_then_write(_FIRST, _SWAP),
    "serializable": _transactional("BEGIN ISOLATION LEVEL SERIALIZABLE", _READ),
    "unsafe": _read_then_write(_OVERWRITE, _OVERWRITE),
}


async def hold(link: PgConnection, keys: Sequence[str], hold_ms: float) -> list[int]:  # noqa: ARG001 -- there are none
    """Hold the connection for `hold_ms`, and nothing else: the original's query for measuring a pool."""
    link.transactions += 1  # not `autocommit`: it leaves nothing in doubt
    await link.query(_SLEEP, (hold_ms / 1000,))
    return []


async def lock_and_increment(link: PgConnection, keys: Sequence[str], hold_ms: float) -> list[int]:
    """Increment each key in the order given, holding its row's lock, and those before it, for `hold_ms` after each.

    The wait is the server's (pg_sleep), so that the connection is held, and nothing here can shorten it.
    """

    async def work(link: PgConnection) -> list[int]:
        values = []
        for key in keys:
            ((value,),) = await link.query(_UPSERT, (key,))
            values.append(int(value))
            if hold_ms:
                await link.query(_SLEEP, (hold_ms / 1000,))
        return values

    result: list[int] = await link.transaction("BEGIN ISOLATION LEVEL READ COMMITTED", work)
    return result
