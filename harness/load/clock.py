"""The load host's clock, and a timer finer than those of the event loop.

asyncio and libuv round timers to a millisecond; at 10,000 requests/s that would send them in bursts of ten.
A Linux timerfd wakes the loop at the exact microsecond (timerfd_create(2)); Python has it from 3.13 on only.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_libc = ctypes.CDLL(None, use_errno=True)


def now_us() -> int:
    """Microseconds on CLOCK_MONOTONIC, which all processes (and containers) of one kernel share."""
    return time.monotonic_ns() // 1000


class PreciseTimer:
    """Calls `callback` in the event loop at the instant set; setting it again replaces the instant."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._spec = (ctypes.c_long * 4)()  # struct itimerspec: interval s, ns; value s, ns
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        loop.add_reader(self._fd, self._expired)

    def set(self, at_us: int) -> None:
        """Call back at `at_us` on CLOCK_MONOTONIC; at once if that is past."""
        self._spec[2], rest = divmod(max(at_us, 1), 1_000_000)
        self._spec[3] = rest * 1000
        if _libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._spec, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set again between the wake-up and this call
        self._callback()
