"""Runs the tests in parallel parts: most of them wait for processes, servers and deadlines."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from harness.cli.console import say
from harness.cli.runs import ROOT

RIG = "rig"
"""The folder of tests that share a rig. They mostly wait, so two rigs at once take half the time."""
RIGS = 2
NO_TESTS = 5
"""Exit code of pytest where it selects no test."""
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)")


def parts(tests: Path, *, fast: bool) -> dict[str, list[Path]]:
    """Returns name -> files and folders, those that take longest first; each test file is in one of them.

    `fast` leaves out the folder of tests that need a rig.
    """
    folders = [path for path in sorted(tests.iterdir()) if path.name not in (RIG, "harness")]
    folders += sorted((tests / "harness").iterdir())
    found = {str(path.relative_to(tests)): [path] for path in folders if _files(path)}
    found = dict(sorted(found.items(), key=lambda part: -sum(file.stat().st_size for file in _files(part[1][0]))))
    if fast:
        return found
    files = _files(tests / RIG)
    return {f"{RIG} {n + 1}": files[n::RIGS] for n in range(RIGS) if files[n::RIGS]} | found


def _files(path: Path) -> list[Path]:
    pattern = "test_*.py"
    if path.is_dir():
        return sorted(path.rglob(pattern))
    return [path] if path.match(pattern) else []


def pytest_of(paths: Sequence[Path], options: Sequence[str]) -> list[str]:
    """Returns the command that runs the tests of these files and folders, with the settings of the project.

    Without `-c` those of tests/acceptance would be the ones that `./run check` uses.
    """
    return [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), *options, *map(str, paths)]


def run_together(commands: Mapping[str, Sequence[str]], *, cwd: Path, env: Mapping[str, str]) -> list[str]:
    """Runs named commands, as many at once as this machine bears; returns the names of those that failed.

    Prints the output of each when it ends, and at the end the sum of the tests. A pytest without a test fails only
    where all of them have none, as one pytest for all would. After a signal no further command starts, and those that
    run get Ctrl-C once: tests of a rig then destroy it.
    """
    started, counts, codes = time.monotonic(), Counter[str](), dict[str, int]()
    processes: list[subprocess.Popen[bytes]] = []

    def run(command: Sequence[str]) -> tuple[int, str]:
        with tempfile.TemporaryFile() as file:  # not a pipe: a process that outlives its test would keep it open
            process = subprocess.Popen(
                command, cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, process_group=0,
            )  # fmt: skip
            processes.append(process)
            code = process.wait()
            file.seek(0)
            return code, file.read().decode(errors="replace")

    workers = ThreadPoolExecutor((os.cpu_count() or 1) + 2)
    try:
        running = {workers.submit(run, command): name for name, command in commands.items()}
        for done in as_completed(running):
            name, (code, output) = running[done], done.result()
            codes[name] = code
            if code != NO_TESTS:
                say(f"== {name}")
                for line in output.rstrip().splitlines():
                    say(line)
            if "pytest" in commands[name]:
                last = output.rstrip().rpartition("\n")[2]
                counts.update({what: int(number) for number, what in _COUNT.findall(last)})
    except BaseException:
        workers.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.send_signal(signal.SIGINT)
        raise
    finally:
        workers.shutdown()
    total = ", ".join(f"{number:,} {what}" for what, number in counts.items())
    say(f"== {total or 'no test'} in {time.monotonic() - started:.0f} s")
    empty = [name for name, code in codes.items() if code == NO_TESTS]
    failed = [name for name, code in codes.items() if code not in (0, NO_TESTS)]
    return failed + (empty if not total else [])
