"""A service in memory that fulfils the contract and has unusual habits of HTTP, each switched on by a keyword.

It runs in threads of the test's process; `requests` holds the head lines of the requests that it received.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"


@dataclass(kw_only=True)
class Habits:
    """What is unusual about the service.

    `interim`: bytes before each response. `framing`: length, chunked or close (the end of the connection is the end of
    the body). `per_connection`: responses until it closes without an announcement. `idle_s`: it closes connections
    that are idle for so long. `form`: the Python type of values. `drip_s`: pause after each byte of a body.
    `endless`: start of the paths whose body (or `endless_interim`: whose interim responses) never ends, after
    `endless_after` increments.
    """

    family: int = socket.AF_INET
    interim: bytes = b""
    framing: str = "length"
    version: str = "HTTP/1.1"
    announce_close: bool = False
    per_connection: int | None = None
    idle_s: float | None = None
    reset: bool = False
    gzip_unless_identity: bool = False
    needs_brackets: bool = False
    form: type = int
    drip_s: float = 0.0
    endless: str = ""
    endless_interim: str = ""
    endless_after: int = 0
    health: int = 200
    requests: list[list[str]] = field(default_factory=list)


class OddService:
    """Use as a context manager; `port` is where it listens, `counters` what it holds."""

    def __init__(self, port: int = 0, **habits: Any) -> None:
        self.habits = Habits(**habits)
        self.counters: dict[str, int] = {}
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.socket(self.habits.family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.host = "::1" if self.habits.family == socket.AF_INET6 else "127.0.0.1"
        self._listener.bind((self.host, port))
        self._listener.listen(1024)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def requests(self) -> list[list[str]]:
        return self.habits.requests

    def __enter__(self) -> OddService:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        self.connections += 1
        habits, served = self.habits, 0
        with contextlib.suppress(OSError, ValueError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for head, body in self._requests(connection):
                method, path, _ = head[0].split(" ")
                habits.requests.append(head)
                ends = sum(self.counters.values()) < habits.endless_after
                if not ends and habits.endless_interim and path.startswith(habits.endless_interim):
                    while True:
                        connection.sendall(CONTINUE * 100)
                if not ends and habits.endless and path.startswith(habits.endless):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                    while True:
                        connection.sendall(b" " * 65536)
                status, data = self._response(method, path, head, body)
                closes = self._send(connection, status, data, head)
                served += 1
                if closes or served == habits.per_connection:
                    break
        if habits.reset:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._open.discard(connection)
        connection.close()

    def _requests(self, connection: socket.socket) -> Iterator[tuple[list[str], bytes]]:
        data = b""
        while True:
            connection.settimeout(self.habits.idle_s)
            while b"\r\n\r\n" not in data:
                part = connection.recv(65536)
                if not part:
                    return
                data += part
            connection.settimeout(None)
            text, _, data = data.partition(b"\r\n\r\n")
            head = text.decode().split("\r\n")
            length = next((int(line.split(":")[1]) for line in head if line.lower().startswith("content-length:")), 0)
            while len(data) < length:
                data += connection.recv(65536)
            yield head, data[:length]
            data = data[length:]

    def _response(self, method: str, path: str, head: list[str], body: bytes) -> tuple[int, Any]:
        host = next(line for line in head if line.lower().startswith("host:")).partition(": ")[2]
        if self.habits.needs_brackets and not host.startswith("[::1]:"):
            return 400, {"error": f"Host: {host}"}
        if path == "/health":
            return self.habits.health, {"status": "healthy", "container": "odd"}
        if path == "/api/increment" and method == "POST":
            key = json.loads(body).get("key")
            if not isinstance(key, str):
                return 400, {"error": "no key"}
            with self._lock:
                self.counters[key] = value = self.counters.get(key, 0) + 1
            return 200, {"success": True, "value": self.habits.form(value), "container": "odd"}
        key = unquote(path.removeprefix("/api/counter/"))
        if path.startswith("/api/counter/") and key in self.counters:
            return 200, {"key": key, "value": self.habits.form(self.counters[key])}
        return 404, {"error": "not found"}

    def _send(self, connection: socket.socket, status: int, data: Any, head: list[str]) -> bool:
        """Sends a response; returns whether the connection must be closed."""
        habits = self.habits
        body, lines = json.dumps(data).encode(), ["Content-Type: application/json"]
        accepts = ",".join(line for line in head if line.lower().startswith("accept-encoding:"))
        if habits.gzip_unless_identity and "identity" not in accepts:
            body = gzip.compress(body)
            lines.append("Content-Encoding: gzip")
        closes = habits.announce_close or habits.framing == "close" or habits.version == "HTTP/1.0"
        if habits.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            parts = (body[: len(body) // 2], body[len(body) // 2 :])
            body = b"".join(b"%x;q=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Sum: 1\r\n\r\n"
        elif habits.framing == "length":
            lines.append(f"Content-Length: {len(body)}")
        if habits.announce_close:
            lines.append("Connection: close")
        text = "\r\n".join([f"{habits.version} {status} X", *lines, "", ""])
        connection.sendall(habits.interim + text.encode())
        if habits.drip_s:
            for byte in body:
                connection.sendall(bytes([byte]))
                time.sleep(habits.drip_s)
        else:
            connection.sendall(body)
        return closes
