"""Runs a step of a fault with a deadline: a host that does not answer is a problem of the fault, not a hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from harness.errors import RigError

T = TypeVar("T")


class Step(Generic[T]):
    """A call in its own thread. A call that outlives its deadline goes on there, and its result is not used."""

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self._name, self._call = name, call
        self._result: list[T] = []
        self._error: Exception | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except Exception as error:  # noqa: BLE001  # raised again by `result`
            self._error = error
        finally:
            self._ended.set()

    def wait(self, limit_s: float) -> bool:
        """Waits for its end; returns whether it has ended."""
        return self._ended.wait(limit_s)

    def result(self, limit_s: float) -> T:
        """Returns the call's result or raises its error. Raises RigError where it takes longer than `limit_s`."""
        if not self.wait(limit_s):
            raise RigError(f"{self._name} did not end within {limit_s:g} s")
        if self._error is not None:
            raise self._error
        return self._result[0]
