"""The tunnel forwards both ways and survives closed connections; a local socket replaces the SSH channel."""

from __future__ import annotations

import os
import resource
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.rig.tunnel import tunnel


class Loopback:
    """A transport whose channels are local sockets."""

    def open_channel(self, kind: str, behind: tuple[str, int], peer: Any, timeout: float) -> socket.socket:
        assert kind == "direct-tcpip"
        channel = socket.create_connection(behind, timeout)
        channel.settimeout(None)  # as paramiko: the time-out is for opening alone
        return channel


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            if data == b"end":
                return
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def exactly(line: socket.socket, count: int) -> bytes:
    return line.recv(count, socket.MSG_WAITALL)


def test_several_connections_are_forwarded_both_ways(echo: int) -> None:
    with tunnel(Loopback(), echo) as port:  # type: ignore[arg-type]
        lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for number, line in enumerate(lines):
            text = bytes([number]) * 100_000
            writer = threading.Thread(target=line.sendall, args=(text,))
            writer.start()
            assert exactly(line, len(text)) == text
            writer.join()
        for line in lines:
            line.close()


def test_the_tunnel_survives_a_close_at_either_end(echo: int) -> None:
    with tunnel(Loopback(), echo) as port:  # type: ignore[arg-type]
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(b"end")
            assert line.recv(1) == b""
        rude = socket.create_connection(("127.0.0.1", port))
        rude.sendall(b"x")
        assert exactly(rude, 1) == b"x"
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.close()  # a reset, as from a client that refuses a certificate
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(b"again")
            assert exactly(line, 5) == b"again"


def test_descriptors_above_1024_work(echo: int) -> None:
    wanted = 1100  # so the descriptors of the connection exceed the limit of select(2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * wanted)), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(wanted)]
    try:
        assert max(taken) > 1024
        busy = tunnel(Loopback(), echo)  # type: ignore[arg-type]
        with busy as port, socket.create_connection(("127.0.0.1", port)) as line:
            line.settimeout(10)
            line.sendall(b"x")
            assert exactly(line, 1) == b"x"
    finally:
        for file in taken:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_port_without_a_listener_closes_the_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = tunnel(Loopback(), unused.getsockname()[1])  # type: ignore[arg-type]
        with refused as port, socket.create_connection(("127.0.0.1", port)) as line:
            assert line.recv(1) == b""


def test_closing_the_tunnel_closes_its_connections(echo: int) -> None:
    threads = threading.active_count()
    with tunnel(Loopback(), echo) as port:  # type: ignore[arg-type]
        line = socket.create_connection(("127.0.0.1", port))
        line.sendall(b"x")
        assert exactly(line, 1) == b"x"
    with line:
        assert line.recv(1) == b""
    assert threading.active_count() <= threads + 1  # the thread of the echo server may still be ending


def test_a_host_that_takes_no_more_bytes_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused host acknowledges until its buffers are full."""
    monkeypatch.setattr("harness.rig.tunnel.OPEN_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as paused:
        stalled = tunnel(Loopback(), paused.getsockname()[1])  # type: ignore[arg-type]
        with stalled as port, socket.create_connection(("127.0.0.1", port)) as line:
            line.settimeout(5)
            with pytest.raises(ConnectionError):
                line.sendall(bytes(2**26))
