"""A load host with several processes: each is an agent of its own with a finer stripe of the same job."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from harness.errors import RigError
from harness.load.clock import now_us
from harness.load.job import Job
from harness.load.results import merge
from harness.load.results.summary import LaneSummary
from harness.load.worker import Emit, clock, release_us

_LEAD_US = 50_000
"""From `go` to the release: time for every process to hear of it."""
_END_S = 5.0
_LIMIT = 1 << 20

Event = dict[str, Any]


async def work_in_processes(job: Job, commands: asyncio.Queue[str | None], emit: Emit) -> LaneSummary | None:
    """Like `worker.work`, in `job.processes` processes released at the same instant."""
    crew = WorkerGroup(job, emit)
    for number in range(job.processes):
        await crew.start(job.process(number))
    forwarding = asyncio.ensure_future(crew.forward(commands))
    try:
        complete = await crew.listen()
    finally:
        forwarding.cancel()
        await crew.end()
    if not complete:
        return None
    folders = [Path(job.process(number).out) for number in range(job.processes)]
    merge.clear(Path(job.out))
    summary = merge.merge(folders, Path(job.out))
    for folder in folders:
        shutil.rmtree(folder)
    return summary


class WorkerGroup:
    """The processes and what they have said so far."""

    def __init__(self, job: Job, emit: Emit) -> None:
        self._job = job
        self._emit = emit
        self._processes: list[asyncio.subprocess.Process] = []
        self._events: asyncio.Queue[tuple[int, Event | None]] = asyncio.Queue()
        self._readers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._working = job.processes
        self._rows: dict[tuple[Any, ...], list[Event]] = {}

    async def start(self, job: Job) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "harness.load.agent",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LIMIT,
            start_new_session=True,  # a Ctrl-C on the terminal reaches them through us, in order
        )
        self._readers.append(asyncio.ensure_future(self._read(len(self._processes), process)))
        self._processes.append(process)
        self._tell(process, json.dumps(job.to_dict()))

    async def _read(self, number: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        while line := await process.stdout.readline():
            self._events.put_nowait((number, json.loads(line)))
        self._events.put_nowait((number, None))

    def _tell(self, process: asyncio.subprocess.Process, line: str) -> None:
        assert process.stdin
        if not process.stdin.is_closing():
            process.stdin.write(line.encode() + b"\n")

    async def forward(self, commands: asyncio.Queue[str | None]) -> None:
        """Pass the controller's lines on; `go` gets the instant that makes it the same for all."""
        while True:
            line = await commands.get()
            if line is None or line == "stop":
                self._stopping = True
                self._close()
                return
            if line.startswith("go"):
                line = f"go @{max(release_us(line), now_us() + _LEAD_US)}"
            for process in self._processes:
                self._tell(process, line)

    async def listen(self) -> bool:
        """Follow the processes to their end; whether all brought results. Raises `RigError` when one fails."""
        ready: list[Event] = []
        done: set[int] = set()
        ended: set[int] = set()
        while len(ended) < len(self._processes):
            number, event = await self._events.get()
            if event is None:
                ended.add(number)
                if number not in done and not self._stopping:
                    raise RigError(f"{self._job.load_host}: load process {number + 1} ended without results")
            elif event["event"] == "ready":
                ready.append(event)
                if len(ready) == len(self._processes):
                    opened = sum(one["connections"] for one in ready)
                    self._emit({"event": "ready", "connections": opened, "clock": clock()})
            elif event["event"] in ("progress", "step"):
                self._progress(event)
            elif event["event"] == "done":
                done.add(number)
                self._working -= 1
                for place in list(self._rows):  # the others go on without it
                    self._tell_together(place)
            else:
                raise RigError(str(event.get("message", "a load process failed")))
        return len(done) == len(self._processes)

    def _progress(self, event: Event) -> None:
        """Emit a second, or a step, when all processes still at work told of it; percentiles are the worst's."""
        place = tuple(event.get(name) for name in ("event", "step", "second", "phase"))
        self._rows.setdefault(place, []).append(event)
        self._tell_together(place)

    def _tell_together(self, place: tuple[Any, ...]) -> None:
        rows = self._rows[place]
        if len(rows) < self._working:
            return
        del self._rows[place]
        merged = dict(rows[0])
        for name in merged.keys() & {"sent", "ok", "fail", "unknown", "done"}:
            merged[name] = sum(row[name] for row in rows)
        for name in merged.keys() & {"p50_ms", "p95_ms", "p99_ms"}:
            merged[name] = max((row[name] for row in rows if row[name] is not None), default=None)
        self._emit(merged)

    def _close(self) -> None:
        for process in self._processes:
            if process.stdin:
                process.stdin.close()

    async def end(self) -> None:
        """Let every process end by itself, and those that do not, by force."""
        self._close()
        waiting = [asyncio.ensure_future(process.wait()) for process in self._processes]
        if waiting:
            await asyncio.wait(waiting, timeout=self._job.timeout_s + _END_S)
        for process in self._processes:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*waiting, *self._readers, return_exceptions=True)
