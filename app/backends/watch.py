"""Ends requests that are overdue, and notices that the database no longer answers.

One periodic tick does both, so that a request costs nothing for it.

A database that serves statements is alive, and is not asked. When no statement has ended for half a second, the watch
sends a GSSENCRequest (PostgreSQL manual, "Message Formats"). The server answers with one byte before it authenticates:
the answer needs no connection slot and no free connection of the pool, and a partition, a refused port and a stopped
server are all seen. Where the kernel accepts the connection the server may only be short of CPU, so it has 5 s to
answer, and 1.5 s where nothing accepts. A proxy before the database accepts connections whatever the database does: a
database behind one is lost after 5 s. PgBouncer answers the question itself: the loss behind it is not noticed.

The request leaves no line in the server's log. An SSLRequest leaves one for each where TLS is on, so it is sent only
after a GSSENCRequest that got no answer: a proxy may know it alone. Time counts in ticks: a busy event loop delays
them, and reads the answer between two of them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from app.backends.pool import Pool
from app.errors import ServiceError
from app.logs import LOG

TICK_SECONDS = 0.25
_ASK_TICKS = 2
"""Ticks without a sign of the database after which it is asked, and then asked again."""
_LOST_TICKS = 6
"""Ticks without an accepted connection after which the database is lost; after two failures it is lost earlier."""
_SILENT_TICKS = 20
"""Ticks without an answer after which a database that accepts connections is lost."""
_ANSWER_TICKS = _SILENT_TICKS
"""Ticks after which a question is given up: not before the database is lost without its answer. At most 11 are open."""
_CANCEL_SECONDS = 1.0
"""Limit of one cancellation, and the time until the next one."""
GRACE_SECONDS = 2.0
"""How long an overdue statement may take to end after its cancellation; then its connection is shut down."""
_LOST = "DATABASE_LOST"
_GSS_REQUEST, _SSL_REQUEST = (struct.pack("!ii", 8, code) for code in (80877104, 80877103))


async def ask(
    host: str, port: int, request: bytes = _GSS_REQUEST, *, accepted: Callable[[], None] = lambda: None
) -> None:
    """Returns once a server answers the request with a byte; calls `accepted` once the connection is established.

    Raises OSError or EOFError.
    """
    if host.startswith("/"):
        reader, writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    else:
        reader, writer = await asyncio.open_connection(host, port)
    accepted()
    try:
        writer.write(request)
        await reader.readexactly(1)
    finally:
        writer.transport.abort()


class Watch:
    """Watches one pool and its database at `host` and `port`."""

    def __init__(self, pool: Pool, host: str, port: int) -> None:
        self._pool = pool
        self._host = host
        self._port = port
        self._signs = 0
        self._silent = self._unreached = _ASK_TICKS - 1
        self._failures = 0
        self._timer: asyncio.TimerHandle | None = None
        self._questions: dict[asyncio.Task[None], int] = {}
        self._cancels: set[asyncio.Task[None]] = set()
        self.reason: ServiceError | None = ServiceError(503, "DATABASE_UNKNOWN", "the database has not answered yet")
        """Why the database cannot be used; None while it can."""

    def start(self) -> None:
        """Starts the ticks; the first one asks the database."""
        self._tick()

    async def close(self) -> None:
        """Ends the ticks."""
        if self._timer:
            self._timer.cancel()
        tasks = [*self._questions, *self._cancels]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        self._end_overdue()
        for question, age in list(self._questions.items()):
            self._questions[question] = age + 1
            if age == _ANSWER_TICKS:
                question.cancel()
        self._silent += 1
        self._unreached += 1
        if self._pool.signs != self._signs:
            self._signs = self._pool.signs
            self._answered()
        if self._silent >= _ASK_TICKS and self._silent % _ASK_TICKS == 0:
            self._questions[self._start(self._ask(second=self._silent % (2 * _ASK_TICKS) == 0))] = 0
        if self._unreached >= _LOST_TICKS or self._silent >= _SILENT_TICKS or self._failures > 1:
            self._lose()

    def _lose(self) -> None:
        if not self.reason or self.reason.code != _LOST:
            self.reason = ServiceError(503, _LOST, "the database does not answer")
            LOG.warning("database lost", extra={"facts": {"failures": self._failures}})
        self._pool.lose(self.reason)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def _accepted(self) -> None:
        self._unreached = 0

    def _answered(self) -> None:
        self._silent = self._unreached = self._failures = 0
        if self.reason and self._pool.regain():
            if self.reason.code == _LOST:
                LOG.info("database regained")
            self.reason = None

    async def _ask(self, *, second: bool) -> None:
        try:
            await ask(self._host, self._port, _SSL_REQUEST if second else _GSS_REQUEST, accepted=self._accepted)
        except (OSError, EOFError):
            self._failures += 1
        else:
            self._answered()
        finally:
            self._questions.pop(asyncio.current_task(), None)  # type: ignore[arg-type]  # it runs in a task

    def _end_overdue(self) -> None:
        now = perf_counter()
        for connection in self._pool.overdue(now):
            if now > connection.due + GRACE_SECONDS:
                connection.disconnect()
            elif now > connection.cancelled_at + _CANCEL_SECONDS:
                task = self._start(connection.cancel(_CANCEL_SECONDS))
                self._cancels.add(task)
                task.add_done_callback(self._cancels.discard)
