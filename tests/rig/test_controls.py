"""The service with an error in its code, on the shared rig: each is found, named and gone afterwards."""

from __future__ import annotations

import re

import pytest

from harness.plan.fault_schedule import CONTROLS
from harness.provision.revision import CONTROL, DROP_IN
from harness.rig.rig import Rig
from harness.store.run_reader import load_run
from harness.targets.app_workers import AppWorkers
from tests.conftest import Tool

NAMED = {
    "early-answer": r"\d+ lost: (\S+) on '\S+' was acknowledged, but the ledger does not have it",
    "pool-leak": r"db-crash on db-1: no request succeeded in \S+ s after",
}


@pytest.mark.parametrize("name", NAMED)
def test_a_service_with_an_error_is_found_and_leaves_nothing(tool: Tool, hosts: Rig, name: str) -> None:
    done = tool.bench("--scenario", "faults", "--control", name)
    assert done.returncode == 1, done.stdout + done.stderr
    run = load_run((tool.results / "latest").resolve())
    assert {row.cell.code for row in run.rows} == {f"{CONTROL}-{name}"}
    (finding,) = [one for one in run.findings if one.check == CONTROLS[name].check and one.verdict == "fail"]
    assert re.search(NAMED[name], finding.detail)
    for worker, body in AppWorkers(hosts).metrics().items():
        assert body["code"] == hosts.state.code_hash, f"{worker} runs as provisioned afterwards"
    for host in hosts.role("app"):
        left = hosts.at(host).run(
            ["sh", "-c", f"ls -d {DROP_IN} /opt/pgcrucible/revisions/{CONTROL}-* 2> /dev/null; :"]
        )
        assert left.stdout == ""
