"""The application: settings and a backend, opened before the first request and closed after the last."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from app.backends import BACKENDS
from app.backends.base import Backend
from app.drain import Drain
from app.handlers import Handlers
from app.http_connection import Connection
from app.logs import LOG
from app.metrics import Counters
from app.settings import Settings

SETTINGS: web.AppKey[Settings] = web.AppKey("SETTINGS", Settings)
BACKEND: web.AppKey[Backend] = web.AppKey("BACKEND", Backend)
COUNTERS: web.AppKey[Counters] = web.AppKey("COUNTERS", Counters)
DRAIN: web.AppKey[Drain] = web.AppKey("DRAIN", Drain)


def make_app(settings: Settings) -> web.Application:
    """Returns the application for these settings; nothing is opened yet."""
    app = web.Application(client_max_size=settings.max_body_bytes)
    app[SETTINGS] = settings
    app[BACKEND] = BACKENDS[settings.backend](settings)
    app[COUNTERS] = Counters()
    app[DRAIN] = Drain(settings.drain_seconds)
    app.add_routes(Handlers(settings, app[BACKEND], app[COUNTERS], app[DRAIN]).routes())
    app.cleanup_ctx.append(_backend)
    return app


async def _backend(app: web.Application) -> AsyncIterator[None]:
    try:
        await app[BACKEND].open()
        yield
    finally:
        await app[BACKEND].close()


async def serve(app: web.Application) -> None:
    """Listens until SIGTERM or SIGINT; then drains, finishes the requests in flight and closes the backend."""
    settings = app[SETTINGS]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=settings.shutdown_seconds)
    await runner.setup()
    server = runner.server
    assert server is not None
    connection = partial(
        Connection,
        server,
        loop=loop,
        access_log=None,
        auto_decompress=False,  # it decompresses in the event loop, whatever the size
        keepalive_timeout=settings.keepalive_seconds,
        head_seconds=settings.head_seconds,
    )
    listener: asyncio.Server | None = None
    try:
        listener = await loop.create_server(connection, settings.host, settings.port, backlog=settings.backlog)
        port = listener.sockets[0].getsockname()[1]
        LOG.info("listening", extra={"facts": {"port": port, "settings": settings.public()}})
        await stop.wait()
        LOG.info("stopping", extra={"facts": {"pool": str(app[BACKEND].pool_stats())}})
        await app[DRAIN].run()
    finally:
        if listener is not None:
            listener.close()
        await runner.cleanup()
    LOG.info("stopped", extra={"facts": {"requests": app[COUNTERS].requests}})
