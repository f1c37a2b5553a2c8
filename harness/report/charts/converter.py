"""Draws charts in other processes, so several cores draw while this one reads the run.

The converter holds the interpreter's lock while it draws, so threads of one process draw one chart at a time. A process
is this file, run as a script: it imports nothing of the harness and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from queue import SimpleQueue

import vl_convert

VEGA_LITE = "5.20"
"""The version of Vega-Lite that draws the charts."""
MOST = 2
"""Processes at most: each needs about 150 MB."""
END_S = 10.0
"""Longest wait for the end of a process."""
_idle: SimpleQueue[subprocess.Popen[str]] | None = None
"""The processes that wait for a chart; None: this process draws."""


def convert(spec: str) -> str:
    """Returns a Vega-Lite specification, as JSON, as SVG."""
    if _idle is None:
        return str(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE))
    process = _idle.get()
    try:
        return _ask(process, spec)
    finally:
        _idle.put(process)


def _ask(process: subprocess.Popen[str], spec: str) -> str:
    assert process.stdin
    assert process.stdout
    answer = ""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(f"{spec}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    if not answer:
        raise RuntimeError("the process that draws charts ended")
    drawing, error = json.loads(answer)
    if error:
        raise ValueError(error)
    return str(drawing)


def processes() -> int:
    """Returns how many processes are worth their start on this machine; 0: this process draws."""
    cores = len(os.sched_getaffinity(0))
    return min(MOST, cores) if cores > 1 else 0


def _started() -> subprocess.Popen[str]:
    """Starts a process, apart from the terminal's signals: it ends with this one."""
    # -I: without it, the folder of this file would be searched for modules, and has one called select
    command = [sys.executable, "-I", "-X", "utf8", __file__]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8", start_new_session=True)


@contextlib.contextmanager
def converters() -> Iterator[int]:
    """Starts the processes and gives their number; `convert` uses them, from several threads, while this lasts."""
    global _idle  # noqa: PLW0603  # one renderer per process, as that of vl_convert
    started: list[subprocess.Popen[str]] = []
    try:
        started.extend(_started() for _ in range(processes()))
        if started:
            _idle = SimpleQueue()
            for process in started:
                _idle.put(process)
        yield len(started)
    finally:
        _idle = None
        for process in started:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Closes the standard input of a process, which ends it; one that is stuck in a chart is killed."""
    assert process.stdin
    assert process.stdout
    with contextlib.suppress(OSError):  # it has ended, and something is left to be written
        process.stdin.close()
    try:
        process.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def main() -> None:
    """Draws the charts of standard input, one a line: each answer is a line with the drawing, or an error."""
    for spec in sys.stdin:
        try:
            answer = [convert(spec), ""]
        except ValueError as error:
            answer = ["", str(error) or "the chart could not be drawn"]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
