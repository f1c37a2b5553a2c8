"""Delays signals while a measured trial is stored: half of it on disk would be lost, or measured twice."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST = 3
"""So many delayed signals mean that storing does not end, as on a network disk that is gone: the last one counts."""


class DeferredSignals:
    """A context in which `hold` delays signals until `release`. Does nothing outside of the main thread.

    The handlers are those of the caller (cli/signals); one that is ignored or the default stays so.
    """

    def __init__(self) -> None:
        self._earlier: dict[int, Any] = {}
        self._pending: list[int] = []
        self._holding = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in NUMBERS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._earlier[number] = handler
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        if kind is None:
            self.release()

    def hold(self) -> None:
        """Delays signals from now on."""
        self._holding = True

    def release(self) -> None:
        """Delays signals no longer; what was delayed happens now, which usually raises."""
        self._holding = False
        pending, self._pending = self._pending, []
        if pending:
            self._earlier[pending[0]](pending[0], None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._holding and len(self._pending) + 1 < MOST:
            self._pending.append(number)
        else:
            self._earlier[number](number, frame)
