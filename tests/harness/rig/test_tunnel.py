"""The tunnel carries both ways, and outlives whoever hangs up; a socket stands for the SSH channel."""

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
    """A transport whose channels are sockets of this machine."""

    def open_channel(self, kind: str, behind: tuple[str, int], peer: Any, timeout: float) -> socket.socket:
        assert kind == "direct-tcpip"
        return socket.create_connection(behind, timeout)


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


def test_it_carries_both_ways_for_several_at_once(echo: int) -> None:
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


def test_either_end_may_hang_up_and_the_tunnel_stays(echo: int) -> None:
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


def test_a_busy_controller_with_a_thousand_files_open_is_served_too(echo: int) -> None:
    wanted = 1100  # descriptors below are taken, so those of the line lie above what select(2) knows
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


def test_a_port_that_nobody_listens_on_is_a_line_that_ends() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        refused = tunnel(Loopback(), nobody.getsockname()[1])  # type: ignore[arg-type]
        with refused as port, socket.create_connection(("127.0.0.1", port)) as line:
            assert line.recv(1) == b""


def test_its_end_ends_the_lines_in_it(echo: int) -> None:
    threads = threading.active_count()
    with tunnel(Loopback(), echo) as port:  # type: ignore[arg-type]
        line = socket.create_connection(("127.0.0.1", port))
        line.sendall(b"x")
        assert exactly(line, 1) == b"x"
    with line:
        assert line.recv(1) == b""
    assert threading.active_count() <= threads + 1  # the echo's own thread may still be ending
