"""Reads one HTTP response with httptools, within bounds: the load's connections and the client of other requests.

Interim responses (1xx) are skipped. A response that does not end is an error before it fills the memory: each is
bounded, and so is what all responses of this process hold at once.
"""

from __future__ import annotations

import httptools

MAX_HEAD_BYTES = 64 * 1024
"""Of the head, with all interim responses before it."""
MAX_BYTES = 4 * 1024 * 1024
"""Of a whole response: the ids of 100,000 rows need 2 MiB."""
MAX_HELD_BYTES = 128 * 1024 * 1024
"""Of all responses of this process that are not complete."""

held_bytes = 0
"""Of all responses of this process that are not complete. A class attribute would be slow: each write to one empties
the interpreter's cache of the class."""


class ResponseParser:
    """Reads one response. `error`: why it cannot be read (`protocol`, `too large`), or empty."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._framed = self._headers_done = False
        self._bytes = 0
        self.length = -1
        """The Content-Length, or -1."""
        self.status = 0
        self.is_json = self.complete = self.reusable = False
        self.error = ""
        self.body: bytes | bytearray = b""

    def feed(self, data: bytes) -> None:
        """Reads the next bytes."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.error = "protocol"
            self.reusable = False
            return
        if not self.complete:
            self._hold(len(data))
            limit = MAX_BYTES if self._headers_done else MAX_HEAD_BYTES
            if self._bytes > limit or held_bytes > MAX_HELD_BYTES:
                self.error = "too large"

    def _hold(self, count: int) -> None:
        global held_bytes  # noqa: PLW0603
        self._bytes += count
        held_bytes += count

    def end(self) -> None:
        """Breaks the reference cycle with httptools' parser: the garbage collector is off during the run."""
        del self._parser
        if self._bytes:
            self._hold(-self._bytes)

    @property
    def until_close(self) -> bool:
        """Whether the end of the connection is the end of the body (RFC 9112, 6.3, rule 8)."""
        return self._headers_done and not self._framed

    # called by httptools; anything after a complete response was not asked for
    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        lower = name.lower()
        if lower == b"content-length":
            self._framed = True
            self.length = int(value) if value.isdigit() else -1
        elif lower == b"transfer-encoding":
            self._framed = value.lower().rpartition(b",")[2].strip() == b"chunked"  # else until close (RFC 9112, 6.3)
        elif lower == b"content-type":
            self.is_json = b"json" in value.lower()

    def on_headers_complete(self) -> None:
        if not self.complete:
            self._headers_done = True
            self.status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        if self.complete:
            return
        if not self.body:
            self.body = part
        elif isinstance(self.body, bytearray):
            self.body += part
        else:
            self.body = bytearray(self.body + part)

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if self.status < 200:  # an interim response (RFC 9110, 15.2): the final one is still to come
            self._headers_done = self._framed = self.is_json = False
            self.length = -1
            self.body = b""
            return
        self.complete = True
        self.reusable = self._parser.should_keep_alive()
