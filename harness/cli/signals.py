"""Signals that end a task: the first one as Ctrl-C does, a deliberate second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_REQUEST_S = 1.0
"""A signal that follows the first one sooner belongs to the same request; a second Ctrl-C never does.

A terminal that closes sends SIGHUP twice (the shell to its job, then the kernel), and CI systems send SIGTERM to the
process and to its group.
"""


AGAIN_S = 0.05


class Interrupted(KeyboardInterrupt):
    """A signal ended the task; `exit_code` is 128 plus its number, as shells report it (Ctrl-C: 130)."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Makes SIGINT, SIGTERM and SIGHUP raise Interrupted in the main thread while the context lasts.

    What is open is then put back. A second SIGINT ends the process without that, and so does any signal that comes
    SAME_REQUEST_S after the first one or later. A signal that the parent ignores (nohup) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[tuple[int, float]] = []

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a signal handler's signature
        now = time.monotonic()
        if not pending:
            pending.append((number, now))
            raise Interrupted(number)
        first, since = pending[0]
        if number == first == signal.SIGINT or now - since >= SAME_REQUEST_S:
            os._exit(128 + number)

    def deliver_again(ignored: sys.UnraisableHookArgs) -> None:
        """Python ignores exceptions in some places, as in callbacks of fork: the signal comes again after them."""
        if not isinstance(ignored.exc_value, Interrupted) or not pending:
            earlier_hook(ignored)
            return
        number, _ = pending.pop()
        again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    earlier_hook, sys.unraisablehook = sys.unraisablehook, deliver_again
    earlier = {number: signal.getsignal(number) for number in NUMBERS}
    for number, handler in earlier.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        sys.unraisablehook = earlier_hook
