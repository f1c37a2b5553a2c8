"""A pooler in transaction mode, as PgBouncer has it: each transaction gets the server connection that waits longest.

It lets every client in, forwards the wire protocol (PostgreSQL manual, chapter 55) and knows of it only where a message
ends and whether a transaction is open. `pid`: the server process that it names to clients; None: that of one of its
connections, as a pooler that passes on what a server said.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading

import psycopg

READY = ord("Z")


class Pooler:
    """Use as a context manager; `port` is where it listens."""

    def __init__(self, dsn: str, size: int, pid: int | None = 4_000_000) -> None:
        self._servers = [psycopg.connect(dsn, autocommit=True) for _ in range(size)]
        self._pid = pid
        self._idle: queue.Queue[socket.socket] = queue.Queue()
        self._sockets = [socket.socket(fileno=os.dup(server.fileno())) for server in self._servers]
        for opened in self._sockets:
            self._idle.put(opened)
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Pooler:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._listener, *self._clients, *self._sockets):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        for server in self._servers:
            server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._greet(client)
            server = None
            while (kind := _exactly(client, 1)) != b"X":
                server = server or self._wait_for_server()
                server.setblocking(True)
                server.sendall(kind + _rest(client))
                if kind in b"QS":
                    while True:
                        answer = _exactly(server, 1) + _rest(server)
                        client.sendall(answer)
                        if answer[0] == READY:
                            break
                    if answer[-1:] == b"I":
                        self._idle.put(server)
                        server = None

    def _wait_for_server(self) -> socket.socket:
        return self._idle.get()

    def _greet(self, client: socket.socket) -> None:
        while struct.unpack("!i", (start := _rest(client))[4:8])[0] != 196608:  # encryption is refused
            if len(start) == 16:  # a cancel request
                raise EOFError
            client.sendall(b"N")
        info = self._servers[0].info
        parameters = {"server_version": "18.0", "client_encoding": "UTF8", "standard_conforming_strings": "on"}
        answer = b"R" + struct.pack("!ii", 8, 0)
        for name, value in parameters.items():
            text = f"{name}\0{value}\0".encode()
            answer += b"S" + struct.pack("!i", len(text) + 4) + text
        pid = info.backend_pid if self._pid is None else self._pid
        client.sendall(answer + b"K" + struct.pack("!iii", 12, pid, 1) + b"Z" + struct.pack("!i", 5) + b"I")


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _rest(connection: socket.socket) -> bytes:
    """Returns a message from its length on."""
    length = _exactly(connection, 4)
    return length + _exactly(connection, struct.unpack("!i", length)[0] - 4)
