"""The operations of POST /api/txn in PostgreSQL: reads of lists, appends, and transfers that read and then write.

An append is one statement, so it never overwrites another one. A transfer computes the new balances in the service:
below REPEATABLE READ a concurrent transfer of the same account is overwritten.

The ledger row has the answer. It is written in the transaction, and read before it in another one: a read in it would
make every SERIALIZABLE transaction conflict with each that writes a row next to it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from app.backends.base import LEVELS
from app.backends.pg_connection import PgConnection
from app.errors import unprocessable
from app.list_transaction import MAX_ELEMENTS, OPENING_BALANCE, ListTransaction, Result

_BEGIN = {level: f"BEGIN ISOLATION LEVEL {level}; SET LOCAL enable_seqscan = off" for level in LEVELS}
"""A scan of the whole table would make a SERIALIZABLE transaction conflict with all that write any list."""
_READ = "SELECT elements FROM lists WHERE key = $1"
_APPEND = f"""
    INSERT INTO lists AS l (key, elements) VALUES ($1, ARRAY[$2::bigint])
    ON CONFLICT (key) DO UPDATE SET elements = l.elements || excluded.elements
    WHERE cardinality(l.elements) < {MAX_ELEMENTS} RETURNING true
"""  # noqa: S608 -- constants
_SET = """
    INSERT INTO lists (key, elements) VALUES ($1, ARRAY[$2::bigint])
    ON CONFLICT (key) DO UPDATE SET elements = excluded.elements
"""
_READ_LEDGER = "SELECT key, answer FROM ledger WHERE id = $1"
_WRITE_LEDGER = "INSERT INTO ledger (id, key, value, answer) VALUES ($1, $2, 0, $3)"
_UNIQUE_VIOLATION = "23505"


async def run(connection: PgConnection, request: ListTransaction, entry_id: str | None) -> list[Result]:
    """Runs the transaction once; returns one result per operation, those stored for a known `entry_id`."""
    if entry_id is not None and (answer := await _stored(connection, request, entry_id)) is not None:
        return answer

    async def work(connection: PgConnection) -> list[Result]:
        results = [await _OPERATIONS[op[0]](connection, *op[1:]) for op in request.ops]
        if entry_id is not None:
            await connection.query(_WRITE_LEDGER, (entry_id, request.digest(), json.dumps(results)))
        return results

    try:
        results: list[Result] = await connection.transaction(_BEGIN[request.level], work)
    except psycopg.Error as error:
        if entry_id is None or error.sqlstate != _UNIQUE_VIOLATION:
            raise
        answer = await _stored(connection, request, entry_id)  # a request with this id was committed in between
        if answer is None:
            raise
        return answer
    return results


async def _stored(connection: PgConnection, request: ListTransaction, entry_id: str) -> list[Result] | None:
    """The answer of the first request with this id; None if there is none. Raises 422 if that was another request."""
    rows = await connection.read(_READ_LEDGER, (entry_id,))
    if not rows:
        return None
    key, answer = rows[0]
    if key != request.digest():
        raise unprocessable("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used for another request")
    results: list[Result] = json.loads(answer)
    return results


async def _read(connection: PgConnection, key: str) -> Result:
    rows = await connection.query(_READ, (key,))
    return list(rows[0][0]) if rows else []


async def _append(connection: PgConnection, key: str, element: int) -> Result:
    if not await connection.query(_APPEND, (key, element)):
        raise unprocessable("LIST_FULL", f"a list has {MAX_ELEMENTS} elements, the most")
    return None


async def _transfer(connection: PgConnection, source: str, goal: str, amount: int) -> Result:
    """Moves the amount if the source has as much. Writes in the order of the keys, so transfers do not deadlock."""
    balances = [await _balance(connection, key) for key in (source, goal)]
    if source != goal and balances[0] >= amount:
        for written in sorted(((source, balances[0] - amount), (goal, balances[1] + amount))):
            await connection.query(_SET, written)
    return balances


async def _balance(connection: PgConnection, key: str) -> int:
    elements = await _read(connection, key)
    return elements[-1] if elements else OPENING_BALANCE


_OPERATIONS: dict[str, Callable[..., Awaitable[Any]]] = {"r": _read, "append": _append, "transfer": _transfer}
