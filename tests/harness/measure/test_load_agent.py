"""Events of one lane's agents: their state, the commands that they cause, and how long the controller waits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from harness.load.job import Endpoint, Job
from harness.load.spec import LoadSpec, Operation, Warmup
from harness.measure import load_agent
from harness.measure.load_agent import Lane, LoadAgent

SPEC = LoadSpec(
    mode="closed", clients=3, seconds=1.0, operations=(Operation(name="x", path="/x"),),
    warmup=Warmup(seconds=1.0, max_seconds=1.0),
)  # fmt: skip


class FakeProcess:
    """A remote process that prints the given lines and keeps what it receives."""

    def __init__(self, *lines: str, error_output: str = "", alive: bool = True) -> None:
        self._lines, self._error_output, self._alive = lines, error_output, alive
        self.received: list[str] = []

    def send(self, line: str) -> None:
        if not self._alive:
            raise BrokenPipeError
        self.received.append(line)

    def lines(self) -> Iterator[str]:
        yield from self._lines

    def error_output(self) -> str:
        return self._error_output


def agent(process: FakeProcess, number: int = 0, spec: LoadSpec = SPEC) -> LoadAgent:
    job = Job.of(
        spec, target=Endpoint(host="h", port=1), load_host=f"load-{number + 1}", run_tag="t", out="/o",
        host_index=number, host_count=3,
    )  # fmt: skip
    connection: Any = SimpleNamespace(name=f"load-{number + 1}")
    return LoadAgent(lane="main", number=number, connection=connection, job=job, process=process)  # type: ignore[arg-type]


def listen(*processes: FakeProcess) -> tuple[list[LoadAgent], list[tuple[str, Any]]]:
    """Runs a lane of these processes until all have ended; the agents and the reported progress."""
    progress: list[tuple[str, Any]] = []
    lane = Lane("main", len(processes), SPEC, lambda name, event: progress.append((name, event["second"])))
    lane.agents += [agent(process, number) for number, process in enumerate(processes)]
    for one in lane.agents:
        lane.listen(one)
    return lane.agents, progress


def line(event: str, **more: Any) -> str:
    return json.dumps({"event": event, **more})


def steps(*numbers: int) -> list[str]:
    return [line("step", step=number, done=100, p95_ms=5.0) for number in numbers]


def test_events_set_the_state_of_their_agent() -> None:
    clock = {"boot_id": "k", "monotonic_us": 5}
    process = FakeProcess(line("ready", clock=clock), line("progress", second=3), line("done", summary={}))
    (one,), progress = listen(process)
    assert (one.clock, one.done, one.error) == (clock, True, "")
    assert one.offset_us == one.ready_us - 5
    assert progress == [("main", 3)]
    assert one.ready.is_set()
    assert one.ended.is_set()
    assert process.received == [], "the controller sends `go`, not the lane"


@pytest.mark.parametrize(
    ("process", "error"),
    [
        (FakeProcess(line("error", message="disk full"), error_output="x"), "disk full"),
        (FakeProcess(error_output="Traceback\nno module\n"), "no module"),
        (FakeProcess(), "it exited without an error message"),
        (FakeProcess("{"), "JSONDecodeError: "),
    ],
)
def test_an_agent_that_ends_without_results_has_an_error(process: FakeProcess, error: str) -> None:
    (one,), _ = listen(process)
    assert not one.done
    assert one.error.startswith(error)
    assert one.ready.is_set(), "the controller does not wait for it"


def test_the_end_of_the_warmup_goes_to_all_agents_and_a_dead_one_is_skipped() -> None:
    first, dead, third = FakeProcess(*steps(0)), FakeProcess(*steps(0), alive=False), FakeProcess(*steps(0))
    listen(first, dead, third)
    assert first.received == third.received == ["measure 2"]


def test_events_of_one_lane_are_handled_one_at_a_time() -> None:
    """Two agents that report the same step would both end the warm-up."""
    inside, most = 0, 0

    def handle(*_: object) -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return ""

    lane = Lane("main", 2, SPEC, lambda *_: None)
    lane._coordinator = SimpleNamespace(handle=handle)  # type: ignore[assignment]
    lane.agents += [agent(FakeProcess(*steps(0, 1, 2)), number) for number in range(2)]
    threads = [threading.Thread(target=lane.listen, args=(one,)) for one in lane.agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"GRACE_S": -31.6}, "the load agent did not end within 0 s"),
        ({"SILENT_S": -29.9}, "the load agent sent no event for 0 s"),
    ],
)
def test_an_agent_that_never_ends_is_given_up(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, float], message: str
) -> None:
    monkeypatch.setattr(load_agent, "SILENT_S", 60.0)
    for name, value in limits.items():
        monkeypatch.setattr(load_agent, name, value)
    assert agent(FakeProcess()).wait(time.monotonic() - 1.0) == message
