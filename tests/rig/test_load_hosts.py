"""Two load hosts of the shared rig: one histogram, one noise floor, and no trial where one of them died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.compare import noise_floor_file
from harness.compare.noise_floor import LEAST_FLOOR
from harness.provision import podman_cli
from harness.rig.rig import Rig
from harness.store.run_reader import Run, load_run
from tests.conftest import ROOT, Tool
from tests.support.summaries import histogram_of

BURST = ("--scenario", "concurrent-writes", "--backend", "postgres", "--requests", "200", "--repeat", "5")


@pytest.fixture(scope="module")
def twice(tool: Tool) -> tuple[Run, str]:
    """A bench of the same thing twice, and what it printed."""
    done = tool.bench(*BURST, "--aa")
    assert done.returncode == 0, done.stdout + done.stderr
    return load_run((tool.results / "latest").resolve()), done.stdout


def test_two_load_hosts_give_one_histogram_and_aa_gives_a_noise_floor(tool: Tool, twice: tuple[Run, str]) -> None:
    run, output = twice
    assert {row.trial.number for row in run.rows} == set(range(1, 11))
    for row in run.rows:
        samples = run.lanes(row.trial.order)["main"]
        assert {host: samples.load_host.count(host) for host in ("load-1", "load-2")} == {"load-1": 100, "load-2": 100}
        latencies = [done - due for done, due in zip(samples.done_us, samples.due_us, strict=True)]
        assert run.histogram(row.trial.order, "main", "latency") == histogram_of(latencies)
        first = [min(s for s, host in zip(samples.sent_us, samples.load_host, strict=True) if host == name)
                 for name in ("load-1", "load-2")]  # fmt: skip
        assert max(first) < max(samples.done_us), "released together"
    floor = noise_floor_file.noise_floor(tool.rig, run.manifest.rig.model_dump())
    assert run.manifest.noise_floor == floor
    assert floor["rps"] >= LEAST_FLOOR
    assert f"noise floor of rig '{tool.rig}'" in output


def test_two_real_runs_are_compared_until_the_rig_has_changed(tool: Tool, hosts: Rig, twice: tuple[Run, str]) -> None:
    before = twice[0].run_id
    alike = tool("compare", before, before)
    assert alike.returncode == 0, alike.stderr
    assert "  ~" in alike.stdout
    assert f"rig '{tool.rig}'" in alike.stdout or f"run {before}" in alike.stdout, "where the floor is known from"
    podman_cli.set_cpus(tool.rig, {"load-2": 0.3})
    try:
        tool.bench(*BURST)
    finally:
        podman_cli.set_cpus(tool.rig, {"load-2": hosts.state.cpus["load-2"]})
    refused = tool("compare", before, "latest")
    assert refused.returncode == 4
    assert "different environments: load.cpus: 0.4 against 0.3, 0.4" in refused.stderr
    forced = tool("compare", before, "latest", "--anyway")
    assert forced.returncode == 0
    assert "this proves nothing" in forced.stdout
    warnings = load_run((tool.results / "latest").resolve()).manifest.warnings
    warning = f"compared with {before} although the environments differ (--anyway): load.cpus: 0.4 against 0.3, 0.4"
    assert warning in warnings


def test_a_load_host_that_is_killed_midway_makes_the_trial_invalid(tool: Tool, hosts: Rig) -> None:
    command = [sys.executable, "-m", "harness", "bench", "--rig", tool.rig, "--scenario", "throughput"]
    process = subprocess.Popen(
        [*command, "--strategy", "upsert", "--seconds", "1.5", "--repeat", "1"],
        cwd=Path(ROOT), env=tool.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        output = []
        for line in process.stdout:
            output.append(line)
            if "ok/s" in line:
                hosts.at("load-2").run(["sh", "-c", "kill -9 $(pgrep -f '[h]arness.load.agent')"])
                break
        rest, error = process.communicate(timeout=120)
    assert process.returncode == 4, "".join(output) + rest + error
    assert "load-2: the load agent died" in error
    run = load_run((tool.results / "latest").resolve())
    assert not run.rows[0].valid
    assert run.rows[0].reason.startswith("load-2: the load agent died")
    assert set(run.lanes(1)["main"].load_host) == {"load-1"}, "what the other measured is kept"
