"""A whole bench against a service whose responses never end: it ends, in little memory, and passes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.rig.state import ROOT
from tests.support.odd_service import OddService

LIMIT_MIB = 300
"""Of the largest process: the bench or a load agent. Without limits it took gigabytes in seconds."""
MEASURED = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True, timeout=100)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(json.dumps([done.returncode, peak, done.stdout + done.stderr]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("habits", "codes"),
    [
        ({"endless": "/health"}, (2, 3)),
        ({"endless": "/api/increment"}, (2, 3)),  # the proof before the load
        ({"endless": "/api/increment", "endless_after": 30}, (1,)),
        ({"endless_interim": "/api/increment", "endless_after": 30}, (1,)),
        ({"endless": "/api/counter/", "endless_after": 30}, (3,)),  # after the load of the first trial
    ],
)
def test_a_bench_against_an_endless_service_ends(
    tmp_path: Path, habits: dict[str, Any], codes: tuple[int, ...]
) -> None:
    with OddService(**habits) as service:
        command = [sys.executable, "-m", "tests.support.other_limits", "harness.measure.trial_runner:ANSWER_S=2"]
        command += ["bench", "--base-url", service.url]
        command += ["--scenario", "concurrent-writes", "--requests", "40", "--repeat", "1"]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *command],
            cwd=ROOT, env={**os.environ, "PGCRUCIBLE_RESULTS": str(tmp_path / "results")},
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    code, peak_mib, output = json.loads(done.stdout)
    assert code in codes, output
    assert peak_mib < LIMIT_MIB, output
    assert "Traceback" not in output
    if "endless_after" in habits:
        run = yaml.safe_load((tmp_path / "results/latest/run.yml").read_text())
        assert run["status"] == ("finished" if code == 1 else "aborted")
        assert run["verdict"] in ("fail", "unknown")
        assert len((tmp_path / "results/latest/trials.csv").read_text().splitlines()) == (3 if code == 1 else 2)
    else:
        assert "too large" in output
