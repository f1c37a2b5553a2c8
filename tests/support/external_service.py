"""An external service: the original page's, with its defect and its API. It imports nothing of this project.

`SELECT … FOR UPDATE` locks nothing while the row is missing, so all concurrent first writes of a key try to insert
it, and all but one answer 500 with SQLSTATE 23505. It has no strategies, no Idempotency-Key, no outcome, no /app-N/
and no bulk insert. Arguments: connection string, pool size, container name. Prints its port once it listens.

A fourth argument adds a fault: `deaf` has no GET /api/counter, `forgetful` acknowledges every tenth increment of a
key without writing it, `nameless` does not report its container.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from aiohttp import web
from psycopg_pool import AsyncConnectionPool

TABLES = """
CREATE TABLE IF NOT EXISTS counters (
    key VARCHAR(255) PRIMARY KEY, value INTEGER DEFAULT 0, last_modified TIMESTAMP DEFAULT CURRENT_TIMESTAMP
)
"""
SELECT = "SELECT value FROM counters WHERE key = %s FOR UPDATE"
INSERT = "INSERT INTO counters (key, value) VALUES (%s, 1) RETURNING value"
DELAY_S = 0.1
"""Between SELECT and INSERT, as on a slow network: the defect then shows on slow machines too."""
UPDATE = "UPDATE counters SET value = value + 1, last_modified = now() WHERE key = %s RETURNING value"


class Service:
    """One process of the service."""

    def __init__(self, pool: AsyncConnectionPool, container: str, fault: str) -> None:
        self.pool, self.container, self.fault = pool, container, fault

    def name(self) -> dict[str, str]:
        return {} if self.fault == "nameless" else {"container": self.container}

    async def increment(self, request: web.Request) -> web.Response:
        started = time.monotonic()
        try:
            key = (await request.json()).get("key")
            async with self.pool.connection() as connection, connection.transaction():
                row = await (await connection.execute(SELECT, [key])).fetchone()
                if row is None:
                    await asyncio.sleep(DELAY_S)
                if row and self.fault == "forgetful" and row[0] % 10 == 9:
                    value = row[0] + 1
                else:
                    done = await connection.execute(UPDATE if row else INSERT, [key])
                    (value,) = await done.fetchone()  # type: ignore[misc]
        except psycopg.Error as error:
            return web.json_response({"error": str(error), "code": error.sqlstate, **self.name()}, status=500)
        duration = round((time.monotonic() - started) * 1000)
        return web.json_response({"success": True, "value": value, "duration": duration, **self.name()})

    async def counter(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        async with self.pool.connection() as connection:
            row = await (await connection.execute("SELECT value FROM counters WHERE key = %s", [key])).fetchone()
        if row is None:
            return web.json_response({"error": "not found"}, status=404)
        return web.json_response({"key": key, "value": row[0]})

    async def health(self, _: web.Request) -> web.Response:
        async with self.pool.connection() as connection:
            row: Any = await (await connection.execute("SELECT now()::text")).fetchone()
        return web.json_response({"status": "healthy", **self.name(), "dbTime": row[0]})

    def routes(self) -> list[web.RouteDef]:
        get: Callable[[str, Callable[[web.Request], Awaitable[web.Response]]], web.RouteDef] = web.get
        reads = [] if self.fault == "deaf" else [get("/api/counter/{key}", self.counter)]
        return [web.post("/api/increment", self.increment), get("/health", self.health), *reads]


async def main(dsn: str, size: str, container: str, fault: str = "") -> None:
    async with AsyncConnectionPool(dsn, min_size=int(size), max_size=int(size), open=False) as pool:
        async with pool.connection() as connection:
            await connection.execute(TABLES)
        app = web.Application()
        app.add_routes(Service(pool, container, fault).routes())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        end = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
        print(runner.addresses[0][1], flush=True)
        await end.wait()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
