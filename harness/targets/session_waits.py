"""Samples what the database's sessions wait for while a trial runs, on the database host.

The script is host_scripts/wait_sampler.py. The host's clock is compared with the controller's when a trial starts; the
error is the time that one line takes over SSH, which is far below the time between two samples. Whatever goes wrong is
a warning of the run: the trial counts without.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from harness.errors import CrucibleError
from harness.host_scripts import source
from harness.rig.connection import HostConnection, RemoteProcess
from harness.store.waits_file import Row

PERIOD_S = 0.05
MOST_TICKS = 2400
"""Two minutes. A longer trial keeps no samples of requests, to which the waits could be assigned."""
ANSWER_S = 10.0
"""Longest wait for a line of the sampler."""
_FIELDS = 4


class WaitSampler:
    """Samples on `host` with `psql` (a command) while the context lasts; `during(order)` marks the load of a trial.

    `began_s`: the start of the run (seconds since 1970), from which the stored times count. `store` takes the rows of a
    trial, `warn` a sentence about what went wrong.
    """

    def __init__(
        self,
        host: HostConnection,
        psql: Sequence[str],
        *,
        began_s: float,
        store: Callable[[int, Sequence[Row]], None],
        warn: Callable[[str], None],
    ) -> None:
        self._host, self._psql, self._began_s = host, psql, began_s
        self._keep, self._report = store, warn
        self._stream: RemoteProcess | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        job = {"command": list(self._psql), "period_s": PERIOD_S, "most_ticks": MOST_TICKS}
        command = ["python3", "-I", "-S", "-u", "-c", source("wait_sampler"), json.dumps(job)]
        lines = self._lines = queue.SimpleQueue()
        try:
            stream = self._stream = self._host.stream(command)
        except CrucibleError as error:
            self._warn(error.message)
            return
        threading.Thread(target=_listen, args=(stream, lines), daemon=True).start()

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    @contextlib.contextmanager
    def during(self, order: int) -> Iterator[None]:
        """Samples while the context lasts, and stores the samples of trial `order` at its end."""
        if self._stream is None:
            self._start()  # it was lost in an earlier trial
        clock_us = self._ask(str(order), lambda line, got_us: got_us - int(line["now_us"]))
        try:
            yield
        finally:
            if clock_us is not None:
                self._store(order, clock_us)

    def _store(self, order: int, clock_us: int) -> None:
        report = self._ask("0", lambda line, _: line)
        if report is None:
            return
        began_us = _now_us() - round((time.time() - self._began_s) * 1e6)
        try:
            self._keep(order, list(_rows(report["ticks"], clock_us - began_us)))
        except (KeyError, TypeError, ValueError) as error:
            self._warn(f"not a report of the sampler: {error}")
        except CrucibleError as error:
            self._warn(error.message)
        if report.get("error"):
            self._warn(str(report["error"]))

    def _ask(self, line: str, read: Any) -> Any:
        """Sends a line; returns what `read` makes of the response and the time it came.

        Returns None, and ends the sampler, where no response comes.
        """
        if self._stream is None:
            return None
        try:
            self._stream.send(line)
            text = self._lines.get(timeout=ANSWER_S)
            return read(json.loads(text), _now_us())
        except queue.Empty:
            self._warn(f"the sampler did not answer within {ANSWER_S:g} s")
        except (OSError, EOFError, CrucibleError, ValueError, KeyError, TypeError) as error:
            self._warn(f"the sampler ended ({error})")
        self._stop()
        return None

    def _warn(self, reason: str) -> None:
        self._report(f"{self._host.name}: what sessions wait for was not sampled: {' '.join(reason.split())[:300]}")


def _listen(stream: RemoteProcess, lines: queue.SimpleQueue[str]) -> None:
    with contextlib.suppress(OSError, EOFError, ValueError):
        for line in stream.lines():
            lines.put(line)
    lines.put("")


def _rows(ticks: Sequence[tuple[int, str]], shift_us: int) -> Iterator[Row]:
    """The rows of the stored file from the sampler's ticks. Raises ValueError or TypeError for other data."""
    for at_us, text in ticks:
        lines = text.splitlines()
        if not lines:
            yield int(at_us) + shift_us, 0, ""
        for line in lines:
            fields = line.split("\t")
            if len(fields) != _FIELDS:
                raise ValueError(f"{len(fields)} fields instead of {_FIELDS}")
            yield int(at_us) + shift_us, *_session(*fields)


def _session(first: str, second: str, third: str, fourth: str) -> tuple[int, str]:
    if first == "blocks":
        return int(second), f"blocks:{third or 'a session without a name'} ({fourth or 'no state'})"
    if second != "active":
        return int(first), second
    return int(first), f"{third}:{fourth}" if third else "on CPU"


def _now_us() -> int:
    return time.monotonic_ns() // 1000
