"""The load agent: `python -m harness.load.agent` on a load host. See the package's docstring for the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

try:
    import uvloop
except ImportError:  # a host without it measures the same, at a lower ceiling
    uvloop = None  # type: ignore[assignment]

from harness.errors import CrucibleError, UsageError
from harness.load.conduct import Conductor
from harness.load.job import Job, from_dict
from harness.load.processes import work_in_processes
from harness.load.worker import work

_LINE_LIMIT = 256 << 20  # a bulk insert's body is in the job's line


class Agent:
    """Reads lines from standard input, prints events, keeps the load going only while someone listens."""

    def __init__(self) -> None:
        self._commands: asyncio.Queue[str | None] = asyncio.Queue()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LINE_LIMIT)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._commands.put_nowait, None)
        try:
            job = await _read_job(reader)
            listener = asyncio.ensure_future(self._listen(reader))
            try:
                summary = await self._carry_out(job)
            finally:
                listener.cancel()
        except CrucibleError as error:
            emit({"event": "error", "message": error.message})
            return 2
        finally:
            transport.close()
        if summary:
            emit({"event": "done", "summary": summary})
        return 0

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._commands.put_nowait(line.decode(errors="replace").strip())
        self._commands.put_nowait(None)

    async def _carry_out(self, job: Job) -> dict[str, Any]:
        """Do the job; with a warm-up, decide when it is over unless the controller leads several hosts."""
        conductor = Conductor(1, job.warmup)
        work_all = work if job.processes == 1 else work_in_processes

        def tell(event: dict[str, Any]) -> None:
            if job.host_count == 1:
                for line in conductor.feed(0, event):
                    if line != "go":
                        self._commands.put_nowait(line)
            emit(event)

        return await work_all(job, self._commands, tell)


async def _read_job(reader: asyncio.StreamReader) -> Job:
    try:
        line = await reader.readline()
    except ValueError:
        raise UsageError(f"load job: longer than {_LINE_LIMIT >> 20} MiB") from None
    if not line:
        raise UsageError("load job: standard input ended before a job came")
    try:
        data = json.loads(line)
    except ValueError as error:
        raise UsageError(f"load job: not JSON: {error}") from error
    return from_dict(data)


def emit(event: dict[str, Any]) -> None:
    """Print one event; a progress line is dropped rather than holding up the load behind a slow reader."""
    line = (json.dumps(event) + "\n").encode()
    progress = event["event"] == "progress"
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


def main() -> int:
    """Run one job; returns the exit code."""
    loop: asyncio.AbstractEventLoop = (uvloop or asyncio).new_event_loop()
    try:
        return loop.run_until_complete(Agent().run())
    finally:
        loop.close()


if __name__ == "__main__":
    sys.exit(main())
