"""Prints a JSON line whenever a state changes, and one each second: HAProxy's servers, or whether PostgreSQL answers.

The argument is JSON: {"haproxy": socket} or {"postgres": socket}, and "period_s". Each line has the host's monotonic
clock when it was printed (`now_us`) and when the state was seen (`at_us`), and the state: server -> whether it gets
requests, or {"accepts": whether a session answers}. The state is null where HAProxy does not answer.

Ends when its standard input does. For PostgreSQL it runs as the user postgres, in one session that is opened again.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Mapping

ANSWER_S = 0.3
"""Longest wait for HAProxy, or for a session that is open."""
CONNECT_S = 1.0
"""Longest wait for a new session."""
BEAT_S = 1.0
RUNNING = "2"
STARTUP = b"user\0postgres\0database\0postgres\0application_name\0pgcrucible\0\0"
VERSION = 196608
"""Protocol 3.0."""


class Haproxy:
    def __init__(self, path: str) -> None:
        self._path = path

    def state(self) -> Mapping[str, bool] | None:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(ANSWER_S)
                client.connect(self._path)
                client.sendall(b"show servers state app\n")
                text = b""
                while part := client.recv(1 << 16):
                    text += part
        except OSError:
            return None
        rows = [line.split() for line in text.decode("utf-8", "replace").splitlines() if not line.startswith("#")]
        return {row[3]: row[5] == RUNNING and row[6] == "0" and row[7] != "0" for row in rows if len(row) > 7} or None


class Postgres:
    def __init__(self, path: str) -> None:
        self._path = path
        self._session: socket.socket | None = None

    def state(self) -> Mapping[str, bool] | None:
        try:
            if self._session is None:
                self._session = self._connected()
            self._session.settimeout(ANSWER_S)
            self._session.sendall(b"Q" + struct.pack("!i", 13) + b"SELECT 1\0")
            self._wait_until_ready(self._session)
        except OSError:
            if self._session is not None:
                self._session.close()
                self._session = None
            return {"accepts": False}
        return {"accepts": True}

    def _connected(self) -> socket.socket:
        session = socket.socket(socket.AF_UNIX)
        try:
            session.settimeout(CONNECT_S)
            session.connect(self._path)
            session.sendall(struct.pack("!ii", 8 + len(STARTUP), VERSION) + STARTUP)
            self._wait_until_ready(session)
        except BaseException:
            session.close()
            raise
        return session

    def _wait_until_ready(self, session: socket.socket) -> None:
        """Reads messages until ReadyForQuery; an ErrorResponse is an OSError."""
        while True:
            kind, length = struct.unpack("!ci", self._read(session, 5))
            self._read(session, length - 4)
            if kind == b"Z":
                return
            if kind == b"E":
                raise OSError("refused")

    def _read(self, session: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = session.recv(count - len(data))
            if not part:
                raise OSError("closed")
            data += part
        return data


def now_us() -> int:
    return time.monotonic_ns() // 1000


def main() -> None:
    job = json.loads(sys.argv[1])
    source: Haproxy | Postgres = Haproxy(job["haproxy"]) if "haproxy" in job else Postgres(job["postgres"])
    printed: Mapping[str, bool] | None = None
    printed_s = 0.0
    while True:
        began_s, at_us = time.monotonic(), now_us()
        state = source.state()
        if isinstance(source, Postgres):
            at_us = now_us()
        if state != printed or began_s - printed_s >= BEAT_S:
            print(json.dumps({"now_us": now_us(), "at_us": at_us, "state": state}), flush=True)
            printed, printed_s = state, began_s
        wait_s = max(0.0, job["period_s"] - (time.monotonic() - began_s))
        if select.select([0], [], [], wait_s)[0] and not os.read(0, 4096):
            return


if __name__ == "__main__":
    main()
