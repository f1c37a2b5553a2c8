"""A port of loopback that leads through a host's SSH connection to a port of that host's loopback.

Whoever connects learns from his own connection what goes wrong behind it: either end that hangs up, however
rudely, ends the other, and nothing else.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import paramiko

OPEN_S = 15
LOOK_S = 0.1
"""How soon the end of a tunnel is noticed by what runs in it."""


class _Tunnel(socketserver.ThreadingTCPServer):
    def __init__(self, transport: paramiko.Transport, port: int) -> None:
        self.transport, self.behind, self.over = transport, ("127.0.0.1", port), False
        super().__init__(("127.0.0.1", 0), _Line)


class _Line(socketserver.BaseRequestHandler):
    """One connection, carried in both directions until one end is done."""

    server: _Tunnel

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # as ssh does
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            far = self.server.transport.open_channel(
                "direct-tcpip", self.server.behind, self.client_address, timeout=OPEN_S
            )
            with contextlib.closing(far):
                self._carry({self.request: far, far: self.request})

    def _carry(self, other: dict[Any, Any]) -> None:
        with selectors.DefaultSelector() as waiting:  # select(2) knows no descriptor from 1024 on
            for end in other:
                waiting.register(end, selectors.EVENT_READ)
            while not self.server.over:
                for key, _ in waiting.select(LOOK_S):
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # a socket or a channel
                    if not data:
                        return
                    other[key.fileobj].sendall(data)


@contextlib.contextmanager
def tunnel(transport: paramiko.Transport, port: int) -> Iterator[int]:
    """The local port, open as long as the context lasts; afterwards no socket and no thread is left."""
    with _Tunnel(transport, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(LOOK_S,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.over = True
            server.shutdown()
            thread.join()
