"""A bench whose output cannot be written measures to its end, and its exit code is that of the verdict."""

from __future__ import annotations

import os
import subprocess
import sys
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
