"""This machine as a host: its commands end with the harness."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.rig import connection
from harness.rig.connection import LocalConnection
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


def test_a_process_that_reads_no_input_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load agent that was stopped (SIGSTOP) blocked the bench at the line that a full pipe did not take."""
    monkeypatch.setattr(connection, "SEND_S", 0.2)
    stream = LocalConnection().stream(["sleep", "60"])
    try:
        with pytest.raises(TimeoutError, match=r"read no input for 0\.2 s"):
            stream.send("x" * 1_000_000)
    finally:
        stream.end()


def test_a_long_line_arrives_whole() -> None:
    stream = LocalConnection().stream(["sh", "-c", "sleep 0.2; wc -c"])
    stream.send("é" * 500_000)
    stream.close()
    assert list(stream.lines()) == ["1000001"]
