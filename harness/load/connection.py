"""One HTTP/1.1 connection that carries one request at a time and never repeats one.

`httptools` decides on framing (chunked bodies, `Connection: close`, 1xx, malformed input). Two caches save its work:

- The head of a response with a Content-Length on a connection kept alive is remembered as bytes. When the same head
  comes again with its whole body in one piece, which is nearly always, nothing is parsed.
- A whole response that comes again byte for byte, as rejections and responses without a counter do, is not classified
  again either.

The owner is called exactly once per request: `answered` or `repeated` with a complete response, or `broken` with the
reason. Whether a lost request was applied is not known here or anywhere else: its outcome is `unknown`.
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import Any, NamedTuple, Protocol, cast

from harness.load import tcp_state
from harness.load.clock import now_us
from harness.load.response_parser import ResponseParser

_MAX_HEADS, _MAX_HEAD_BYTES = 512, 4096
_MAX_ANSWERS, _MAX_ANSWER_BYTES = 64, 4096
"""Whole responses remembered per operation, the first to come, and their greatest length."""
_END = b"\r\n\r\n"


class _Head(NamedTuple):
    text: bytes
    status: int
    is_json: bool
    total_bytes: int
    """Length of head and body together."""


_NO_HEAD = _Head(b"", 0, False, -1)
_heads: dict[bytes, _Head] = {}


def _remember(parser: ResponseParser, data: bytes) -> None:
    """Keeps the head if the response has a Content-Length and came in one piece."""
    end = data.find(_END) + 4
    if end <= _MAX_HEAD_BYTES and 0 <= parser.length == len(parser.body) == len(data) - end:
        if len(_heads) >= _MAX_HEADS:
            _heads.clear()  # the server puts something new into each head
        _heads[data[:end]] = _Head(data[:end], parser.status, parser.is_json, len(data))


class Owner(Protocol):
    """The engine that sends over a connection."""

    def answered(self, connection: HttpConnection, done_us: int, status: int, body: bytes, is_json: bool) -> Any:
        """A complete response came; `connection.usable` tells whether another request can be sent.

        Returns the outcome, which is passed to `repeated` when the same bytes answer the same operation again.
        """

    def repeated(self, connection: HttpConnection, done_us: int, outcome: Any) -> None:
        """A complete response came whose bytes have had this outcome before."""

    def broken(self, connection: HttpConnection, done_us: int, error: str) -> None:
        """The request was written, and no complete response will come.

        `error`: reset, eof, truncated, protocol, too large, timeout.
        """

    def lost(self, connection: HttpConnection, out_of_step: bool) -> None:
        """An idle connection ended; `out_of_step`: the server sent a response that no request asked for."""


class HttpConnection(asyncio.Protocol):
    """A connection and the request it carries (`seq`, `op`, `key`, `due_us`, `sent_us` are set by the owner)."""

    __slots__ = (
        "_head",
        "_owner",
        "_parser",
        "busy",
        "due_us",
        "first_due_us",
        "idle_since_us",
        "key",
        "known_answers",
        "op",
        "sent_us",
        "seq",
        "transport",
        "usable",
        "was_read",
        "write",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser: ResponseParser | None = None
        self._head = _NO_HEAD
        """Head of the last response, which is nearly always that of the next."""
        self.known_answers: dict[bytes, Any] = {}
        """Whole responses of the current operation and their outcomes; set by the owner."""
        self.busy = self.usable = False
        self.was_read = False
        """Whether the peer read the request in flight before it ended the connection."""
        self.seq = self.op = self.key = self.due_us = self.sent_us = 0
        self.idle_since_us = self.first_due_us = 0
        """When the connection was opened, or last became idle (open model); when its first request is due."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        self.usable = True
        self.idle_since_us = now_us()

    def data_received(self, data: bytes) -> None:
        done_us = monotonic_ns() // 1000
        if self.busy and self._parser is None:
            known_answers = self.known_answers
            outcome = known_answers.get(data)
            if outcome is not None:
                self.busy = False
                self._owner.repeated(self, done_us, outcome)
                return
            text, status, is_json, total_bytes = self._head
            if len(data) != total_bytes or not data.startswith(text):
                text, status, is_json, total_bytes = self._head = _heads.get(data[: data.find(_END) + 4], _NO_HEAD)
            if len(data) == total_bytes:
                self.busy = False
                outcome = self._owner.answered(self, done_us, status, data[len(text) :], is_json)
                if len(known_answers) < _MAX_ANSWERS and total_bytes <= _MAX_ANSWER_BYTES:
                    known_answers[data] = outcome
                return
        self._parse(data, done_us)

    def _parse(self, data: bytes, done_us: int) -> None:
        if not self.busy:
            self.drop()
            # on a connection never used it is an idle timeout (408), not an unexpected response
            self._owner.lost(self, out_of_step=self.sent_us > 0)
            return
        parser = self._parser or ResponseParser()
        self._parser = parser
        parser.feed(data)
        if parser.complete:
            if parser.reusable:
                _remember(parser, data)
            else:
                self.drop()
            self._answered(parser, done_us)
        elif parser.error:
            self.fail(parser.error, done_us)

    def _answered(self, parser: ResponseParser, done_us: int) -> None:
        parser.end()
        self._parser = None
        self.busy = False
        self._owner.answered(self, done_us, parser.status, bytes(parser.body), parser.is_json)

    def fail(self, error: str, done_us: int) -> None:
        """End the request in flight without a response, and the connection with it."""
        if self._parser is not None:
            self._parser.end()
            self._parser = None
        self.busy = False
        self.drop()
        self._owner.broken(self, done_us, error)

    def has_ended(self) -> bool:
        """Whether the peer has ended an idle connection, which may not have been read yet."""
        return tcp_state.has_ended(self.transport)

    def drop(self) -> None:
        """End the connection at once; the owner is not called."""
        self.usable = False
        self.transport.abort()

    def close(self) -> None:
        """Close an idle connection gracefully."""
        self.usable = False
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        was_usable, self.usable = self.usable, False
        if self.busy:
            parser = self._parser
            if parser is not None and parser.until_close and exc is None:
                self._answered(parser, now_us())
            elif parser is not None:
                self.fail("truncated", now_us())
            else:
                self.was_read = exc is None and tcp_state.is_acknowledged(self.transport)
                self.fail("eof" if exc is None else "reset", now_us())
        elif was_usable:
            self._owner.lost(self, out_of_step=False)
