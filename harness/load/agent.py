"""The load agent: `python -m harness.load.agent` on a load host. See the package's docstring for the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import threading
from typing import Any

try:
    import uvloop
except ImportError:  # a host without it measures the same, at a lower ceiling
    uvloop = None  # type: ignore[assignment]  # asked for before each use

from harness.errors import CrucibleError, UsageError
from harness.load.coordinator import AHEAD_MS, Coordinator
from harness.load.job import Job, decode_job
from harness.load.results.summary import LaneSummary
from harness.load.steady_state import STEP_MS
from harness.load.worker import work
from harness.load.worker_group import work_in_processes

OVERDUE_S = 4
"""After the end of its warm-up, a load host that was not told so begins to measure by itself."""


class Agent:
    """Reads lines from standard input, prints events, keeps the load going only while someone listens."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._commands: asyncio.Queue[str | None] = asyncio.Queue()

    async def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._commands.put_nowait, None)
        # a thread, because event loops watch pipes but not every kind of standard input there is
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            summary = await self._carry_out(_job(await self._commands.get()))
        except CrucibleError as error:
            emit({"event": "error", "message": error.message})
            return 2
        except OSError as error:  # a full disk, a folder that cannot be written
            emit({"event": "error", "message": f"load host: {error.strerror}: {error.filename or 'results'}"})
            return 2
        if summary:
            emit({"event": "done", "summary": summary.to_json()})
        return 0

    def _listen(self) -> None:
        """Queue each line of standard input, and None at its end."""
        parts: list[bytes] = []
        with contextlib.suppress(RuntimeError):  # the loop has ended first
            while data := os.read(0, 1 << 16):
                *lines, rest = data.split(b"\n")
                for line in lines:
                    whole = b"".join([*parts, line])
                    parts.clear()
                    self._loop.call_soon_threadsafe(self._commands.put_nowait, whole.decode(errors="replace").strip())
                parts.append(rest)
            self._loop.call_soon_threadsafe(self._commands.put_nowait, None)

    async def _carry_out(self, job: Job) -> LaneSummary | None:
        """Do the job. When the warm-up is over is decided here, or by the controller that leads several hosts."""
        conductor = Coordinator(1, job.warmup, ahead_ms=STEP_MS if job.processes == 1 else AHEAD_MS)
        work_all = work if job.processes == 1 else work_in_processes

        def tell(event: dict[str, Any]) -> None:
            lines = conductor.handle(0, event) if job.host_count == 1 else _end_overdue(job, event)
            for line in lines:
                if line != "go":
                    self._commands.put_nowait(line)
            emit(event)

        return await work_all(job, self._commands, tell)


def _end_overdue(job: Job, event: dict[str, Any]) -> list[str]:
    """End a warm-up that the controller should have ended: in the same second on every load host."""
    if job.warmup is None or event["event"] != "progress" or event["phase"] != "warmup":
        return []
    overdue = math.ceil(job.warmup.max_seconds) + OVERDUE_S
    return [f"measure {overdue + 2}"] if event["second"] == overdue else []


def _job(line: str | None) -> Job:
    if line is None:
        raise UsageError("load job: standard input ended before a job came")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"load job: not JSON: {error}") from error
    return decode_job(data)


def emit(event: dict[str, Any]) -> None:
    """Print one event; one that tells of progress is dropped rather than holding the load up for a slow reader."""
    line = (json.dumps(event) + "\n").encode()
    progress = event["event"] in ("progress", "step")
    os.set_blocking(1, not progress)
    try:
        while line:
            line = line[os.write(1, line) :]
    except BlockingIOError:
        pass
    except BrokenPipeError:
        pass  # the controller is gone; its end of standard input tells us to stop
    finally:
        os.set_blocking(1, True)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where present."""
    return uvloop.new_event_loop() if uvloop else asyncio.new_event_loop()


def main() -> int:
    """Run one job; returns the exit code."""
    loop = new_event_loop()
    try:
        return loop.run_until_complete(Agent(loop).run())
    finally:
        loop.close()


if __name__ == "__main__":
    sys.exit(main())
