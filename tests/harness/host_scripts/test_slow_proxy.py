"""The proxy of a slow network: late, in order, and closed when one side closes."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host_scripts import slow_proxy

DELAY_MS = 40


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that returns what it gets, and ends with the client."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client: socket.socket) -> None:
        with client:
            while block := client.recv(65536):
                client.sendall(block)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)  # after a close alone, accept() goes on with the file that gets the number next
    thread.join()
    server.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(slow_proxy.__file__)), str(port), "127.0.0.1", str(echo), str(DELAY_MS)]
    process = subprocess.Popen(command)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def test_each_direction_is_late_and_bytes_keep_their_order(proxy: int) -> None:
    sent = b"".join(number.to_bytes(4, "big") for number in range(50_000))
    with socket.create_connection(("127.0.0.1", proxy), timeout=10) as client:
        began = time.monotonic()
        threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()
        received = client.recv(65536)
        first = time.monotonic() - began
        while len(received) < len(sent):
            received += client.recv(65536)
    assert received == sent
    assert first >= 2 * DELAY_MS / 1000  # never earlier, however slow the machine


def test_an_end_is_passed_on(proxy: int) -> None:
    with socket.create_connection(("127.0.0.1", proxy), timeout=10) as client:
        client.sendall(b"last")
        client.shutdown(socket.SHUT_WR)
        received = b""
        while block := client.recv(100):
            received += block
    assert received == b"last"


def test_an_unreachable_target_closes_the_connection(echo: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, slow_proxy.__file__, str(port), "127.0.0.1", str(closed), "1"])
    try:
        for _ in range(100):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                    assert client.recv(1) == b""
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        else:
            pytest.fail("the proxy did not listen")
    finally:
        process.kill()
        process.wait()
