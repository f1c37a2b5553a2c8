from __future__ import annotations

import sys

import pytest

from harness.standby import Standby
from harness.stations import LocalHost, Stream

AGENT = [sys.executable, "-c", "import os; print(os.getpid(), flush=True); print(input())"]


class Counting(LocalHost):
    """A host that counts what is started on it."""

    def __init__(self) -> None:
        self.started: list[Stream] = []

    def stream(self, command: list[str]) -> Stream:  # type: ignore[override]  # narrower, for a test
        self.started.append(super().stream(command))
        return self.started[-1]


@pytest.fixture
def host() -> Counting:
    return Counting()


def test_an_agent_in_waiting_is_handed_out_once(host: Counting) -> None:
    standby = Standby(host, AGENT)
    standby.get_ready()
    standby.get_ready()
    assert len(host.started) == 1, "one waits, so no other is started"
    first = standby.stream(AGENT)
    assert first is host.started[0]
    second = standby.stream(AGENT)
    assert second is host.started[1], "none waits: one is started as without a standby"
    for stream in (first, second):
        stream.send("job")
        stream.close()
        assert list(stream.lines())[1:] == ["job"]


def test_another_command_is_not_answered_by_the_agent(host: Counting) -> None:
    standby = Standby(host, AGENT)
    standby.get_ready()
    other = standby.stream([sys.executable, "-c", "print('other')"])
    assert list(other.lines()) == ["other"]
    other.close()
    standby.close()
    assert host.started[0].error_output() != "", "it ended with its input, without a job"


def test_closing_lets_the_agent_go_and_another_can_be_had(host: Counting) -> None:
    standby = Standby(host, AGENT)
    standby.close()
    standby.get_ready()
    standby.close()
    assert host.started[0].error_output() != "", "its input ended before a job came"
    standby.get_ready()
    assert len(host.started) == 2
    standby.close()
    assert host.started[1].error_output() != ""
