"""Telemetry on the shared rig: every host is recorded, a live view works, and no sampler outlives its controller."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.analysis.bottleneck import MIN_SECONDS, attribute
from harness.analysis.telemetry_totals import aggregate, readings
from harness.cli import watch
from harness.model import Cell, Trial
from harness.record import TrialResult
from harness.rig import state
from harness.rig.rig import Rig, open_rig
from harness.store.manifest import CodeRecord, RigRecord
from harness.store.run_writer import RunWriter
from harness.targets.telemetry import Telemetry
from tests.harness.targets.test_telemetry import EVERY_HOST, WAIT_S, recorded, rows, until


@pytest.fixture
def recorder(tmp_path: Path) -> RunWriter:
    code = CodeRecord(commit="0", dirty=False, command="./run bench", seed=1)
    return RunWriter.start(tmp_path / "results", code=code, rig=RigRecord(name="here", provider="static"), options={})


def samplers_on(rig: Rig) -> dict[str, str]:
    """Returns host -> process ids of the samplers that run there."""
    pids = rig.each(rig.hosts, lambda h: h.run(["pgrep", "-f", "host_second[s]"], check=False).stdout.strip())
    return {name: found for name, found in pids.items() if found}


def seconds(telemetry: Telemetry, recorder: RunWriter) -> float:
    """Returns the seconds of trial 1 recorded of the host with the fewest."""
    telemetry._write()
    by_host = dict.fromkeys((row["host"] for row in rows(recorder) if row["metric"] == "host_seconds"), 0.0)
    for row in rows(recorder):
        if (row["order"], row["metric"]) == ("1", "host_seconds"):
            by_host[row["host"]] += float(row["value"])
    return min(by_host.values())


CONTROLLER = """
import sys, time
from harness.rig.rig import open_rig
from harness.targets.samplers import Samplers
with open_rig(sys.argv[1]) as rig, Samplers(rig, lambda _: None, print):
    print("up", flush=True)
    time.sleep(600)
"""
WATCHER = "import sys; from harness.cli.watch import run_watch; run_watch(sys.argv[1], None, 0.5)"


def test_a_rig_is_recorded_and_watched_and_no_process_stays(
    shared_rig: str, recorder: RunWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_rig(shared_rig) as rig:
        with Telemetry(rig, recorder) as telemetry, telemetry.during(1):
            assert set(samplers_on(rig)) == {host.name for host in rig.hosts}
            wanted = [("app-1", "pool_total"), ("app-1", "haproxy_requests"), ("lb-1", "haproxy_requests")]
            wanted += [("db-1", "pg_wal_bytes"), ("app-1", "cpu_throttled_share"), *EVERY_HOST]
            until(recorded(telemetry, recorder, 1, *wanted), "everything is recorded")
            until(lambda: seconds(telemetry, recorder) >= MIN_SECONDS, "the bottleneck can be attributed")
        assert samplers_on(rig) == {}
        assert recorder.manifest.warnings == []
        cap = {row["value"] for row in rows(recorder) if (row["host"], row["metric"]) == ("app-1", "cpu_cap_cores")}
        assert {float(value) for value in cap} == {rig.state.cpus["app-1"]}
        trial = Trial(cell=Cell(scenario="throughput"), number=1, order=1, seed=1)
        roles = {host.name: host.role for host in rig.hosts}
        totals = aggregate(readings(rows(recorder)), roles, {1})
        bottleneck = attribute(totals[1], roles, TrialResult(trial=trial, figures={}))
        assert {"load CPU", "HAProxy CPU", "app CPU", "database CPU", "machine"} <= set(bottleneck.levels), (
            bottleneck.line
        )

        for code, ending in ((CONTROLLER, signal.SIGKILL), (CONTROLLER, signal.SIGINT), (WATCHER, signal.SIGINT)):
            command = [sys.executable, "-c", code, shared_rig]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=state.ROOT, text=True
            ) as controller:
                assert controller.stdout is not None
                assert controller.stdout.readline().startswith("up" if code == CONTROLLER else f"rig {shared_rig}")
                assert samplers_on(rig)
                controller.send_signal(ending)
                controller.wait(WAIT_S)
            until(lambda: not samplers_on(rig), "the samplers have ended")

        watch.run_watch(shared_rig, 5.0, 1.0)
        printed = capsys.readouterr()
        assert printed.err == ""
        assert f"rig {shared_rig}" in printed.out
        assert "commits/s" in printed.out
        assert "app-1     cpu" in printed.out
        assert "waiting  haproxy" in printed.out
        assert samplers_on(rig) == {}
