from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.measure.prestarted_agent import PrestartedAgent
from harness.rig.connection import LocalConnection, RemoteProcess

AGENT = [sys.executable, "-c", "print(input())"]


class Counting(LocalConnection):
    """A host that counts what is started on it."""

    def __init__(self) -> None:
        self.started: list[RemoteProcess] = []

    def stream(self, command: Sequence[str]) -> RemoteProcess:
        self.started.append(super().stream(command))
        return self.started[-1]


def job(stream: RemoteProcess) -> list[str]:
    """What it makes of a job."""
    stream.send("job")
    stream.close()
    return list(stream.lines())


def test_an_agent_in_waiting_is_handed_out_once() -> None:
    host = Counting()
    standby = PrestartedAgent(host, AGENT)
    standby.get_ready()
    standby.get_ready()
    assert len(host.started) == 1, "one waits, so no other is started"
    first, second = standby.stream(AGENT), standby.stream(AGENT)
    assert [first, second] == host.started, "after it one is started as without a standby"
    assert [job(first), job(second)] == [["job"], ["job"]]


def test_another_command_is_not_answered_by_the_agent() -> None:
    host = Counting()
    standby = PrestartedAgent(host, AGENT)
    standby.get_ready()
    other = standby.stream([sys.executable, "-c", "print('other')"])
    other.close()
    assert list(other.lines()) == ["other"]
    standby.close()
    assert host.started[0].has_ended()


def test_one_that_died_while_it_waited_is_replaced() -> None:
    host = Counting()
    standby = PrestartedAgent(host, AGENT)
    standby.get_ready()
    host.started[0].end()
    assert job(standby.stream(AGENT)) == ["job"]
    assert len(host.started) == 2


def test_closing_lets_the_agent_go_and_another_can_be_had() -> None:
    host = Counting()
    standby = PrestartedAgent(host, AGENT)
    standby.close()
    standby.get_ready()
    standby.close()
    assert host.started[0].has_ended()
    standby.get_ready()
    assert len(host.started) == 2
    standby.close()
    assert host.started[1].has_ended()
