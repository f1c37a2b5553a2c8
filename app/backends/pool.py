"""A pool of PostgreSQL connections that says why it has none.

psycopg_pool hides a failed login behind its own retries and time-out. The contract here needs the
reason at once (53300 is a clean 503, a database that is away fails fast and recovers with the next
request), a line of bounded length, and a wait in line that is longer than the time-out of one login.
Like the original's pool: opened on demand, first come first served, the last one used is used next so
that surplus ones age and close. Unlike it, a minimum can be opened beforehand and kept, so that what is
measured later is not the logins.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic

import psycopg

from app.backends.base import PoolStats
from app.backends.pg_connection import PgConnection
from app.errors import ServiceError, from_connect

_TICK_SECONDS = 1.0
_LOGINS = 4
"""Logins at once towards the minimum: a server that is starting, or full, is not stormed."""


class Pool:
    """At most `size` links, `minimum` of them kept. `acquire` and `release` come in pairs, in one event loop."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[PgConnection]],
        *,
        size: int,
        minimum: int,
        idle_seconds: float,
        wait_seconds: float,
        max_waiting: int,
    ) -> None:
        self._connect = connect
        self._size = size
        self._minimum = minimum
        self._idle_seconds = idle_seconds
        self._wait_seconds = wait_seconds
        self._max_waiting = max_waiting
        self._links: set[PgConnection] = set()
        self._peak = 0
        self._idle: list[PgConnection] = []
        self._waiting: deque[asyncio.Future[PgConnection]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._refused: ServiceError | None = None
        self._closed = False

    async def acquire(self, *, urgent: bool = False, wait_seconds: float | None = None) -> PgConnection:
        """A link that works, or `ServiceError` 503. `urgent` goes to the head of the line (health checks)."""
        while self._idle:
            link = self._idle.pop()
            if link.silent():
                return link
            self._discard(link)
        if self._closed:
            raise ServiceError(503, "SHUTTING_DOWN", "the service is shutting down")
        if len(self._waiting) >= self._max_waiting:
            raise ServiceError(503, "POOL_FULL", "too many requests wait for a database connection")
        return await self._stand_in_line(urgent, wait_seconds or self._wait_seconds)

    async def _stand_in_line(self, urgent: bool, wait_seconds: float) -> PgConnection:
        loop = asyncio.get_running_loop()
        place: asyncio.Future[PgConnection] = loop.create_future()
        if urgent:
            self._waiting.appendleft(place)
        else:
            self._waiting.append(place)
        self._grow()
        timer = loop.call_later(wait_seconds, self._give_up, place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and not place.exception():
                self.release(place.result())  # handed over in the moment of the cancellation
            elif place in self._waiting:
                self._waiting.remove(place)
            raise
        finally:
            timer.cancel()

    def _give_up(self, place: asyncio.Future[PgConnection]) -> None:
        """The line was too long; if the server grants fewer connections than the pool may have, that is why."""
        if not place.done():
            self._waiting.remove(place)
            late = ServiceError(503, "POOL_TIMEOUT", "no database connection became free in time")
            place.set_exception(self._refused.again() if self._refused else late)

    def release(self, link: PgConnection) -> None:
        """Take a link back: hand it on, keep it, or drop it if it is not idle."""
        if self._closed or not link.idle:
            self._discard(link)
            return
        link.in_doubt = False
        link.transactions = 0
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(link)
                return
        link.idle_since = monotonic()
        self._idle.append(link)

    def stats(self) -> PoolStats:
        """Now: open, unused, standing in line; and the most ever open."""
        return PoolStats(total=len(self._links), idle=len(self._idle), waiting=len(self._waiting), peak=self._peak)

    def open(self) -> None:
        """Open the minimum in the background and keep it, whether or not the database is there yet.

        More connections are opened on demand, and closed when they are unused for too long.
        """
        self._fill()
        loop = asyncio.get_running_loop()
        self._reaper = loop.call_later(min(_TICK_SECONDS, self._idle_seconds / 2), self._reap)

    async def close(self) -> None:
        """Close all; links in use are closed when they are released."""
        self._closed = True
        if self._reaper:
            self._reaper.cancel()
        self._fail_all(ServiceError(503, "SHUTTING_DOWN", "the service is shutting down"))
        while self._idle:
            self._discard(self._idle.pop())
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _reap(self) -> None:
        self.open()
        limit = monotonic() - self._idle_seconds
        while len(self._links) > self._minimum and self._idle and self._idle[0].idle_since < limit:
            self._discard(self._idle.pop(0))

    def _discard(self, link: PgConnection) -> None:
        self._links.discard(link)
        link.close()
        self._grow()

    def _fill(self) -> None:
        """Towards the minimum: a tick starts some logins, each that succeeds starts the next."""
        if not self._closed:
            self._grow(min(_LOGINS, self._minimum - len(self._links)))

    def _grow(self, ahead: int = 0) -> None:
        """One attempt to connect for each that waits, or `ahead` if that is more, within the size."""
        wanted = min(self._size - len(self._links), max(ahead, len(self._waiting)))
        for _ in range(wanted - len(self._opening)):
            task = asyncio.get_running_loop().create_task(self._open_link())
            self._opening.add(task)

    async def _open_link(self) -> None:
        task = asyncio.current_task()
        link, failure = None, None
        try:
            link = await self._connect()
        except (psycopg.Error, OSError) as error:
            failure = from_connect(error)
            self._refused = failure
        finally:
            self._opening = {other for other in self._opening if other is not task}  # now, not in a callback
        if link:
            self._refused = None
            self._links.add(link)
            self._peak = max(self._peak, len(self._links))
            self.release(link)
            self._fill()
        elif failure and not self._links and not self._opening:
            # Else those who wait are served by a link that is open, or about to be.
            self._fail_all(failure)

    def _fail_all(self, error: ServiceError) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error.again())
