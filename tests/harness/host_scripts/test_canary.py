"""The scripts canary and facts, run as they are sent to hosts."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host_scripts import canary, facts
from tests.support.postgres_server import free_port


def run(script: str | None, *arguments: str) -> dict[str, object]:
    text = Path(script or "").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-", *arguments], input=text, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_the_canary_measures_cpu_and_disk() -> None:
    found = run(canary.__file__)
    assert set(found) - {"wall_ms"} == {"cpu_ms", "fsync_ms"}
    assert all(isinstance(value, float) and value > 0 for value in found.values())


def test_the_disk_is_the_one_of_the_directory_that_is_given(tmp_path: Path) -> None:
    assert "fsync_ms" in run(canary.__file__, "", "22", str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert "fsync_ms" not in run(canary.__file__, "", "22", str(tmp_path / "absent"))


def test_the_round_trip_is_absent_if_the_port_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = run(canary.__file__, "127.0.0.1", str(server.getsockname()[1]))
    assert set(found) - {"wall_ms"} == {"cpu_ms", "fsync_ms", "rtt_ms"}
    assert "rtt_ms" not in run(canary.__file__, "127.0.0.1", str(free_port()))


@pytest.mark.parametrize(
    ("quotas", "measured"),
    [
        ({"v2": "max 100000"}, True),
        ({"v2": "99000 100000"}, False),
        ({"v2": "100000 100000"}, True),
        ({"quota": "-1", "period": "100000"}, True),
        ({"quota": "10000", "period": "100000"}, False),
        ({"quota": "200000", "period": "100000"}, True),
        ({}, True),
    ],
)
def test_the_wall_clock_canary_is_absent_below_one_core(
    quotas: dict[str, str], measured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in quotas.items():
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(canary, "BURST", 1)
    files = ((str(tmp_path / "v2"),), (str(tmp_path / "quota"), str(tmp_path / "period")))
    monkeypatch.setattr(canary, "QUOTAS", files)
    assert ("wall_ms" in canary.main()) == measured


def test_the_wall_clock_canary_sees_a_neighbour_that_the_cpu_time_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour takes two of every three turns: time passes, the processor time of the canary stays the same."""
    wall, spins = [0.0], [0]

    def spin() -> None:
        spins[0] += 1
        wall[0] += 0.015

    monkeypatch.setattr(canary, "QUOTAS", ())
    monkeypatch.setattr(canary, "spin", spin)
    monkeypatch.setattr(canary.time, "perf_counter", lambda: wall[0])
    monkeypatch.setattr(canary.time, "process_time", lambda: spins[0] * 0.005)
    found = canary.main()
    assert (found["cpu_ms"], found["wall_ms"]) == (5.0, 15.0)


def test_the_facts_of_this_machine() -> None:
    found = run(facts.__file__)
    assert set(found) == {"cpus", "memory", "kernel", "boot_id", "cpu_model", "versions"}
    assert found["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert found["cpus"] > 0  # type: ignore[operator]
    assert found["memory"] > 2**28  # type: ignore[operator]
