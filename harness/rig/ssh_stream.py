"""What a command over SSH waits for: its end, a deadline, its lines."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import paramiko

SEND_S = 15.0
"""Longest wait until a host takes a line."""


def ended(channel: paramiko.Channel, timeout_s: float) -> int:
    """Returns the exit code of the channel's command. Raises TimeoutError; paramiko itself would wait for ever."""
    if not channel.status_event.wait(timeout_s):
        raise TimeoutError
    return int(channel.recv_exit_status())


@contextlib.contextmanager
def deadline(channel: paramiko.Channel, timeout_s: float) -> Iterator[None]:
    """Closes the channel after `timeout_s`, which ends each wait on it. Raises TimeoutError then.

    Paramiko bounds single reads only: a command whose host is paused before it starts would wait for ever, and one
    that prints now and then too.
    """
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        channel.close()

    timer = threading.Timer(timeout_s, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (paramiko.SSHException, OSError, EOFError, ValueError):
        if expired.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
    if expired.is_set():
        raise TimeoutError


class RemoteStream:
    """A RemoteProcess over a channel."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._out = channel.makefile("r", -1)
        self._err = channel.makefile_stderr("r", -1)

    def send(self, line: str) -> None:
        with deadline(self._channel, SEND_S):  # the window of a host that is paused fills up
            self._channel.sendall(line.encode() + b"\n")

    def lines(self) -> Iterator[str]:
        for line in self._out:
            yield str(line).rstrip("\n")

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def error_output(self) -> str:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException), deadline(self._channel, SEND_S):
            return bytes(self._err.read()).decode(errors="replace")[-4000:]
        return ""

    def has_ended(self) -> bool:
        return bool(self._channel.closed or self._channel.exit_status_ready())

    def end(self) -> None:
        self._channel.close()
