"""A client's HTTP connection: aiohttp's request handler plus a time limit for the request header.

aiohttp closes a connection that is idle for `KEEPALIVE_SECONDS`. It counts a connection whose header arrives slowly
as idle, too, and that limit is long. Without a shorter limit, a few thousand sockets that never finish their first
line use up all file descriptors of the process.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web


class Connection(web.RequestHandler):
    """Closes without a response if a request header is not complete `head_seconds` after its first byte."""

    __slots__ = ("_head_due", "_head_seconds")

    def __init__(self, manager: web.Server, *, head_seconds: float, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._head_seconds = head_seconds
        self._head_due: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Starts the timer if these bytes begin a header: no request is in progress or queued."""
        super().data_received(data)
        if self._request_in_progress or self._messages:
            self._cancel_timer()
        elif self._head_due is None:
            self._head_due = self._loop.call_later(self._head_seconds, self.force_close)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers 400 without the offending text if it is not UTF-8: aiohttp would repeat it and fail with 500."""
        if isinstance(exc, UnicodeError):
            status, exc, message = 400, None, "400: Bad Request"
        return super().handle_error(request, status, exc, message)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancels the timer."""
        self._cancel_timer()
        super().connection_lost(exc)

    def _cancel_timer(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
