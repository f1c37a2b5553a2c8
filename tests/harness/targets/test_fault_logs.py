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


class Logging(FakeHost):
    """Has logged one line two seconds ago; the database does not answer."""

    @property
    def host(self) -> object:
        return next(host for host in self.rig.hosts if host.name == self.name)

    def _run(self, command: list[str], stdin: str) -> Result:
        if self.name == "db-1":
            raise RigError("db-1: no answer")
        now_us = round((time.time() + AHEAD_S) * 1e6)
        line = [now_us - 2_000_000, "haproxy.service", "app-1 is DOWN\x1b[1m"]
        return Result(stdout=f"{now_us}\n{json.dumps(line)}\n", stderr="", code=0)


def test_lines_are_on_the_clock_of_the_run_whatever_the_hosts_clocks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = FakeRig(apps=1)
    monkeypatch.setattr(rig, "at", lambda host: Logging(rig, host.name))
    began_s = time.time() - 50
    lines = fault_logs(rig, began_s, began_s + 10)
    assert [(line.host, line.unit) for line in lines] == [
        ("app-1", "haproxy.service"),
        ("lb-1", "haproxy.service"),
        ("db-1", "pgcrucible"),
    ]
    assert all(47e6 <= line.at_us <= 49e6 for line in lines[:2])
    assert lines[0].text == "app-1 is DOWN?[1m"
    assert lines[2].text == "the log was not read: db-1: no answer"
