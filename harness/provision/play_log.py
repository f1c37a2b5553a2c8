"""The log of the plays of a provision: `provision.log` in the rig's folder, readable by its owner alone.

Each line has the time of day. A result that a task hides (`no_log`) is hidden here too.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.text import printable

FILE = "provision.log"
KEEP_BYTES = 4 * 2**20
"""A larger log is emptied first: a rig may be provisioned a thousand times."""


class PlayLog:
    """Appends lines to the file while it is open as a context."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_APPEND
        self._file = os.fdopen(os.open(path, flags, 0o600), "a", encoding="utf-8", errors="backslashreplace")
        if self._file.tell() > KEEP_BYTES:
            self._file.truncate(0)

    def write(self, line: str) -> None:
        """Writes one line with the time."""
        self._file.write(f"{time.strftime('%H:%M:%S')} {printable(line)}\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
