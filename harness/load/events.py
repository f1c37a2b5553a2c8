"""The events of a load agent: JSON lines that it prints and the controller reads. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

Event = dict[str, Any]
"""One line as an object. `event` is `ready`, `progress`, `step`, `done` or `error`; the other keys depend on it."""
Emit = Callable[[Event], None]


class HostClock(TypedDict):
    """A host's clock at one moment; hosts with the same boot id share CLOCK_MONOTONIC."""

    boot_id: str
    monotonic_us: int
