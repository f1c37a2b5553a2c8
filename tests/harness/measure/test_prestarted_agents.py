"""Agents that start before their trial."""

from __future__ import annotations

import sys

from harness.load.job import Endpoint
from harness.measure.load_controller import LoadController
from harness.rig.connection import RemoteProcess
from tests.support.local_target import LoadHost

from .conftest import FINITE, TAG, Run

ECHO = [sys.executable, "-c", "print(input())"]
ENDPOINT = Endpoint(host="127.0.0.1", port=1)


def answer(process: RemoteProcess) -> list[str]:
    process.send("job")
    process.close()
    return list(process.lines())


def test_a_prestarted_agent_is_used_once() -> None:
    host = LoadHost("load-1")
    with LoadController([host], command=ECHO, endpoint=ENDPOINT) as controller:
        controller.prestart()
        controller.prestart()
        assert len(host.processes) == 1, "a second call starts none"
        first = controller._start_agent(host)
        assert len(host.processes) == 1
        second = controller._start_agent(host)
        assert len(host.processes) == 2
        assert [answer(first), answer(second)] == [["job"], ["job"]]


def test_a_prestarted_agent_that_died_is_replaced() -> None:
    host = LoadHost("load-1")
    with LoadController([host], command=ECHO, endpoint=ENDPOINT) as controller:
        controller.prestart()
        host.processes[0].kill()
        host.processes[0].wait()
        assert answer(controller._start_agent(host)) == ["job"]
    assert len(host.processes) == 2


def test_the_end_of_the_context_ends_prestarted_agents() -> None:
    host = LoadHost("load-1")
    with LoadController([host], command=ECHO, endpoint=ENDPOINT) as controller:
        controller.prestart()
    assert host.processes[0].poll() is not None


def test_a_run_uses_the_prestarted_agents(run: Run) -> None:
    endpoint = Endpoint(host=run.address.host, port=run.address.port)
    with LoadController(run.hosts, command=run.command, endpoint=endpoint) as controller:
        controller.prestart()
        results = controller.run({"main": FINITE}, scratch=run.scratch, tag=TAG, seed=1, began_s=0.0)
    assert results.summaries["main"].measure.ok == 101
    assert [len(host.processes) for host in run.hosts] == [1, 1]
