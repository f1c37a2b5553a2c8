"""Two revisions of the service are deployed side by side on the shared rig and switched between trials."""

from __future__ import annotations

import json
from collections import Counter

from harness.provision.revision import resolve
from harness.rig.rig import Rig
from harness.store.run_reader import load_run
from harness.targets.app_revisions import DROP_IN
from harness.targets.app_workers import AppWorkers
from tests.conftest import Tool

BURST = ("--scenario", "concurrent-writes", "--backend", "postgres", "--requests", "100", "--repeat", "2")


def test_the_commit_and_the_files_as_they_are_run_in_turn_and_leave_nothing(tool: Tool, hosts: Rig) -> None:
    done = tool.bench(*BURST, "--vary", "code=HEAD,worktree")
    assert done.returncode == 0, done.stdout + done.stderr
    run = load_run((tool.results / "latest").resolve())
    revisions = [resolve("HEAD"), resolve("worktree")]
    assert Counter(row.cell.code for row in run.rows) == dict.fromkeys(revisions, len(run.rows) // 2)
    workers = AppWorkers(hosts)
    for name, body in workers.metrics().items():
        assert body["code"] == hosts.state.code_hash, f"{name} runs as provisioned afterwards"
    for host in hosts.role("app"):
        left = hosts.at(host).run(["sh", "-c", f"ls {DROP_IN} 2> /dev/null; ls /opt/pgcrucible/revisions"]).stdout
        assert set(revisions) <= set(left.split())
        assert DROP_IN not in left
    started = set()
    journal = [
        "journalctl",
        "-o",
        "cat",
        "--since",
        "-10min",
        "_TRANSPORT=stdout",
        "_SYSTEMD_UNIT=pgcrucible-app@1.service",
    ]
    for line in hosts.at(hosts.role("app")[0]).run(journal).stdout.splitlines():
        if line.startswith("{") and (settings := json.loads(line).get("settings")):
            started.add(settings["code_hash"])
    assert set(revisions) <= started, "the service itself says what it ran"


def test_a_revision_that_does_not_exist_is_refused(tool: Tool) -> None:
    refused = tool.bench(*BURST, "--vary", "code=HEAD,no-such-branch")
    assert refused.returncode == 2
    assert "code=no-such-branch: there is no such revision" in refused.stderr
