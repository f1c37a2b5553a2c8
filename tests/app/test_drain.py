"""Which requests a drain waits for; tests/app/test_process.py has whole processes that drain."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from app.drain import Drain
from app.handlers import Handlers
from app.metrics import Counters
from app.settings import Settings


@pytest.mark.parametrize(("op", "drains"), [("metrics", False), ("ready", False), ("increment", True)])
async def test_a_probe_that_is_being_answered_is_no_request(op: str, *, drains: bool) -> None:
    """It counted as a request if SIGTERM came before its answer: the service drained, though it had no request."""
    drain, answer = Drain(600), asyncio.Event()

    async def handler(request: Any) -> web.StreamResponse:
        await answer.wait()
        return web.Response()

    backend: Any = SimpleNamespace(strategies=())
    request: Any = None
    respond = asyncio.create_task(Handlers(Settings(), backend, Counters(), drain).guard(op, handler)(request))
    await asyncio.sleep(0)
    draining = asyncio.create_task(drain.run())
    await asyncio.sleep(0)
    assert draining.done() != drains
    answer.set()
    await respond
    drain.refuse()
    drain.refuse()
    await asyncio.wait_for(draining, 20)
