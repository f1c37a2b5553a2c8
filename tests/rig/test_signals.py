"""A bench on a rig that is cancelled (SIGTERM) in its second trial: the rig is as provisioned, the first is stored."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.rig.rig import Rig
from harness.store.run_reader import load_run
from harness.targets.app_configurator import AppConfigurator
from harness.targets.app_workers import AppWorkers
from harness.targets.haproxy import HAProxy
from tests.conftest import ROOT, Tool


def state_of(rig: Rig) -> tuple[set[str], dict[str, str], dict[str, object]]:
    """Returns the app hosts that HAProxy serves from, the overrides of their settings, and their pool sizes."""
    workers = AppWorkers(rig)
    file = AppConfigurator(rig, workers, HAProxy(rig), lambda _: None)._file
    texts = rig.each(rig.role("app"), lambda host: host.run(["cat", file], check=False).stdout)
    answers = workers.get(workers.hosts, "/metrics?database=0")
    pools = {name: json.loads(body)["settings"]["pool_size"] for name, (_, body) in answers.items()}
    return HAProxy(rig).serving(), {name: text for name, text in texts.items() if text}, pools


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_cancelled_bench_leaves_the_rig_as_provisioned_and_keeps_its_trials(
    tool: Tool, hosts: Rig, number: int, code: int
) -> None:
    before = state_of(hosts)
    command = [sys.executable, "-m", "harness", "bench", "--rig", tool.rig, "--scenario", "throughput"]
    command += ["--hosts", "1", "--vary", "app_pool_size=3,4", "--repeat", "2", "--seconds", "2"]
    command += ["--backend", "postgres", "--strategy", "upsert"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=tool.env, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            output, second = "", False
            for line in process.stdout:
                output += line
                second = second or line.startswith("[2/")
                if second and "ok/s" in line:
                    assert state_of(hosts) != before, "one host serves, with another pool"
                    process.send_signal(number)
                    break
            output += process.communicate(timeout=120)[0]
        finally:
            process.kill()
    assert process.returncode == code, output
    assert state_of(hosts) == before
    run = load_run(Path(tool.results / "latest").resolve())
    assert run.manifest.status == "aborted"
    assert f"aborted: interrupted by {signal.Signals(number).name}" in run.manifest.warnings
    assert [row.trial.order for row in run.rows] == [1]
    (record,) = run.records()
    assert record.evidence.unread == {}
    left = hosts.each(
        hosts.role("load"), lambda host: host.run(["sh", "-c", "ls -d /tmp/pgcrucible-load* || true"]).stdout
    )
    assert set(left.values()) == {""}
