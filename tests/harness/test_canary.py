"""The canaries' script as it is sent to hosts, and the sentence about hosts that are unlike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from harness import canary, facts
from harness.metrics import uneven_hosts
from tests.conftest import free_port


def run(script: str | None, *arguments: str) -> dict[str, object]:
    text = Path(script or "").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-", *arguments], input=text, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_the_canary_measures_and_leaves_nothing() -> None:
    found = run(canary.__file__)
    assert set(found) == {"cpu_ms", "fsync_ms"}
    assert all(isinstance(value, float) and value > 0 for value in found.values())


def test_a_peer_that_is_away_is_named_in_one_line() -> None:
    text = Path(canary.__file__).read_text(encoding="utf-8").replace("SSH = 22", f"SSH = {free_port()}")
    done = subprocess.run(
        [sys.executable, "-", "127.0.0.1"], input=text, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("127.0.0.1 does not answer on port ")
    assert done.stderr.count("\n") == 1


def test_the_facts_of_this_machine() -> None:
    found = run(facts.__file__)
    assert set(found) == {"cpus", "memory", "kernel", "boot_id", "cpu_model", "versions"}
    assert found["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert found["cpus"] > 0  # type: ignore[operator]
    assert found["memory"] > 2**28  # type: ignore[operator]


def test_hosts_of_one_role_that_differ_are_named() -> None:
    roles = {"app-1": "app", "app-2": "app", "app-3": "app", "db-1": "db"}
    times = {"app-1": 10.0, "app-2": 10.5, "app-3": 13.0, "db-1": 99.0}
    canaries = {host: {"cpu_ms": ms} for host, ms in times.items()}
    assert uneven_hosts(canaries, roles) == [
        "app hosts are unlike: CPU canary app-3 13.0 ms where the median is 10.5 ms"
    ]
    assert uneven_hosts({**canaries, "app-3": {"cpu_ms": 11.0}}, roles) == []
