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
    """Asks in one session. A question without an answer stays open: a server that goes on answers it at once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._session: socket.socket | None = None
        self._text = b""
        self._is_waiting = False

    def state(self) -> Mapping[str, bool] | None:
        try:
            if self._session is None:
                self._session, self._text = socket.socket(socket.AF_UNIX), b""
                self._connect(self._session)
            elif not self._is_waiting:
                self._session.sendall(b"Q" + struct.pack("!i", 13) + b"SELECT 1\0")
            self._is_waiting = not self._is_ready(self._session, ANSWER_S)
        except OSError:
            self._close()
            return {"accepts": False}
        return {"accepts": not self._is_waiting}

    def _connect(self, session: socket.socket) -> None:
        session.settimeout(CONNECT_S)
        session.connect(self._path)
        session.sendall(struct.pack("!ii", 8 + len(STARTUP), VERSION) + STARTUP)

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _is_ready(self, session: socket.socket, limit_s: float) -> bool:
        """Reads messages until ReadyForQuery or the time is over. Raises OSError for an ErrorResponse or the end."""
        deadline_s = time.monotonic() + limit_s
        while True:
            while len(self._text) >= 5:
                kind, length = struct.unpack("!ci", self._text[:5])
                if len(self._text) < 1 + length:
                    break
                self._text = self._text[1 + length :]
                if kind == b"E":
                    raise OSError("refused")
                if kind == b"Z":
                    return True
            session.settimeout(max(0.001, deadline_s - time.monotonic()))
            try:
                part = session.recv(4096)
            except TimeoutError:
                return False
            if not part:
                raise OSError("closed")
            self._text += part


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
