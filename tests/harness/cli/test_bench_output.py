"""A bench whose output cannot be written measures to its end, and its exit code is that of the verdict."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.rig.state import ROOT
from tests.support.local_target import serving


@pytest.fixture
def url(database: Any, tmp_path: Path) -> Iterator[str]:
    with serving({**database.environ, "CONTAINER_ID": "ours"}, tmp_path / "log") as url:
        yield url


@pytest.mark.parametrize(
    "line",
    [
        "$BENCH | head -1 >/dev/null; exit ${PIPESTATUS[0]}",
        "$BENCH >/dev/full",
        "$BENCH >/dev/full 2>/dev/full",
        "$BENCH <&-",
        "$BENCH <&- >&- 2>&-",
        "PYTHONIOENCODING=ascii $BENCH",
    ],
)
def test_output_that_cannot_be_written_does_not_end_a_measurement(url: str, tmp_path: Path, line: str) -> None:
    command = f"{sys.executable} -m harness bench --base-url {url} --scenario concurrent-writes"
    command += " --requests 20 --repeat 1"
    done = subprocess.run(
        ["/bin/bash", "-c", line],
        cwd=ROOT, env={**os.environ, "BENCH": command, "PGCRUCIBLE_RESULTS": str(tmp_path / "results")},
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    manifest = yaml.safe_load((tmp_path / "results/latest/run.yml").read_text())
    assert manifest["status"] == "finished"
    assert done.returncode == {"pass": 0, "fail": 1, "invalid": 4, "unknown": 4}[manifest["verdict"]], done.stderr
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "results/latest/report.html").is_file()


def test_output_that_is_not_read_does_not_stall_a_measurement(url: str, tmp_path: Path) -> None:
    """A pipe that is full, as a terminal that is stopped with Ctrl-S: the listener of the load agents waited for it."""
    command = [sys.executable, "-m", "harness", "bench", "--base-url", url, "--scenario", "concurrent-writes"]
    command += ["--requests", "20", "--repeat", "1"]
    environ = {**os.environ, "PGCRUCIBLE_RESULTS": str(tmp_path / "results")}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=writing, stderr=subprocess.DEVNULL) as process:
        try:
            os.close(writing)
            deadline = time.monotonic() + 60
            run = tmp_path / "results/latest/run.yml"
            while not run.exists() or yaml.safe_load(run.read_text())["status"] != "finished":
                assert process.poll() is None
                assert time.monotonic() < deadline, "the measurement waits for its output"
                time.sleep(0.1)
            with open(reading, "rb") as file:  # noqa: PTH123
                output = file.read().lstrip(b"x").decode()
            code = process.wait(60)
        finally:
            process.kill()
    assert code == {"pass": 0, "fail": 1, "invalid": 4, "unknown": 4}[yaml.safe_load(run.read_text())["verdict"]]
    assert "\nreport: " in output
