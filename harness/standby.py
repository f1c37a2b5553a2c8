"""A load host whose next agent is started ahead, so that no trial waits for an interpreter to start."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path

from harness.stations import Result, Station, Stream

GONE_S = 5.0


class Standby:
    """A Station that hands out the agent it has in waiting, which does nothing but wait for its job.

    Getting one ready takes CPU of the load host: it is done between trials, never while something is measured.
    """

    def __init__(self, station: Station, command: Sequence[str]) -> None:
        self._station = station
        self._command = command
        self._waiting: Stream | None = None

    @property
    def name(self) -> str:
        return self._station.name

    def get_ready(self) -> None:
        """Start an agent, unless one waits already; it goes on starting while other things are done."""
        if self._waiting is None:
            self._waiting = self._station.stream(self._command)

    def close(self) -> None:
        """Let the agent in waiting go: it ends with its input, at once unless its host has gone."""
        if self._waiting is not None:
            stream, self._waiting = self._waiting, None
            stream.close()
            reader = threading.Thread(target=deque, args=(stream.lines(), 0), daemon=True)
            reader.start()
            reader.join(GONE_S)

    def stream(self, command: Sequence[str]) -> Stream:
        """As Station.stream; the agent in waiting, where that is what is wanted."""
        if command != self._command or self._waiting is None:
            return self._station.stream(command)
        waiting, self._waiting = self._waiting, None
        return waiting

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        """As Station.run."""
        return self._station.run(command, stdin=stdin, timeout_s=timeout_s, check=check)

    def fetch(self, folder: str, names: Collection[str], into: Path) -> None:
        """As Station.fetch."""
        self._station.fetch(folder, names, into)
