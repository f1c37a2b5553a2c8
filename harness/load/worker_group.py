"""Runs a job in several processes of one load host: each is an agent with a finer stripe of the job."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from harness.errors import RigError
from harness.load.clock import now_us
from harness.load.events import Emit, Event
from harness.load.job import Job
from harness.load.results import merge
from harness.load.results.summary import LaneSummary
from harness.load.worker import clock, release_us

_LEAD_US = 50_000
"""From `go` to the release: enough for the line to reach every process."""
_END_S = 5.0
_LIMIT = 1 << 20


async def work_in_processes(job: Job, commands: asyncio.Queue[str | None], emit: Emit) -> LaneSummary | None:
    """As `worker.work`, in `job.processes` processes that are released at the same instant."""
    group = WorkerGroup(job, emit)
    for number in range(job.processes):
        await group.start(job.process(number))
    forwarding = asyncio.ensure_future(group.forward(commands))
    try:
        complete = await group.watch()
    finally:
        forwarding.cancel()
        await group.end()
    if not complete:
        return None
    folders = [Path(job.process(number).out) for number in range(job.processes)]
    merge.clear(Path(job.out))
    summary = merge.merge(folders, Path(job.out))
    for folder in folders:
        shutil.rmtree(folder)
    return summary


class WorkerGroup:
    """The processes of one job: forwards commands to them and merges their events."""

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
            start_new_session=True,  # Ctrl-C on the terminal reaches them through this process, in order
        )
        self._readers.append(asyncio.ensure_future(self._read(len(self._processes), process)))
        self._processes.append(process)
        self._send(process, json.dumps(job.to_dict()))

    async def _read(self, number: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        while line := await process.stdout.readline():
            self._events.put_nowait((number, json.loads(line)))
        self._events.put_nowait((number, None))

    def _send(self, process: asyncio.subprocess.Process, line: str) -> None:
        assert process.stdin
        if not process.stdin.is_closing():
            process.stdin.write(line.encode() + b"\n")

    async def forward(self, commands: asyncio.Queue[str | None]) -> None:
        """Forwards the controller's lines; adds to `go` an instant that is the same for all processes."""
        while True:
            line = await commands.get()
            if line is None or line == "stop":
                self._stopping = True
                self._close()
                return
            if line.startswith("go"):
                line = f"go @{max(release_us(line), now_us() + _LEAD_US)}"
            for process in self._processes:
                self._send(process, line)

    async def watch(self) -> bool:
        """Handles events until all processes end; returns whether all are done. Raises `RigError` if one fails."""
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
                    opened = sum(row["connections"] for row in ready)
                    self._emit({"event": "ready", "connections": opened, "clock": clock()})
            elif event["event"] in ("progress", "step"):
                self._progress(event)
            elif event["event"] == "done":
                done.add(number)
                self._working -= 1
                for key in list(self._rows):  # the other processes continue without it
                    self._emit_merged(key)
            else:
                raise RigError(str(event.get("message", "a load process failed")))
        return len(done) == len(self._processes)

    def _progress(self, event: Event) -> None:
        """Emits a second or a step once all running processes have reported it, with the largest percentiles."""
        key = tuple(event.get(name) for name in ("event", "step", "second", "phase"))
        self._rows.setdefault(key, []).append(event)
        self._emit_merged(key)

    def _emit_merged(self, key: tuple[Any, ...]) -> None:
        rows = self._rows[key]
        if len(rows) < self._working:
            return
        del self._rows[key]
        merged = dict(rows[0])
        for name in merged.keys() & {"sent", "ok", "fail", "unknown", "done"}:
            merged[name] = sum(row[name] for row in rows)
        for name in merged.keys() & {"p50_ms", "p95_ms", "p99_ms"}:
            merged[name] = max((row[name] for row in rows if row[name] is not None), default=None)
        for name in merged.keys() & {"hosts", "errors"}:
            counts = Counter[str]()
            for row in rows:
                counts.update(row.get(name, {}))
            merged[name] = dict(counts)
        self._emit(merged)

    def _close(self) -> None:
        for process in self._processes:
            if process.stdin:
                process.stdin.close()

    async def end(self) -> None:
        """Waits for every process to end and kills those that do not end in time."""
        self._close()
        waiting = [asyncio.ensure_future(process.wait()) for process in self._processes]
        if waiting:
            await asyncio.wait(waiting, timeout=self._job.timeout_s + _END_S)
        for process in self._processes:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*waiting, *self._readers, return_exceptions=True)
