"""Runs the tests in parts beside each other: most of them wait for processes, servers and deadlines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from harness.cli.console import say

RIG = "rig"
"""The folder of tests that share a rig. They mostly wait, so two rigs at once take half the time."""
RIGS = 2
NO_TESTS = 5
"""Exit code of pytest where it selects no test."""
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|deselected|xfailed|xpassed)")


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


def run_parts(parts: Mapping[str, Sequence[Path]], options: Sequence[str], *, cwd: Path) -> list[str]:
    """Runs pytest once for each part, as many at once as this machine bears; returns the parts that failed.

    Prints the output of each part when it ends, and the sum at the end. Where no part has a test that `options`
    select, all have failed, as pytest itself would end.
    """
    started, counts, codes = time.monotonic(), Counter[str](), dict[str, int]()
    workers = ThreadPoolExecutor((os.cpu_count() or 1) + 2)
    try:
        running = {workers.submit(_run, [*options, *map(str, paths)], cwd): name for name, paths in parts.items()}
        for done in as_completed(running):
            name, (code, output) = running[done], done.result()
            codes[name] = code
            if code != NO_TESTS:
                say(f"== pytest: {name}")
                say(output.rstrip())
            counts.update({what: int(number) for number, what in _COUNT.findall(output.rstrip().rpartition("\n")[2])})
    finally:
        workers.shutdown(cancel_futures=True)  # after Ctrl-C, which the children get too, no further part starts
    total = ", ".join(f"{number:,} {what}" for what, number in counts.items())
    say(f"== pytest: {total or 'no test'} in {time.monotonic() - started:.0f} s, {len(codes)} parts")
    failed = [name for name, code in codes.items() if code not in (0, NO_TESTS)]
    return list(codes) if set(codes.values()) == {NO_TESTS} else failed


def _run(arguments: Sequence[str], cwd: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout
