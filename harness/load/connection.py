"""One HTTP/1.1 connection that carries one request at a time and never repeats one.

`httptools` is the authority on framing (chunked bodies, `Connection: close`, 1xx, garbage). A head it has read
once, of an answer with a Content-Length on a connection kept alive, is remembered as bytes: when the same head
comes again with its whole body in one piece, which is nearly always, nothing needs parsing. Nor does an answer need
to be understood again that comes byte for byte as before, as refusals and answers without a counter do.

The owner is told exactly once per request: `answered` with a complete answer, or `broken` with the reason. What is
left undecided here (has a lost request been applied?) is decided nowhere: it is `unknown`.
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import Any, NamedTuple, Protocol, cast

import httptools

from harness.load.clock import now_us

_KNOWN_HEADS = 512
_KNOWN_ANSWERS, _KNOWN_BYTES = 64, 4096
"""How many answers of an operation are remembered whole, the first that come, and how long they may be."""
_END = b"\r\n\r\n"


class _Head(NamedTuple):
    text: bytes
    status: int
    is_json: bool
    whole: int
    """Bytes of head and body together."""


_NO_HEAD = _Head(b"", 0, False, -1)
_heads: dict[bytes, _Head] = {}


class Owner(Protocol):
    """Whoever sends over a connection."""

    def answered(self, link: HttpConnection, done_us: int, status: int, body: bytes, is_json: bool) -> Any:
        """A complete answer came; `link.usable` says whether the connection can carry another request.

        Returns what the answer means: `repeated` is told it when the same bytes answer the same operation again.
        """

    def repeated(self, link: HttpConnection, done_us: int, meaning: Any) -> None:
        """As `answered`, where the very same bytes have been an answer before."""

    def broken(self, link: HttpConnection, done_us: int, error: str) -> None:
        """The request was written, and no complete answer will come: reset, eof, truncated, protocol, timeout."""

    def lost(self, link: HttpConnection, out_of_step: bool) -> None:
        """An idle connection ended; `out_of_step`: the server spoke again without being asked."""


class HttpConnection(asyncio.Protocol):
    """A connection and the request it carries (`seq`, `op`, `key`, `due_us`, `sent_us` belong to the owner)."""

    __slots__ = (
        "_head",
        "_owner",
        "_parser",
        "busy",
        "due_us",
        "key",
        "known",
        "op",
        "sent_us",
        "seq",
        "transport",
        "usable",
        "write",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser: _Parser | None = None
        self._head = _NO_HEAD
        """That of its last answer, which is nearly always that of the next."""
        self.known: dict[bytes, Any] = {}
        """Whole answers and what they meant; the owner sets that of the operation."""
        self.busy = self.usable = False
        self.seq = self.op = self.key = self.due_us = self.sent_us = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        self.usable = True

    def data_received(self, data: bytes) -> None:
        done_us = monotonic_ns() // 1000
        if self.busy and self._parser is None:
            known = self.known
            meaning = known.get(data)
            if meaning is not None:
                self.busy = False
                self._owner.repeated(self, done_us, meaning)
                return
            text, status, is_json, whole = self._head
            if len(data) != whole or not data.startswith(text):
                text, status, is_json, whole = self._head = _heads.get(data[: data.find(_END) + 4], _NO_HEAD)
            if len(data) == whole:
                self.busy = False
                meaning = self._owner.answered(self, done_us, status, data[len(text) :], is_json)
                if len(known) < _KNOWN_ANSWERS and whole <= _KNOWN_BYTES:
                    known[data] = meaning
                return
        self._parse(data, done_us)

    def _parse(self, data: bytes, done_us: int) -> None:
        if not self.busy:
            self._drop()
            self._owner.lost(self, out_of_step=self.sent_us > 0)  # a 408 to who has asked nothing yet answers nobody
            return
        parser = self._parser or _Parser()
        self._parser = parser
        parser.feed(data)
        if parser.complete:
            if parser.reusable:
                parser.remember(data)
            else:
                self._drop()
            self._answered(parser, done_us)
        elif parser.error:
            self.fail("protocol", done_us)

    def _answered(self, parser: _Parser, done_us: int) -> None:
        parser.end()
        self._parser = None
        self.busy = False
        self._owner.answered(self, done_us, parser.status, b"".join(parser.body), parser.is_json)

    def fail(self, error: str, done_us: int) -> None:
        """Give the request in flight up, and the connection with it."""
        if self._parser is not None:
            self._parser.end()
            self._parser = None
        self.busy = False
        self._drop()
        self._owner.broken(self, done_us, error)

    def _drop(self) -> None:
        self.usable = False
        self.transport.abort()

    def close(self) -> None:
        """End an idle connection in good order."""
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
                self.fail("eof" if exc is None else "reset", now_us())
        elif was_usable:
            self._owner.lost(self, out_of_step=False)


class _Parser:
    """One answer being read by httptools."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._framed = self._headers_done = False
        self._length = -1
        self.status = 0
        self.is_json = self.complete = self.error = self.reusable = False
        self.body: list[bytes] = []

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.error = True
            self.reusable = False

    def end(self) -> None:
        """Let go of httptools' parser, which holds our methods: nobody collects a ring while the load runs."""
        del self._parser

    @property
    def until_close(self) -> bool:
        """The end of the connection is the end of the body (RFC 9112, 6.3, rule 8)."""
        return self._headers_done and not self._framed

    def remember(self, data: bytes) -> None:
        """Keep the head if this answer was simple and came in one piece."""
        end = data.find(_END) + 4
        if self._length >= 0 and len(data) == end + self._length and len(b"".join(self.body)) == self._length:
            if len(_heads) >= _KNOWN_HEADS:
                _heads.clear()  # a server that puts something new into each head
            _heads[data[:end]] = _Head(data[:end], self.status, self.is_json, len(data))

    # httptools calls these; what comes after a complete answer was not asked for
    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        lower = name.lower()
        if lower == b"content-length":
            self._framed = True
            self._length = int(value) if value.isdigit() else -1
        elif lower == b"transfer-encoding":
            self._framed = True
        elif lower == b"content-type":
            self.is_json = b"json" in value.lower()

    def on_headers_complete(self) -> None:
        if not self.complete:
            self._headers_done = True
            self.status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        if not self.complete:
            self.body.append(part)

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if self.status < 200:  # 100 Continue and its like: the answer is still to come
            self._headers_done = self._framed = False
            self.body.clear()
            return
        self.complete = True
        self.reusable = self._parser.should_keep_alive()
