"""Runs one stripe of a job in this process, from opening connections to writing files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.load.clock import now_us
from harness.load.closed_model import ClosedModel
from harness.load.counters import NEVER_US, PhaseCounters
from harness.load.engine import Engine
from harness.load.events import Emit, HostClock
from harness.load.job import Job
from harness.load.open_model import OpenModel
from harness.load.results import histogram, merge, outcome_counts, samples, stalls
from harness.load.results.summary import Clock, ConnectionTotals, LaneSummary, OutcomeTotals, PhaseTotals
from harness.load.retry_model import RetryModel
from harness.load.sample_buffer import MEASURE, WARMUP, SampleBuffer
from harness.load.steady_state import STEP_MS, Row
from harness.load.twin_model import TwinModel


def model_of(job: Job) -> type[Engine]:
    """Returns the engine of the job's load model."""
    if job.mode == "open":
        return RetryModel if any(op.retries for op in job.operations) else OpenModel
    return TwinModel if any(op.twins for op in job.operations) else ClosedModel


_REFILL_S = 0.2
"""Pause between looks for connections that the service closed before the release."""
_LEAD_US = 1_000
"""From `go` to the release, unless the line gives an instant."""


async def work(job: Job, commands: asyncio.Queue[str | None], emit: Emit) -> LaneSummary | None:
    """Runs the job and returns its summary, None if it was stopped before the release.

    Raises `RigError` if the target cannot be reached.

    `commands` gives the controller's lines: `go`, `go <delay in s>` or `go @<monotonic µs>`; `measure <second>`;
    `stop`. None means the controller is gone and stops the load too.
    """
    folder = Path(job.out)
    merge.clear(folder)
    _allow_connections(job)
    buffer = SampleBuffer(job, folder, lambda row: emit({"event": "progress", **row}))
    engine = model_of(job)(job, buffer)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _stop_on_bug(engine, context))
    try:
        await engine.open()
        emit({"event": "ready", "connections": engine.opened, "clock": clock()})
        line = await _await_release(engine, commands)
        if line is None or line == "stop":
            return None
        gc.collect()
        gc.freeze()
        gc.disable()
        await _sleep_until(release_us(line))
        t0_us = now_us()
        engine.release(t0_us)
        steps: list[Row] = []
        window = WindowSteps()
        async with _running(_report_warmup(buffer, steps, window, emit) if job.warmup else None):
            await _run(engine, commands)
        buffer.finish(now_us())
    finally:
        loop.set_exception_handler(None)
        gc.enable()
        gc.unfreeze()
        engine.close()
        buffer.close()
    return _write(job, buffer, folder, _summary(job, engine, t0_us, steps, window), engine.dispatch_lag)


async def _await_release(engine: Engine, commands: asyncio.Queue[str | None]) -> str | None:
    """Returns the next line; until then and after it, opens the connections that the service has closed."""
    command = asyncio.ensure_future(commands.get())
    try:
        while not command.done():
            await asyncio.wait({command}, timeout=_REFILL_S)
            await engine.open()
        await engine.open()  # closed while the others were opened
        return command.result()
    finally:
        command.cancel()


def _stop_on_bug(engine: Engine, context: dict[str, object]) -> None:
    """Ends the load with an exception of a callback, which otherwise would block the engine for ever.

    OSErrors are handled by the connections.
    """
    error = context.get("exception")
    if isinstance(error, BaseException) and not isinstance(error, OSError) and not engine.finished.done():
        engine.finished.set_exception(error)


def clock() -> HostClock:
    """This host's clock now."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return {"boot_id": boot, "monotonic_us": now_us()}


def _allow_connections(job: Job) -> None:
    """Raises the soft limit of open files to what the connections need; `UsageError` if the hard one is lower."""
    needed = job.stripe(job.clients) + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageError(f"{job.load_host}: {needed} open files are needed, the limit is {hard} (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def release_us(line: str) -> int:
    """The instant given by a `go` line; raises `UsageError`."""
    words = line.split()
    if words[:1] != ["go"] or len(words) > 2:
        raise UsageError(f"expected `go`, `go <delay>` or `go @<monotonic µs>`, got {line!r}")
    if len(words) == 1:
        return now_us() + _LEAD_US
    try:
        return int(words[1][1:]) if words[1][0] == "@" else now_us() + round(float(words[1]) * 1_000_000)
    except (ValueError, OverflowError):
        raise UsageError(f"expected a number after `go`, got {line!r}") from None


async def _sleep_until(at_us: int) -> None:
    """Waits for an instant; spins for the last millisecond, because the loop's timers are no finer."""
    while (remaining_us := at_us - now_us()) > 2_000:
        await asyncio.sleep(remaining_us / 1e6 - 0.0015)
    while now_us() < at_us:
        pass


async def _run(engine: Engine, commands: asyncio.Queue[str | None]) -> None:
    """Executes commands until the engine is finished. Only the first `measure` counts."""

    async def listen() -> None:
        measuring = False
        while True:
            line = await commands.get()
            words = (line or "stop").split()
            if words[0] == "measure" and len(words) == 2 and words[1].isdigit() and not measuring:
                measuring = True
                engine.measure_from(int(words[1]))
            elif words[0] == "stop":
                engine.interrupt()
                return

    async with _running(listen()):
        await engine.finished


