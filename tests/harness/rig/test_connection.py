"""This machine as a host: its commands end with the harness."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from harness.rig.state import ROOT

WAIT_S = 20.0
SCRIPT = """
import sys
from harness.rig.connection import LocalConnection
LocalConnection().run(["sh", "-c", 'echo $$ > "$0"; exec sleep 60', sys.argv[1]])
"""


def is_alive(pid: int) -> bool:
    """A zombie whose new parent has not reaped it counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_ends_when_the_harness_is_killed(tmp_path: Path) -> None:
    file, deadline = tmp_path / "pid", time.monotonic() + WAIT_S
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(file)], cwd=ROOT) as harness:
        try:
            while not (file.exists() and file.read_text().strip()):
                assert harness.poll() is None
                assert time.monotonic() < deadline, "the command did not start"
                time.sleep(0.05)
            pid = int(file.read_text())
            assert is_alive(pid)
        finally:
            harness.kill()
    while is_alive(pid):
        assert time.monotonic() < deadline, "the command still runs"
        time.sleep(0.05)
