"""What is asked of the layers behind the client, where no rig is needed to ask it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.targets.layer_counts import COUNT_LOGGED


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        ({}, ""),
        ({"main.log": "LOG:  ready\n"}, "0"),
        ({"a.log": "x ERROR:  deadlock detected\n", "b.log": "ERROR:  deadlock detected\nLOG:  x\n", "c.gz": "?"}, "2"),
    ],
)
def test_a_log_that_is_not_there_is_not_a_log_without_deadlocks(
    tmp_path: Path, logs: dict[str, str], said: str
) -> None:
    for name, text in logs.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(["sh", "-c", COUNT_LOGGED, "sh", str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
