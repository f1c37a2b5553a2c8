"""The CPU of this machine and the part that the harness used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from harness.targets.local_machine import LocalMachine, cpu_by_process, is_this_machine, tree_cpu_s

BUSY = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"


@pytest.mark.parametrize(
    ("roots", "seconds"), [({10}, 7.0), ({11}, 6.0), ({12}, 4.0), ({20}, 8.0), ({10, 12, 20}, 15.0), ({99}, 0.0)]
)
def test_descendants_are_counted_once(roots: set[int], seconds: float) -> None:
    processes = {1: (0, 100.0), 10: (1, 1.0), 11: (10, 2.0), 12: (11, 4.0), 20: (1, 8.0), 21: (21, 16.0)}
    assert tree_cpu_s(roots, processes) == seconds


@pytest.mark.parametrize("ended", [True, False])
def test_a_child_is_the_harnesss_own(*, ended: bool) -> None:
    machine = LocalMachine()
    with subprocess.Popen([sys.executable, "-c", BUSY + ("" if ended else "\nprint(flush=True)\ninput()")],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # fmt: skip
        started = time.monotonic()
        if ended:
            child.wait(30)
        else:
            assert child.stdout
            child.stdout.readline()
        metrics, seconds = machine.end(), time.monotonic() - started
        child.kill()
    assert metrics["rig_cpu_cores"] * (seconds + 1) > 0.35
    assert metrics["machine_cores"] >= 1
    assert 0 <= metrics["machine_cpu_share"] <= 1


def test_processes_that_are_hosts_of_the_rig_are_its_own() -> None:
    """QEMU has left the harness: its parent is process 1."""
    program = f"{BUSY}\ntime.sleep(10)"
    starter = [
        "import sys, subprocess",
        f"child = subprocess.Popen([sys.executable, '-c', {program!r}], stdout=subprocess.DEVNULL)",
        "print(child.pid)",
    ]
    started = subprocess.run(
        [sys.executable, "-c", "\n".join(starter)], stdout=subprocess.PIPE, text=True, check=True, timeout=20
    )
    pid = int(started.stdout)
    with_it, without = LocalMachine(lambda: [pid]), LocalMachine()
    deadline = time.monotonic() + 20
    while cpu_by_process()[pid][1] < 0.3 and time.monotonic() < deadline:
        time.sleep(0.02)
    seen, unseen = with_it.end()["rig_cpu_cores"], without.end()["rig_cpu_cores"]
    os.kill(pid, signal.SIGKILL)
    assert seen > unseen


@pytest.mark.parametrize(
    ("ip", "expected"), [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("2001:db8::1", False)]
)
def test_addresses_of_this_machine(ip: str, expected: bool) -> None:
    assert is_this_machine(ip) is expected
