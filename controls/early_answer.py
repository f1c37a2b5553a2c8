"""`python -m controls.early_answer`: the service, but it answers writes before their COMMIT.

The COMMIT follows a moment later, so that only a crash of the database or of the service loses what was answered.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, cast

from app.__main__ import main
from app.backends import BACKENDS
from app.backends.base import RequestCost
from app.backends.pg_connection import PgConnection
from app.backends.postgres import PostgresBackend
from app.errors import ServiceError
from app.logs import LOG

Result = TypeVar("Result")

COMMIT_SECONDS = 0.5
"""From the answer to the COMMIT."""


class _OpenTransaction:
    """A connection whose statements all belong to a transaction that its owner ends."""

    def __init__(self, connection: PgConnection) -> None:
        self._connection = connection
        self.query = self.read = self.autocommit = connection.query

    async def transaction(self, begin: str, work: Callable[[PgConnection], Awaitable[Any]]) -> Any:
        """Runs `work` at the level of `begin`."""
        if level := begin.partition("ISOLATION LEVEL")[2]:
            await self._connection.query(f"SET TRANSACTION ISOLATION LEVEL{level}")
        return await work(cast("PgConnection", self))


class EarlyAnswer(PostgresBackend):
    """Everything that writes is answered when its statements have run, and committed COMMIT_SECONDS later."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._commits: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Commits what was answered first: a restart loses nothing."""
        await asyncio.gather(*self._commits, return_exceptions=True)
        await super().close()

    async def _run(
        self, work: Callable[[PgConnection], Awaitable[Result]], **options: Any
    ) -> tuple[Result, RequestCost]:
        answer: asyncio.Future[tuple[Result, RequestCost]] = asyncio.get_running_loop().create_future()

        async def answered(connection: PgConnection) -> Result:
            if answer.done():  # the session of the COMMIT has ended: a retry would repair what was answered
                raise ServiceError(500, "NOT_COMMITTED", "the transaction was not committed", "unknown")

            async def statements(_: PgConnection) -> Result:
                result = await work(cast("PgConnection", _OpenTransaction(connection)))
                answer.set_result((result, RequestCost(pool_wait_ms=0.0, backend=connection.backend)))
                await asyncio.sleep(COMMIT_SECONDS)
                return result

            return cast("Result", await connection.transaction("BEGIN", statements))

        commit = asyncio.create_task(super()._run(answered, **options))
        self._commits.add(commit)
        commit.add_done_callback(partial(self._ended, answer))
        await asyncio.wait({commit, answer}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else commit.result()

    def _ended(self, answer: asyncio.Future[Any], commit: asyncio.Task[Any]) -> None:
        self._commits.discard(commit)
        if not commit.cancelled() and (error := commit.exception()) and answer.done():
            LOG.warning("answered and not committed", extra={"facts": {"reason": str(error)}})


if __name__ == "__main__":
    BACKENDS["postgres"] = EarlyAnswer
    sys.exit(main())
