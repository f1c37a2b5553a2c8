"""A fault that records its steps and fails where a test asks for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults.base import Before, Fault, nth
from harness.model import Host
from harness.rig.rig import Rig


class FakeFault(Fault):
    """`steps` are the names of the functions that were called, `seen` and `healed` once each."""

    def __init__(
        self,
        *,
        deadline_s: float = 0.3,
        has_effect: bool = True,
        heals: bool = True,
        fails: Sequence[str] = (),
        hangs: Sequence[str] = (),
        helped: str = "",
        on_inject: Callable[[], object] = lambda: None,
    ) -> None:
        self.deadline_s = deadline_s
        self._has_effect, self._heals, self._helped = has_effect, heals, helped
        self._fails, self._hangs, self._on_inject = fails, hangs, on_inject
        self.steps: list[str] = []
        self.active = self.most_active = 0
        self._lock = threading.Lock()

    def _step(self, name: str) -> None:
        if name not in self.steps[-1:]:
            self.steps.append(name)
        if name in self._fails:
            raise RigError(f"app-1: no answer to {name}")
        if name in self._hangs:
            time.sleep(2.0)

    def unavailable(self, rig: Rig) -> str:
        return ""

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        return [nth(rig.role("app"), planned)]

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        self._step("before")
        return {"pid": "812"}

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        with self._lock:
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        self._step("inject")
        self._on_inject()

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        self._step("seen")
        return f"pid {before['pid']} ended" if self._has_effect else ""

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        self._step("heal")
        return self._helped

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        self._step("healed")
        if self._heals:
            with self._lock:
                self.active -= 1
        return "answers" if self._heals else ""
