"""The load agent: `python -m harness.load.agent` on a load host. The package's docstring describes the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

try:
    import uvloop
except ImportError:  # without uvloop the agent works the same, at a lower maximum rate
    uvloop = None  # type: ignore[assignment]  # checked before each use

from harness.errors import CrucibleError, UsageError
from harness.load.coordinator import AHEAD_MS, Coordinator
from harness.load.events import Event
from harness.load.job import Job, decode_job
from harness.load.results.summary import LaneSummary
from harness.load.steady_state import STEP_MS
from harness.load.worker import work
from harness.load.worker_group import work_in_processes

OVERDUE_S = 4
"""A load host that gets no `measure` line begins to measure so long after the end of its warm-up."""


class Agent:
    """Reads commands from standard input and prints events; stops the load when standard input ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._commands: asyncio.Queue[str | None] = asyncio.Queue()

    async def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._commands.put_nowait, None)
        # a thread, because an event loop can watch pipes but not every kind of standard input
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            job = _read_job(await self._commands.get())
            summary = await self._run_job(job)
        except CrucibleError as error:
            emit({"event": "error", "message": error.message})
            return 2
        except OSError as error:  # a full disk, a folder that cannot be written
            emit({"event": "error", "message": f"load host: {error.strerror}: {error.filename or 'results'}"})
            return 2
        if not (summary and emit({"event": "done", "summary": summary.to_json()})):
            _remove(Path(job.out))  # no controller fetches it
        return 0

    def _listen(self) -> None:
        """Queues each line of standard input, and None at its end."""
        parts: list[bytes] = []
        with contextlib.suppress(RuntimeError):  # the loop is already closed
            while data := os.read(0, 1 << 16):
                *lines, rest = data.split(b"\n")
                for line in lines:
                    whole = b"".join([*parts, line])
                    parts.clear()
                    self._loop.call_soon_threadsafe(self._commands.put_nowait, whole.decode(errors="replace").strip())
                parts.append(rest)
            self._loop.call_soon_threadsafe(self._commands.put_nowait, None)

    async def _run_job(self, job: Job) -> LaneSummary | None:
        """Runs the job. A single load host decides itself when its warm-up ends; else the controller does."""
        coordinator = Coordinator(1, job.warmup, ahead_ms=STEP_MS if job.processes == 1 else AHEAD_MS)
        work_all = work if job.processes == 1 else work_in_processes

        def report(event: Event) -> None:
            line = coordinator.handle(0, event) if job.host_count == 1 else _end_overdue(job, event)
            if line:
                self._commands.put_nowait(line)
            emit(event)

        return await work_all(job, self._commands, report)


def _end_overdue(job: Job, event: Event) -> str:
    """Ends a warm-up that the controller should have ended; all load hosts choose the same second."""
    if job.warmup is None or event["event"] != "progress" or event["phase"] != "warmup":
        return ""
    overdue = math.ceil(job.warmup.max_seconds) + OVERDUE_S
    return f"measure {overdue + 2}" if event["second"] == overdue else ""


def _remove(folder: Path) -> None:
    """Removes the results, and the folder that the agents of one load share once the last of them has gone."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def _read_job(line: str | None) -> Job:
    if line is None:
        raise UsageError("load job: standard input ended before the job")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"load job: not JSON: {error}") from error
    return decode_job(data)


def emit(event: Event) -> bool:
    """Prints one event; returns whether a controller is there to read it.

    Progress is dropped if the reader is slow, because waiting for it would delay the load.
    """
    line = (json.dumps(event) + "\n").encode()
    progress = event["event"] in ("progress", "step")
    os.set_blocking(1, not progress)
    try:
        while line:
            line = line[os.write(1, line) :]
    except BlockingIOError:
        pass
    except BrokenPipeError:
        return False  # the end of standard input stops the load
    finally:
        os.set_blocking(1, True)
    return True


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop of uvloop if it is installed, else of asyncio."""
    return uvloop.new_event_loop() if uvloop else asyncio.new_event_loop()


def main() -> int:
    """Runs one job; returns the exit code."""
    loop = new_event_loop()
    try:
        return loop.run_until_complete(Agent(loop).run())
    finally:
        loop.close()


if __name__ == "__main__":
    sys.exit(main())
