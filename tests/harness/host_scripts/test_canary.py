"""The scripts canary and facts, run as they are sent to hosts."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from harness.host_scripts import canary, facts
from tests.conftest import free_port


def run(script: str | None, *arguments: str) -> dict[str, object]:
    text = Path(script or "").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-", *arguments], input=text, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_the_canary_measures_cpu_and_disk() -> None:
    found = run(canary.__file__)
    assert set(found) == {"cpu_ms", "fsync_ms"}
    assert all(isinstance(value, float) and value > 0 for value in found.values())


def test_the_disk_is_the_one_of_the_directory_that_is_given(tmp_path: Path) -> None:
    assert "fsync_ms" in run(canary.__file__, "", "22", str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert "fsync_ms" not in run(canary.__file__, "", "22", str(tmp_path / "absent"))


def test_the_round_trip_is_absent_if_the_port_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = run(canary.__file__, "127.0.0.1", str(server.getsockname()[1]))
    assert set(found) == {"cpu_ms", "fsync_ms", "rtt_ms"}
    assert set(run(canary.__file__, "127.0.0.1", str(free_port()))) == {"cpu_ms", "fsync_ms"}


def test_the_facts_of_this_machine() -> None:
    found = run(facts.__file__)
    assert set(found) == {"cpus", "memory", "kernel", "boot_id", "cpu_model", "versions"}
    assert found["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert found["cpus"] > 0  # type: ignore[operator]
    assert found["memory"] > 2**28  # type: ignore[operator]
