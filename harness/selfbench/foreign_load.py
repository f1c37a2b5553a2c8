"""Are trials beside busy programs doubted, and quiet ones not? A part of `./run selfbench trust`.

Short closed trials against a temporary PostgreSQL and one service process, in turn with and without busy processes
beside them. The busy ones are no descendants of this process, like programs of other users; they end by themselves
and are killed by id. This machine is judged as the controller's machine is in a bench.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.foreign_load import CONTROLLER, ForeignLoad, foreign_load
from harness.analysis.telemetry_totals import TelemetryReading, aggregate
from harness.load.job import Endpoint, Job
from harness.load.spec import LoadSpec, Operation
from harness.selfbench import local_stack
from harness.selfbench.analysis import Entry, entry
from harness.targets.local_machine import LocalMachine, boot_id

ROUNDS = 10
SECONDS = 1.5
BUSY = 4
LIMIT_S = 30
"""A busy process ends after this time by itself, should this one be killed."""
_BUSY = f"import time\nend = time.monotonic() + {LIMIT_S}\nwhile time.monotonic() < end: pass"
_START = (
    "import subprocess, sys\n"
    "quiet = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)\n"
    "started = [subprocess.Popen([sys.executable, '-c', sys.argv[1]], **quiet) for _ in range(int(sys.argv[2]))]\n"
    "print(*(process.pid for process in started))"
)
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What was found in each trial: with busy programs beside it, and without."""

    busy: tuple[ForeignLoad, ...]
    quiet: tuple[ForeignLoad, ...]


def foreign_load_caught() -> Entry:
    """The share of trials beside busy programs that were doubted."""
    measured = f"{BUSY} busy processes beside {SECONDS:g} s of load"
    return _entry(_verdicts().busy, ">= 0.9", measured)


def foreign_load_false() -> Entry:
    """The share of trials without them that were doubted: on a machine that others use, rightly."""
    return _entry(_verdicts().quiet, "<= 0.1", "nothing beside them: has a meaning on a quiet machine only")


@functools.cache
def _verdicts() -> Verdicts:
    """Both figures come from the same trials, which take turns."""
    with tempfile.TemporaryDirectory(prefix="pgcrucible-selfbench-") as folder:
        return measure(Path(folder))


def _entry(trials: tuple[ForeignLoad, ...], target: str, detail: str) -> Entry:
    if not trials:
        missing = local_stack.missing(local_stack.programs(local_stack.SERVERS))
        return entry(None, "share", target, "; ".join(missing.values()))
    return entry(_doubted(trials), "share", target, f"{detail}: {_told(trials)}")


def _doubted(trials: tuple[ForeignLoad, ...]) -> float | None:
    """The share of the trials that are doubted; None without any, or where one was not judged."""
    if not trials or any(not trial.machines for trial in trials):
        return None
    return sum(bool(trial.reasons) for trial in trials) / len(trials)


def _told(trials: tuple[ForeignLoad, ...]) -> str:
    shares = [machine.foreign for trial in trials for machine in trial.machines]
    if not shares:
        return "not measured"
    median = statistics.median(shares)
    return f"{len(trials)} trials, foreign CPU {min(shares):.0%} to {max(shares):.0%}, median {median:.0%}"


def measure(folder: Path, rounds: int = ROUNDS) -> Verdicts:
    """Runs the trials, with files in `folder`; none where this machine has no PostgreSQL to start."""
    programs = local_stack.programs(local_stack.SERVERS)
    if programs is None or "server" in local_stack.missing(programs):
        return Verdicts(busy=(), quiet=())
    found: dict[bool, list[ForeignLoad]] = {True: [], False: []}
    with local_stack.server(programs, folder) as server, local_stack.service(server, folder, pool=5) as (port, _):
        for number in range(2 * rounds):
            is_busy = number % 2 == 0
            with busy_programs(BUSY) if is_busy else contextlib.nullcontext():
                found[is_busy].append(_trial(port, folder / f"trial-{number}", number + 1))
    return Verdicts(busy=tuple(found[True]), quiet=tuple(found[False]))


@contextlib.contextmanager
def busy_programs(number: int) -> Iterator[tuple[int, ...]]:
    """Runs busy processes that are not descendants of this one; yields their ids."""
    command = [sys.executable, "-c", _START, _BUSY, str(number)]
    started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_S)
    pids = tuple(map(int, started.stdout.split()))
    try:
        yield pids
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _trial(port: int, out: Path, order: int) -> ForeignLoad:
    """Sends a closed load and judges this machine while it ran."""
    increment = Operation(name="increment", path="/api/increment", body={"key": "app-1"}, value="value")
    spec = LoadSpec(mode="closed", clients=16, seconds=SECONDS, samples=False, operations=(increment,))
    endpoint = Endpoint(host="127.0.0.1", port=port)
    job = Job.of(spec, target=endpoint, load_host="selfbench", run_tag="selfbench", out=str(out))
    command = [sys.executable, "-m", "harness.load.agent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as agent:
        assert agent.stdin
        assert agent.stdout
        agent.stdin.write(json.dumps(job.to_dict()) + "\n")
        agent.stdin.flush()
        agent.stdout.readline()  # it is ready
        machine = LocalMachine()
        agent.stdin.write("go\n")
        agent.stdin.flush()
        for line in agent.stdout:
            if json.loads(line)["event"] == "done":
                break
        reading = TelemetryReading(second=0.0, order=order, host=CONTROLLER, metrics=machine.end())
    totals = aggregate([reading], {CONTROLLER}, {order})[order]
    return foreign_load(totals, {CONTROLLER: boot_id()})
