"""One client's connection: aiohttp's, with what it lacks: above all a time by which a request's head must be here.

aiohttp closes a connection on which nothing was asked for a while (`KEEPALIVE_SECONDS`), but to it a head that
arrives a byte a minute is such a connection too, and that while is long. Without a limit of its own, a few
thousand sockets that never finish their first line take all that a process may open.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web


class Connection(web.RequestHandler):
    """Closed without an answer when a head is not whole `head_seconds` after its first byte: nothing was asked."""

    __slots__ = ("_head_due", "_head_seconds")

    def __init__(self, manager: web.Server, *, head_seconds: float, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._head_seconds = head_seconds
        self._head_due: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Without a request in hand or in line, what came is the beginning of a head."""
        super().data_received(data)
        if self._request_in_progress or self._messages:
            self._forget()
        elif self._head_due is None:
            self._head_due = self._loop.call_later(self._head_seconds, self.force_close)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp refuses by itself, it repeats; where that is not UTF-8, its refusal ends in an error too."""
        if isinstance(exc, UnicodeError):
            status, exc, message = 400, None, "400: Bad Request"
        return super().handle_error(request, status, exc, message)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The timer goes with the connection."""
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
