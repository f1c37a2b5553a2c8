"""Two load hosts of the shared rig: one histogram, one noise floor, and no trial where one of them died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.compare import noise_floor_file
from harness.compare.noise_floor import LEAST_FLOOR
from harness.provision import podman_cli
from harness.provision.services import ServiceStatus, ask_services
from harness.rig.rig import Rig
from harness.store.run_reader import Run, load_run
from tests.conftest import ROOT, Tool
from tests.support.other_limits import BUSY_MACHINE
from tests.support.summaries import histogram_of

TRIALS = 5
"""Per cell: with fewer, compare has no verdict."""
BURST = ("--scenario", "concurrent-writes", "--backend", "postgres", "--requests", "200", "--repeat", str(TRIALS))


@pytest.fixture(scope="module")
def tool(shared_rig: str, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """Doubts no trial because other tests use the machine: the noise floor is made of trials without doubt."""
    return Tool(shared_rig, tmp_path_factory.mktemp("results"), BUSY_MACHINE)


@pytest.fixture(scope="module")
def repeated(tool: Tool, hosts: Rig) -> tuple[list[Run], str]:
    """Five runs of the same thing, and what was printed."""
    before = {service: status.since for service, status in services(hosts).items()}
    earlier = set(tool.results.iterdir()) if tool.results.exists() else set()
    done = tool.bench(*BURST, "--aa", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    for service, status in services(hosts).items():
        assert status.ok
        assert (status.since or 0) > (before[service] or 0), f"{service} was restarted between the runs"
    made = sorted(path for path in tool.results.iterdir() if not path.is_symlink() and path not in earlier)
    return [load_run(path) for path in made], done.stdout


def services(hosts: Rig) -> dict[str, ServiceStatus]:
    """The services that a restart starts again."""
    of_hosts = ask_services(hosts, [host for host in hosts.hosts if host.role != "load"])
    return {f"{host} {service.name}": service for host, found in of_hosts.items() for service in found}


def test_two_load_hosts_give_one_histogram_and_aa_gives_a_noise_floor(
    tool: Tool, repeated: tuple[list[Run], str]
) -> None:
    runs, output = repeated
    assert len(runs) == 5
    run = runs[-1]
    assert {row.trial.number for row in run.rows} == set(range(1, TRIALS + 1))
    for row in run.rows:
        samples = run.lanes(row.trial.order)["main"]
        assert {host: samples.load_host.count(host) for host in ("load-1", "load-2")} == {"load-1": 100, "load-2": 100}
        latencies = [done - due for done, due in zip(samples.done_us, samples.due_us, strict=True)]
        assert run.histogram(row.trial.order, "main", "latency") == histogram_of(latencies)
        first = [min(s for s, host in zip(samples.sent_us, samples.load_host, strict=True) if host == name)
                 for name in ("load-1", "load-2")]  # fmt: skip
        assert max(first) < max(samples.done_us), "released together"
    floor = noise_floor_file.noise_floor(tool.rig, run.manifest.rig.model_dump())
    assert [one.manifest.noise_floor for one in runs] == [floor] * 5
    assert floor["rps"] >= LEAST_FLOOR
    assert {ratio for key, ratio in floor.items() if key.startswith("runs ")} == {5.0}
    assert f"noise floor of rig '{tool.rig}'" in output


def test_two_real_runs_are_compared_until_the_rig_has_changed(
    tool: Tool, hosts: Rig, repeated: tuple[list[Run], str]
) -> None:
    before = repeated[0][-1].run_id
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
        [*command, "--strategy", "upsert", "--rate", "200", "--seconds", "2", "--repeat", "1"],
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
