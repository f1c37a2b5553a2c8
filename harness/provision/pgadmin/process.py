"""Processes in the background, and ports of the loopback."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import UsageError

ANSWER_S = 5.0


def spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
    """Starts a program that outlives this one and takes no signal of its terminal; returns its process id."""
    with log.open("wb") as output:
        started = subprocess.run(
            ["sh", "-c", 'exec 3>&1 >&2; "$@" 3>&- & echo $! >&3', "sh", *command], env=environment, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, start_new_session=True, timeout=ANSWER_S,
        )  # fmt: skip
    return int(started.stdout)


def answers(port: int) -> bool:
    """Returns whether a pgAdmin answers at this port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/misc/ping")
        return connection.getresponse().read(100) == b"PING"
    return False


def require_free(port: int) -> None:
    """Raises UsageError where the port cannot be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"--port {port}: {error.strerror}", hint="choose another, or leave it out") from None


def free_ports(number: int) -> list[int]:
    """Returns ports that nothing listens on."""
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(number)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


def tail(log: Path) -> str:
    """Returns the last lines of a log; empty if there is none."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
    except OSError:
        return ""
