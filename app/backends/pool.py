"""A pool of PostgreSQL connections that reports why it has none.

psycopg_pool hides a failed login behind its own retries and time-out. The contract needs the reason at once: 53300 is
a clean 503, and an unreachable database fails fast and recovers by itself. It also needs a queue of bounded length, and
a wait that is longer than the time-out of one login. As in the original system, connections are opened on demand,
requests are served in order, and the connection used last is used next, so surplus connections age and close. In
addition, a minimum can be opened in advance and kept open, so that trials do not measure logins.

After a failed login there is one login at a time, with a random, growing wait in between, however many requests wait:
a server that is full, starting or gone gets a few logins per second from each process.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic

import psycopg

from app.backends.base import PoolStats
from app.backends.pg_connection import PgConnection
from app.errors import ServiceError, from_connect

_TICK_SECONDS = 1.0
_LOGINS = 4
"""Concurrent logins while the minimum is opened: protects a server that is starting or full."""
_BACKOFF_SECONDS = (0.05, 0.5)
"""Wait after a failed login: the first value, doubled per failure, at most the second; each times 0.5 to 1.5."""


class Pool:
    """At most `size` connections, `minimum` of them kept open. Each `acquire` needs one `release`."""

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
        self._connections: set[PgConnection] = set()
        self._peak = 0
        self._idle: list[PgConnection] = []
        self._waiting: deque[asyncio.Future[PgConnection]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._refused: ServiceError | None = None
        self._backoff_seconds = _BACKOFF_SECONDS[0]
        self._retry: asyncio.TimerHandle | None = None
        self._lost: ServiceError | None = None
        self._closed = False
        self.signs = 0
        """Logins and releases of working connections so far: each shows that the database answers."""

    async def acquire(self, *, urgent: bool = False, wait_seconds: float = inf) -> PgConnection:
        """Returns a working connection, or raises `ServiceError` 503. `urgent` goes first (health checks)."""
        if self._lost:
            raise self._lost.again()
        while self._idle:
            connection = self._idle.pop()
            if connection.silent():
                return connection
            self._discard(connection)
        if self._closed:
            raise ServiceError(503, "SHUTTING_DOWN", "the service is shutting down")
        if len(self._waiting) >= self._max_waiting:
            raise ServiceError(503, "POOL_FULL", "too many requests are waiting for a database connection")
        return await self._wait(urgent, min(self._wait_seconds, wait_seconds))

    async def _wait(self, urgent: bool, wait_seconds: float) -> PgConnection:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[PgConnection] = loop.create_future()
        if urgent:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        self._grow()
        timer = loop.call_later(wait_seconds, self._time_out, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self.release(waiter.result())  # the connection arrived at the same time as the cancellation
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise
        finally:
            timer.cancel()

    def _time_out(self, waiter: asyncio.Future[PgConnection]) -> None:
        """Fails one waiting request; the reason is the last refused login, if the server has refused one."""
        if not waiter.done():
            self._waiting.remove(waiter)
            timeout = ServiceError(503, "POOL_TIMEOUT", "no database connection became free in time")
            waiter.set_exception(self._refused.again() if self._refused else timeout)

    def release(self, connection: PgConnection) -> None:
        """Takes a connection back: gives it to the next request, keeps it, or closes it if it is not idle."""
        if self._closed or connection.cancelled_at or not connection.idle:
            self._discard(connection)
            return
        self.signs += 1
        connection.in_doubt = False
        connection.transactions = 0
        connection.due = inf
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.idle_since = monotonic()
        self._idle.append(connection)

    def stats(self) -> PoolStats:
        """Returns the current numbers of open and idle connections and of waiting requests, and the peak."""
        return PoolStats(
            total=len(self._connections), idle=len(self._idle), waiting=len(self._waiting), peak=self._peak
        )

    def open(self) -> None:
        """Opens the minimum in the background and keeps it open, even if the database is not reachable yet.

        More connections are opened on demand, and closed after `idle_seconds` without use.
        """
        self._fill()
        loop = asyncio.get_running_loop()
        self._reaper = loop.call_later(min(_TICK_SECONDS, self._idle_seconds / 2), self._reap)

    def overdue(self, now: float) -> list[PgConnection]:
        """Returns the connections whose request should have ended before `now`, in seconds of perf_counter."""
        return [connection for connection in self._connections if connection.due < now]

    def lose(self, reason: ServiceError) -> None:
        """Fails waiting and new requests until `regain`; those that run go on. Closes dead idle connections."""
        if not self._lost:
            self._lost = reason
            self._fail_all(reason)
        dead = [connection for connection in self._idle if not connection.silent()]
        self._idle = [connection for connection in self._idle if connection not in dead]
        for connection in dead:
            self._discard(connection)

    def regain(self) -> bool:
        """Serves requests again and returns True; after a loss of all connections only once a login succeeds."""
        if self._lost and not self._connections:
            self._grow(1)
            return False
        self._lost = None
        return True

    async def close(self) -> None:
        """Closes all connections; those in use are closed when they are released."""
        self._closed = True
        for timer in (self._reaper, self._retry):
            if timer:
                timer.cancel()
        self._fail_all(ServiceError(503, "SHUTTING_DOWN", "the service is shutting down"))
        while self._idle:
            self._discard(self._idle.pop())
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _reap(self) -> None:
        self.open()
        limit = monotonic() - self._idle_seconds
        while len(self._connections) > self._minimum and self._idle and self._idle[0].idle_since < limit:
            self._discard(self._idle.pop(0))

    def _discard(self, connection: PgConnection) -> None:
        self._connections.discard(connection)
        connection.close()
        self._grow()

    def _fill(self) -> None:
        """Opens connections up to the minimum: each tick starts some logins, and each success starts the next."""
        if not self._closed:
            self._grow(min(_LOGINS, self._minimum - len(self._connections)))

    def _grow(self, ahead: int = 0) -> None:
        """Starts one login per waiting request, or `ahead` if that is more, up to the size."""
        wanted = min(self._size - len(self._connections), max(ahead, len(self._waiting)))
        if self._refused:
            wanted = 0 if self._retry else min(1, wanted)
        for _ in range(wanted - len(self._opening)):
            task = asyncio.get_running_loop().create_task(self._open_connection())
            self._opening.add(task)

    def _back_off(self) -> None:
        if self._retry or self._closed:
            return
        seconds = self._backoff_seconds * random.uniform(0.5, 1.5)
        self._backoff_seconds = min(_BACKOFF_SECONDS[1], 2 * self._backoff_seconds)
        self._retry = asyncio.get_running_loop().call_later(seconds, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._fill()

    async def _open_connection(self) -> None:
        task = asyncio.current_task()
        connection, failure = None, None
        try:
            connection = await self._connect()
        except (psycopg.Error, OSError) as error:
            failure = from_connect(error)
            self._refused = failure
            self._back_off()
        finally:
            self._opening = {other for other in self._opening if other is not task}  # at once, not in a callback
        if connection:
            self._refused = self._lost = None
            self._backoff_seconds = _BACKOFF_SECONDS[0]
            if self._retry:
                self._retry.cancel()
                self._retry = None
            self._connections.add(connection)
            self._peak = max(self._peak, len(self._connections))
            self.release(connection)
            self._fill()
        elif failure and not self._connections and not self._opening:
            # Otherwise an open connection, or one being opened, serves the waiting requests.
            self._fail_all(failure)

    def _fail_all(self, error: ServiceError) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error.again())
