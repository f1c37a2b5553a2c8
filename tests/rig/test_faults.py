"""Faults of a rig while a bench runs: what other hosts served is invalid, and a host that is paused hangs nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness.provision import podman_cli
from harness.rig.rig import Rig
from harness.store.run_reader import Run, load_run
from tests.conftest import ROOT, Tool


def bench_with_fault(tool: Tool, fault: Callable[[], object], *options: str) -> tuple[subprocess.Popen[str], str, Run]:
    """Runs trials on one app host; the fault comes while the first is measured."""
    command = [sys.executable, "-m", "harness", "bench", "--rig", tool.rig, "--scenario", "throughput"]
    command += ["--hosts", "1", "--repeat", "1", "--backend", "postgres", "--strategy", "upsert", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=tool.env, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            measured = False
            for line in process.stdout:
                lines.append(line)
                if "ok/s" in line:
                    measured = True
                    fault()
                    break
            assert measured, "".join(lines)
            output, _ = process.communicate(timeout=400)
        finally:
            process.kill()
    return process, "".join(lines) + output, load_run(Path(tool.results / "latest").resolve())


def test_a_drained_host_that_is_put_back_in_a_trial_makes_it_invalid_and_the_next_one_is_right(
    tool: Tool, hosts: Rig
) -> None:
    """All trials afterwards were measured on all hosts, unnoticed."""
    lb = hosts.at(hosts.role("lb")[0])

    def put_back() -> None:
        lb.run(["socat", "stdio", "/run/haproxy/admin.sock"], stdin="set server app/app-2 state ready\n")

    process, output, run = bench_with_fault(tool, put_back, "--seconds", "4", "--rate", "200")
    assert process.returncode == 4, output
    first, *rest = run.rows
    assert not first.valid
    assert "HAProxy sent requests to hosts that do not serve in this trial: app-2" in first.reason
    assert rest
    assert not [row.reason for row in rest if "hosts" in row.reason and "HAProxy" in row.reason]
    assert {finding.verdict for finding in run.findings} <= {"pass", "unknown", "shown"}, output
    for row in rest:
        evidence = run.evidence(row.trial.order)
        assert evidence is not None
        assert evidence.servers["app-2"] == 0


def test_a_database_host_that_is_paused_ends_the_bench_with_its_trial_stored(tool: Tool, hosts: Rig) -> None:
    """The bench hung for ever, and Ctrl-C needed two tries."""
    container = f"pgcrucible-{hosts.name}-{hosts.role('db')[0].name}"
    started = time.monotonic()
    try:
        process, output, run = bench_with_fault(tool, lambda: podman_cli.run("pause", container), "--seconds", "4")
    finally:
        podman_cli.run("unpause", container)
    assert process.returncode == 3, output
    assert time.monotonic() - started < 400
    first, *rest = run.rows
    assert first.trial.order == 1
    assert not any(row.figures.get("ok") for row in rest)
    evidence = run.evidence(1)
    assert evidence is not None
    assert evidence.unread["counters"] == "db-1: the host gives no sign of life"
    assert run.manifest.status == "aborted"
    assert "fail" not in {f.verdict for f in run.findings if f.check in ("final value", "counts agree")}, output
