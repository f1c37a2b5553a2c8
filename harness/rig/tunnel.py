"""Forwards a local loopback port through a host's SSH connection to a port of that host's loopback.

An error or close on one end closes the other end of that connection only.
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
POLL_S = 0.1
"""How often a connection checks whether its tunnel has closed."""


class _Tunnel(socketserver.ThreadingTCPServer):
    def __init__(self, transport: paramiko.Transport, port: int) -> None:
        self.transport, self.destination, self.closed = transport, ("127.0.0.1", port), False
        super().__init__(("127.0.0.1", 0), _Forwarder)


class _Forwarder(socketserver.BaseRequestHandler):
    """Forwards one connection in both directions until one end closes."""

    server: _Tunnel

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # as ssh does
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel = self.server.transport.open_channel(
                "direct-tcpip", self.server.destination, self.client_address, timeout=OPEN_S
            )
            channel.settimeout(OPEN_S)  # a host that is paused takes no more bytes
            self.request.settimeout(OPEN_S)
            with contextlib.closing(channel):
                self._forward({self.request: channel, channel: self.request})

    def _forward(self, peers: dict[Any, Any]) -> None:
        with selectors.DefaultSelector() as selector:  # select(2) is limited to descriptors below 1024
            for end in peers:
                selector.register(end, selectors.EVENT_READ)
            while not self.server.closed:
                for key, _ in selector.select(POLL_S):
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # a socket or a channel
                    if not data:
                        return
                    peers[key.fileobj].sendall(data)


@contextlib.contextmanager
def tunnel(transport: paramiko.Transport, port: int) -> Iterator[int]:
    """Yields the local port; it is closed, and its threads have ended, when the context ends."""
    with _Tunnel(transport, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.closed = True
            server.shutdown()
            thread.join(OPEN_S)
