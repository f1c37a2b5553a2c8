"""A load host whose next agent is started ahead, so that no trial waits for an interpreter to start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from harness.rig.connection import HostConnection, RemoteProcess, Result


class PrestartedAgent:
    """A Station that hands out the agent it has in waiting, which does nothing but wait for its job.

    Getting one ready takes CPU of the load host: it is done while the tier settles, never while something is measured.
    """

    def __init__(self, station: HostConnection, command: Sequence[str]) -> None:
        self._station = station
        self._command = command
        self._waiting: RemoteProcess | None = None

    @property
    def name(self) -> str:
        return self._station.name

    def get_ready(self) -> None:
        """Start an agent, unless one waits already; it goes on starting while other things are done."""
        if self._waiting is None:
            self._waiting = self._station.stream(self._command)

    def close(self) -> None:
        """Let the agent in waiting go."""
        if self._waiting is not None:
            self._waiting.end()
            self._waiting = None

    def stream(self, command: Sequence[str]) -> RemoteProcess:
        """As Station.stream; the agent in waiting, where that is what is wanted and it has not died meanwhile."""
        if command != self._command or self._waiting is None:
            return self._station.stream(command)
        waiting, self._waiting = self._waiting, None
        if not waiting.has_ended():
            return waiting
        waiting.end()
        return self._station.stream(command)

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        """As Station.run."""
        return self._station.run(command, stdin=stdin, timeout_s=timeout_s, check=check)

    def fetch(self, folder: str, names: Collection[str], into: Path) -> None:
        """As Station.fetch."""
        self._station.fetch(folder, names, into)