@contextlib.asynccontextmanager
async def _running(coroutine: Coroutine[Any, Any, None] | None) -> AsyncIterator[None]:
    """Runs a coroutine while the context lasts and cancels it at the end."""
    task = asyncio.ensure_future(coroutine) if coroutine else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _summary(job: Job, engine: Engine, t0_us: int, steps: list[Row], window: WindowSteps) -> LaneSummary:
    buffer = engine.buffer
    warmup, measure = buffer.phases
    ok, fail, unknown = buffer.window.outcomes

    def relative(at_us: int) -> int | None:
        return at_us - t0_us if 0 < at_us < NEVER_US else None

    to_us = min(engine.until_us, measure.last_done_us)
    if engine.until_us < NEVER_US and not engine.interrupted and job.requests is None:
        to_us = engine.until_us
    return LaneSummary(
        format=job.format,
        load_host=job.load_host,
        run_tag=job.run_tag,
        seed=job.seed,
        mode=job.mode,
        clients=job.stripe(job.clients),
        offered_rate=job.rate / job.host_count if job.rate else None,
        clock=Clock(boot_id=clock()["boot_id"], t0_monotonic_us=t0_us),
        measure_from_us=relative(buffer.measure_from_us),
        measure_to_us=relative(to_us),
        window=OutcomeTotals(ok=ok, fail=fail, unknown=unknown),
        busy_us=round(buffer.window.busy_us),
        inside=buffer.inside,
        stalls=tuple((start - t0_us, end - t0_us) for start, end in stalls.longest(buffer.window.stalls)),
        warmup=_totals(warmup),
        measure=_totals(measure),
        captured=buffer.captured_totals(),
        last_due_us=relative(measure.last_due_us),
        last_sent_us=relative(measure.last_sent_us),
        last_done_us=relative(measure.last_done_us),
        peak_in_flight=engine.peak_in_flight,
        late=engine.late,
        not_sent=engine.not_sent,
        connections=ConnectionTotals(
            opened=engine.opened,
            reopened=engine.reopened,
            out_of_step=engine.out_of_step,
            missing=engine.missing,
        ),
        watch=(engine.monitor.report(job.load_host),),
        interrupted=engine.interrupted,
        warmup_steps=tuple(steps),
        window_steps=tuple(window.counts),
        window_step_ms=window.step_ms,
    )


def _totals(phase: PhaseCounters) -> PhaseTotals:
    ok, fail, unknown = phase.outcomes
    return PhaseTotals(sent=phase.sent, ok=ok, fail=fail, unknown=unknown, errors=dict(sorted(phase.errors.items())))


def _write(job: Job, buffer: SampleBuffer, folder: Path, summary: LaneSummary, lag: histogram.Counts) -> LaneSummary:
    if job.samples:
        number = sum(sum(phase.outcomes) for phase in buffer.phases)
        name = "samples.csv.gz" if number >= samples.GZIP_ROWS else "samples.csv"
        samples.write(folder / name, buffer.rows(), job.captures)
        if buffer.lists:
            with (folder / "captures.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(json.dumps({"seq": seq, **values}) + "\n" for seq, values in buffer.lists)
    else:
        outcome_counts.write(folder / "keys.csv", buffer.outcome_counts())
    phase = buffer.phases[MEASURE]
    service = {slot: number for slot, number in phase.service.items() if slot}  # 0 µs: never sent
    histograms = {"latency": phase.latency, "service": service, "refused": phase.refused, "lag": lag}
    return merge.write(folder, summary, histograms, merge.read_seconds(folder / "seconds.jsonl"))


_STEP_US = STEP_MS * 1000
_MOST_STEPS = 240


class WindowSteps:
    """Requests completed in each step of the measured window; a long window has longer steps."""

    def __init__(self) -> None:
        self.step_ms = STEP_MS
        self.counts: list[int] = []

    def add(self, count: int) -> None:
        """Adds a step; halves their number when there are too many."""
        self.counts.append(count)
        if len(self.counts) >= _MOST_STEPS:
            self.counts = [sum(self.counts[first : first + 2]) for first in range(0, len(self.counts), 2)]
            self.step_ms *= 2


async def _report_warmup(buffer: SampleBuffer, rows: list[Row], window: WindowSteps, emit: Emit) -> None:
    """Appends each step of the warm-up to `rows` when it is over, and emits it; then counts those of the window."""
    done_before, before = 0, histogram.Counts()
    while (at_us := buffer.t0_us + (len(rows) + 1) * _STEP_US) <= buffer.measure_from_us:
        await asyncio.sleep((at_us - now_us()) / 1e6)
        buffer.tick(now_us())
        done, counts = _warmup_so_far(buffer)
        step = {slot: n - before.get(slot, 0) for slot, n in counts.items()}
        p95_us = histogram.quantiles_us(step, (0.95,), beyond=1)[
            0
        ]  # never shown: only tells whether load still changes
        row = done - done_before, None if p95_us is None else p95_us / 1000
        emit({"event": "step", "step": len(rows), "done": row[0], "p95_ms": row[1]})
        rows.append(row)
        done_before, before = done, counts
    at_us, done_before = buffer.measure_from_us, 0
    while (at_us := at_us + window.step_ms * 1000) <= buffer.window.until_us:
        await asyncio.sleep((at_us - now_us()) / 1e6)
        buffer.tick(now_us())
        done = sum(buffer.window.outcomes)
        window.add(done - done_before)
        done_before = done


def _warmup_so_far(buffer: SampleBuffer) -> tuple[int, histogram.Counts]:
    """Number and latencies of the completed requests of the warm-up."""
    phase = buffer.phases[WARMUP]
    counts = dict(phase.latency)
    histogram.add(counts, phase.second_latency)
    return sum(phase.outcomes) + sum(phase.second_outcomes), counts
