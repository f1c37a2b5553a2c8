"""Takes all connections of a PostgreSQL server but the reserved ones, and holds them until standard input ends.

Runs as the superuser on the database host. The arguments are the server's socket, the role whose sessions are ended,
and the application name of the held sessions. A superuser may take the reserved connections too: the holder takes every
connection, then ends the role's sessions one by one and takes each freed connection. The role cannot win it, because
the last connections are reserved. At the end the holder frees as many as are reserved, and prints how many it holds.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

VERSION = 196608
"""Protocol 3.0."""
ANSWER_S = 5.0
END_S = 20.0
"""Longest time in which a session that is ended frees its connection."""
FULL = b"C53300\0"


class RefusedError(Exception):
    """The server has no connection left."""


class Session:
    def __init__(self, path: str, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_S)
        try:
            self._socket.connect(path)
            fields = f"user\0postgres\0database\0postgres\0application_name\0{name}\0\0".encode()
            self._socket.sendall(struct.pack("!ii", 8 + len(fields), VERSION) + fields)
            self._rows()
        except BaseException:
            self._socket.close()
            raise

    def query(self, sql: str) -> list[str]:
        """The first column of the result."""
        text = sql.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!i", 4 + len(text)) + text)
        return self._rows()

    def _rows(self) -> list[str]:
        rows: list[str] = []
        while True:
            kind, length = struct.unpack("!ci", self._read(5))
            body = self._read(length - 4)
            if kind == b"Z":
                return rows
            if kind == b"E":
                if FULL in body:
                    raise RefusedError
                raise OSError(body.decode("utf-8", "replace"))
            if kind == b"D":
                (size,) = struct.unpack("!i", body[2:6])
                rows.append(body[6 : 6 + max(size, 0)].decode())

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise OSError("the server closed the connection")
            data += part
        return data

    def close(self) -> None:
        self._socket.sendall(b"X" + struct.pack("!i", 4))
        self._socket.close()


def take_all(path: str, role: str, name: str) -> list[Session]:
    """Returns the held sessions. Raises TimeoutError where a session of the role does not end."""
    held = [Session(path, name)]
    while True:
        try:
            held.append(Session(path, name))
        except RefusedError:
            break
    asking, quoted = held[0], role.replace("'", "''")
    others = f"SELECT pid FROM pg_stat_activity WHERE usename = '{quoted}'"  # noqa: S608  # a role of the rig
    deadline = time.monotonic() + END_S
    while pids := asking.query(others):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(pids)} sessions of {role} did not end within {END_S:g} s")
        asking.query(f"SELECT pg_terminate_backend({int(pids[0])})")
        took = False
        while not took and time.monotonic() < deadline:
            try:
                held.append(Session(path, name))
                took = True
            except RefusedError:
                pass
    reserved = asking.query("SELECT sum(setting::int) FROM pg_settings WHERE name LIKE '%reserved\\_connections'")
    for _ in range(int(reserved[0])):
        held.pop().close()
    return held


def main() -> None:
    held = take_all(*sys.argv[1:4])
    print(len(held), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
