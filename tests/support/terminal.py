"""Programs on a pseudo-terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

TIMEOUT_S = 60.0


def on_terminal(command: Sequence[str], columns: int, env: Mapping[str, str]) -> tuple[int, str]:
    """Runs a command on a terminal of 24 lines; returns its exit code and all that it wrote there."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env={**plain, "TERM": "xterm-256color", **env}
    )
    os.close(terminal)
    written, end = b"", time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            try:
                data = os.read(master, 65_536)
            except OSError:  # the terminal has no other end any more
                break
            written += data
        elif process.poll() is not None:
            break
    os.close(master)
    if process.poll() is None and time.monotonic() >= end:
        process.kill()
    return process.wait(10), written.decode(errors="replace")
