"""The samplers of a rig whose hosts are this machine: lines, restarts of lost streams, and their end."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import pytest

from harness.model import Host
from harness.targets import samplers
from harness.targets.samplers import SamplerLine, Samplers, job, read_line
from tests.harness.targets.test_telemetry import WAIT_S, MakeRig, make_rig, until

__all__ = ["make_rig"]


@pytest.mark.parametrize(
    "line", ["", "Traceback", "[]", "7", "null", "{}", '{"order": 1}', '{"order": 1, "metrics": {"a": "x"}}']
)
def test_an_invalid_line_of_the_sampler_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_line(line, "app-1")


def test_a_line_belongs_to_its_host_or_to_the_server_that_it_names() -> None:
    assert read_line('{"order": 3, "metrics": {"a": 1}}', "lb-1") == SamplerLine(
        host="lb-1", order=3, metrics={"a": 1.0}
    )
    assert read_line('{"order": 0, "metrics": {}, "server": "app-2"}', "lb-1").host == "app-2"
    assert read_line('{"order": 0, "metrics": {}, "server": ""}', "lb-1").host == "lb-1"


@pytest.mark.parametrize(
    ("role", "variables", "wanted"),
    [
        ("app", {"app_port": 3001, "app_workers": 1}, {"ports": [3001], "units": ["pgcrucible-app@1.service"]}),
        (
            "app",
            {"app_port": "4000", "app_workers": "2"},
            {"ports": [4000, 4001], "units": [f"pgcrucible-app@{n}.service" for n in (1, 2)]},
        ),
        ("lb", {}, {"haproxy": "/run/haproxy/admin.sock", "units": ["haproxy.service"]}),
        ("db", {}, {"units": ["postgresql@*.service"]}),
        ("load", {}, {}),
    ],
)
def test_the_samplers_job_depends_on_the_role(role: Any, variables: Any, wanted: Any) -> None:
    assert job(Host(name="x", role=role, address="", ssh_address=""), variables) == wanted


def test_the_end_of_the_controller_ends_the_samplers(make_rig: MakeRig) -> None:
    rig, taken = make_rig(), list[SamplerLine]()
    with contextlib.suppress(KeyboardInterrupt), Samplers(rig, taken.append, pytest.fail):
        until(lambda: len({reading.host for reading in taken}) == 4, "every host is read")
        raise KeyboardInterrupt
    assert [process.wait(WAIT_S) for process in rig.processes()] == [0, 0, 0, 0]


def test_a_stream_that_ends_is_started_again_in_the_current_trial(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "RESTART_S", 0.1)
    rig, taken, lost = make_rig(), list[SamplerLine](), list[str]()
    with Samplers(rig, taken.append, lost.append) as running:
        until(lambda: len({reading.host for reading in taken}) == 4, "every host is read")
        running.begin(3)
        rig.opened["app-1"].streams[0]._process.kill()
        until(lambda: len(rig.opened["app-1"].streams) == 2, "it is started again")
        until(lambda: any((line.host, line.order) == ("app-1", 3) for line in taken), "its lines are of the trial")
    assert lost == ["app-1: the sampler ended"]


def test_a_stream_without_lines_is_lost_and_started_again(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is paused or unreachable ends no stream: its readings were missing for the rest of the run."""
    monkeypatch.setattr(samplers, "SILENT_S", 3.0)
    monkeypatch.setattr(samplers, "WATCH_S", 0.1)
    monkeypatch.setattr(samplers, "RESTART_S", 0.1)
    rig, taken, lost = make_rig(), list[SamplerLine](), list[str]()
    with Samplers(rig, taken.append, lost.append):
        until(lambda: len({reading.host for reading in taken}) == 4, "every host is read")
        rig.opened["lb-1"].streams[0]._process.send_signal(signal.SIGSTOP)
        until(lambda: "lb-1: the sampler gave no line for 3 s" in lost, "its silence is seen")
        taken.clear()
        until(lambda: "lb-1" in {reading.host for reading in taken}, "it is read again")


def test_a_host_that_stays_lost_is_reported_once(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "RESTART_S", 0.05)
    rig, lost = make_rig(dead=("app-1",)), list[str]()
    with Samplers(rig, lambda _: None, lost.append):
        until(lambda: len(rig.opened["app-1"].streams) >= 3, "it was started again and again")
    assert lost == ["app-1: no python here"]
