"""Watches HAProxy's rotation and PostgreSQL during a trial, in one stream per host (host_scripts/state_watcher.py).

The host's clock is compared with the controller's by the line that travelled fastest.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Self

from harness.errors import RigError
from harness.fault_record import NOT_WATCHED
from harness.faults.balancer import SOCKET
from harness.faults.observations import State, States
from harness.faults.trial_clock import TrialClock
from harness.host_scripts import source
from harness.rig.connection import HostConnection, RemoteProcess
from harness.rig.rig import Rig

PERIOD_S = 0.1
FIRST_S = 5.0
"""Longest wait for the first state."""
SILENT_S = 10.0
"""A watcher prints each second; one without a line for so long is lost."""
END_S = 5.0


class StateWatch:
    """Use as a context manager. `what`: `haproxy` or `postgres`."""

    def __init__(self, rig: Rig, what: str, clock: TrialClock) -> None:
        self._clock, self._what = clock, what
        self._host: HostConnection = rig.at(rig.role("lb" if what == "haproxy" else "db")[0])
        path = SOCKET if what == "haproxy" else f"/var/run/postgresql/.s.PGSQL.{rig.variables['postgres_port']}"
        job = json.dumps({what: path, "period_s": PERIOD_S})
        self._command = ["python3", "-I", "-S", "-u", "-c", source("state_watcher"), job]
        if what == "postgres":
            self._command = ["runuser", "-u", "postgres", "--", *self._command]
        self._stream: RemoteProcess | None = None
        self._lock = threading.Lock()
        self._states: list[tuple[int, State]] = []
        self._offset_us: int | None = None
        self._heard_s = time.monotonic()
        self._first, self._thread = threading.Event(), threading.Thread(target=self._listen, daemon=True)
        self._error = ""

    def __enter__(self) -> Self:
        try:
            self._stream = self._host.stream(self._command)
        except RigError as error:
            self._error = error.message
            return self
        self._thread.start()
        self._first.wait(FIRST_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._thread.join(END_S)
            self._stream.end()

    def states(self) -> States:
        """Returns the states so far, each with the instant from which it holds, on the trial's clock."""
        with self._lock:
            return [(self._clock.at_us(at_us + (self._offset_us or 0)), state) for at_us, state in self._states]

    def now(self) -> State:
        """Returns the latest state; None where there is none."""
        with self._lock:
            return self._states[-1][1] if self._states else None

    @property
    def problem(self) -> str:
        """Why the states are not complete, as a sentence; empty if they are."""
        if not self._error and time.monotonic() - self._heard_s > SILENT_S:
            self._error = f"no line for {SILENT_S:g} s"
        return f"{self._host.name}: {self._what} {NOT_WATCHED}: {self._error}" if self._error else ""

    def _listen(self) -> None:
        assert self._stream is not None
        try:
            for line in self._stream.lines():
                self._take(json.loads(line))
            with contextlib.suppress(OSError, EOFError):
                self._error = (self._stream.error_output().strip().splitlines() or [""])[-1]
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self._error = f"{type(error).__name__}: {error}"
        self._first.set()

    def _take(self, line: dict[str, object]) -> None:
        got_us = time.monotonic_ns() // 1000
        with self._lock:
            self._heard_s = time.monotonic()
            offset_us = got_us - int(str(line["now_us"]))
            self._offset_us = offset_us if self._offset_us is None else min(self._offset_us, offset_us)
            state: State = line["state"]  # type: ignore[assignment]  # what the script prints
            if not self._states or self._states[-1][1] != state:
                self._states.append((int(str(line["at_us"])), state))
        self._first.set()
