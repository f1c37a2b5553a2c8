"""The logs of a rig on the clock of a run."""

from __future__ import annotations

import json
import time

import pytest

from harness.errors import RigError
from harness.rig.connection import Result
from harness.targets.fault_logs import fault_logs
from tests.support.fake_rig import FakeHost, FakeRig

AHEAD_S = 1000.0
"""The clocks of the hosts are ahead of this machine's."""


class RigWithLogs(FakeRig):
    """`since_s`: the instant since which lines were asked for, by this machine's clock."""

    since_s = 0.0


class Logging(FakeHost):
    """Has logged one line two seconds ago; the database does not answer."""

    rig: RigWithLogs

    @property
    def host(self) -> object:
        return next(host for host in self.rig.hosts if host.name == self.name)

    def _run(self, command: list[str], stdin: str) -> Result:
        if self.name == "db-1":
            raise RigError("db-1: no answer")
        now_s = time.time() + AHEAD_S
        if command[0] == "date":
            return Result(stdout=f"{now_s}\n", stderr="", code=0)
        self.rig.since_s = json.loads(command[-1])["since_s"] - AHEAD_S
        line = [round((now_s - 2) * 1e6), "haproxy.service", "app-1 is DOWN\x1b[1m"]
        return Result(stdout=f"{json.dumps(line)}\n", stderr="", code=0)


def test_lines_are_on_the_clock_of_the_run_whatever_the_hosts_clocks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = RigWithLogs(apps=1)
    monkeypatch.setattr(rig, "at", lambda host: Logging(rig, host.name))
    began_s = time.time() - 50
    lines = fault_logs(rig, began_s, began_s + 10)
    at = {line.host: line for line in lines}  # the hosts are read at the same time, so either may be first
    assert sorted((line.host, line.unit) for line in lines[:2]) == [
        ("app-1", "haproxy.service"),
        ("lb-1", "haproxy.service"),
    ]
    assert [(line.host, line.unit) for line in lines[2:]] == [("db-1", "pgcrucible")]
    assert all(47e6 <= line.at_us <= 49e6 for line in lines[:2])
    assert abs(rig.since_s - (began_s + 10)) < 1
    assert at["app-1"].text == "app-1 is DOWN?[1m"
    assert lines[2].text == "the log was not read: db-1: no answer"
