"""Faults on real hosts: seen and healed by the injector, and healed after a controller that was killed."""

from __future__ import annotations

import subprocess
import sys
import time

from harness.fault_record import PlannedFault
from harness.faults import FAULTS
from harness.faults.app import UNITS
from harness.faults.injector import injecting
from harness.faults.open_faults import path_of
from harness.faults.unit_processes import read_processes
from harness.rig.rig import Rig
from tests.conftest import ROOT, Tool

CONTROLLER = """
import sys, time
from harness.fault_record import PlannedFault
from harness.faults import FAULTS
from harness.faults.injector import injecting
from harness.rig.rig import open_rig

with open_rig(sys.argv[1]) as rig:
    with injecting(rig, [PlannedFault(fault="app-pause", at_s=0.0, hold_s=60.0)], time.time(), FAULTS) as records:
        while not records[0].seen:
            time.sleep(0.05)
        print(records[0].seen, flush=True)
        time.sleep(60)
"""


def test_faults_of_service_and_database_are_seen_and_healed(hosts: Rig) -> None:
    schedule = [
        PlannedFault(fault="app-pause", at_s=0.0, hold_s=4.0),
        PlannedFault(fault="db-restart", at_s=0.5, hold_s=1.0),
    ]
    with injecting(hosts, schedule, time.time(), FAULTS) as records:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not all(record.healed or record.problem for record in records):
            time.sleep(0.1)
    paused, restarted = records
    assert (paused.problem, restarted.problem) == ("", "")
    assert "is stopped (T)" in paused.seen
    assert "became" in restarted.seen
    assert restarted.helped == ""
    assert restarted.injected_us is not None
    assert restarted.observed_us["accepts"] > restarted.injected_us
    assert not path_of(hosts.name).exists()


def test_heal_undoes_what_a_killed_controller_left(tool: Tool, hosts: Rig) -> None:
    command = [sys.executable, "-c", CONTROLLER, hosts.name]
    with subprocess.Popen(command, cwd=ROOT, env=tool.env, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        assert "is stopped (T)" in controller.stdout.readline()
        controller.kill()
    app = hosts.role("app")[0]
    assert read_processes(hosts, app, UNITS).stopped
    assert path_of(hosts.name).exists()
    healed = tool("heal", "--rig", hosts.name)
    assert (healed.returncode, "app-pause: healed" in healed.stdout) == (0, True), healed.stdout + healed.stderr
    assert not read_processes(hosts, app, UNITS).stopped
    assert not path_of(hosts.name).exists()
    again = tool("heal", "--rig", hosts.name)
    assert (again.returncode, "nothing to heal" in again.stdout) == (0, True), again.stdout + again.stderr
