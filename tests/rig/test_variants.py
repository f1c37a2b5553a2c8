"""Variants on a rig: in force in each of their trials, put back afterwards, and refused before anything is measured."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.rig.rig import Rig
from harness.store.run_reader import load_run
from tests.conftest import ROOT, Tool

LOAD = (
    "--scenario",
    "concurrent-writes",
    "--hosts",
    "1",
    "--backend",
    "postgres",
    "--strategy",
    "upsert",
    "--requests",
    "60",
)
SETTINGS = ("synchronous_commit", "shared_buffers", "work_mem")


def server(hosts: Rig) -> dict[str, str]:
    """The settings as a new session has them, and the file of variants where there is one."""
    with hosts.database() as connection:
        rows = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(SETTINGS)])
        found = dict(rows.fetchall())
    file = ["sh", "-c", "cat /etc/postgresql/*/main/conf.d/zz-pgcrucible-variant.conf 2> /dev/null || true"]
    return found | {"file": hosts.at(hosts.role("db")[0]).run(file).stdout}


def pool(hosts: Rig) -> int:
    load, app = hosts.at(hosts.role("load")[0]), hosts.role("app")[0]
    status, body = load.get(app.address, int(hosts.variables["app_port"]), "/metrics?database=0")
    return int(json.loads(body)["settings"]["pool_size"]) if status == 200 else 0


def test_settings_are_in_force_in_each_trial_and_put_back(tool: Tool, hosts: Rig) -> None:
    """Another client watches while the bench runs; the bench reads back before and after each load."""
    before, seen, ended = (server(hosts), pool(hosts)), set[tuple[str, int]](), threading.Event()

    def watch() -> None:
        while not ended.wait(0.3):
            seen.add((server(hosts)["synchronous_commit"], pool(hosts)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = tool.bench(*LOAD, "--vary", "postgres.synchronous_commit=on,off;app_pool_size=2,4", "--repeat", "2")
    finally:
        ended.set()
        watcher.join(60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 blocks allow no claim" in done.stdout
    assert {("on", 2), ("on", 4), ("off", 2), ("off", 4)} <= seen
    assert (server(hosts), pool(hosts)) == before
    run = load_run((tool.results / "latest").resolve())
    assert [variant.name for variant in run.manifest.variants] == [
        f"synchronous_commit={commit} pool_size={size}" for commit in ("on", "off") for size in (2, 4)
    ]
    for row in run.rows:
        evidence = run.evidence(row.trial.order)
        assert evidence is not None
        wanted = {
            "postgres.synchronous_commit": row.cell.postgres_settings["synchronous_commit"],
            "app_pool_size": str(row.cell.pool),
        }
        assert dict(evidence.settings) == wanted
        assert (
            f"synchronous_commit={wanted['postgres.synchronous_commit']} pool_size={row.cell.pool}" == row.cell.variant
        )
    assert len(run.rows) == 2 * 4 * 2, "blocks, variants, one key and a hundred"


def test_a_killed_bench_is_undone_by_the_next(tool: Tool, hosts: Rig) -> None:
    """The server had been restarted with other buffers, and the bench had no time to put anything back."""
    before = server(hosts)
    command = [sys.executable, "-m", "harness", "bench", "--rig", tool.rig, *LOAD]
    command += ["--vary", "postgres.shared_buffers=64MB,32MB", "--repeat", "2"]
    with subprocess.Popen(command, cwd=ROOT, env=tool.env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("[2/"):
                break
        process.kill()
    left = server(hosts)
    assert left["file"].startswith("shared_buffers = '")
    assert left["shared_buffers"] != before["shared_buffers"]
    done = tool.bench(*LOAD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server(hosts) == before
    assert "32MB" not in (tool.results / "latest/run.yml").read_text(), "recorded as provisioned"


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("postgres.synchronous_comit=on,off", "did you mean 'postgres.synchronous_commit'?"),
        ("app_pool_waiting=5,6", "the service has no setting for 'app_pool_waiting'"),
        ("postgres.synchronous_commit=on,maybe", 'invalid value for parameter "synchronous_commit": "maybe"'),
        (
            "postgres.shared_preload_libraries=auto_explain,no_such_library",
            'refuses the settings of a variant: could not access file "no_such_library"',
        ),
        ("postgres.work_mem=4MB,4096kB", "are the same on this rig: postgres.work_mem=4096kB"),
        ("app_pool_wait_seconds=5,-1", "the service does not start: POOL_WAIT_SECONDS=-1: expected 0.1 or more"),
        ("app_pool_wait_seconds=25,25.0", "are the same on this rig: all settings are as provisioned"),
        ("postgres.lock_timeout=1s,2s", "appuser has its own value"),
    ],
)
def test_variants_that_cannot_be_measured_are_refused_with_one_line(
    tool: Tool, hosts: Rig, vary: str, message: str
) -> None:
    before = server(hosts)
    done = tool.bench(*LOAD, "--vary", vary)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.stderr
    assert server(hosts) == before


def test_a_variant_equal_to_what_is_provisioned_is_refused(tool: Tool, tmp_path: Path) -> None:
    file = tmp_path / "variants.yml"
    file.write_text("as-it-is:\nsame: {postgres.synchronous_commit: on}\n")
    done = tool.bench(*LOAD, "--variants", str(file))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the variants 'as-it-is' and 'same' are the same on this rig" in done.stderr
