"""Merges the events of one load host's processes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.load.worker_group import WorkerGroup


def second(number: int) -> dict[str, Any]:
    counts = dict.fromkeys(("sent", "ok", "fail", "unknown"), 1)
    return {"event": "progress", "second": number, "phase": "measure", **counts, "p50_ms": 1, "p95_ms": 1, "p99_ms": 1}


async def test_seconds_are_reported_after_one_process_has_ended() -> None:
    """The controller takes a long silence for a host that is gone."""
    emitted: list[dict[str, Any]] = []
    group = WorkerGroup(SimpleNamespace(processes=2), emitted.append)  # type: ignore[arg-type]
    group._processes = [SimpleNamespace(), SimpleNamespace()]  # type: ignore[list-item]
    for number, event in (
        (0, second(0)), (1, second(0)), (1, second(1)), (1, second(2)), (0, {"event": "done"}),
        (1, second(3)), (1, {"event": "done"}), (0, None), (1, None),
    ):  # fmt: skip
        group._events.put_nowait((number, event))
    assert await group.watch()
    assert [(event["second"], event["sent"]) for event in emitted] == [(0, 2), (1, 1), (2, 1), (3, 1)]


async def test_hosts_and_errors_of_all_processes_are_added() -> None:
    emitted: list[dict[str, Any]] = []
    group = WorkerGroup(SimpleNamespace(processes=2), emitted.append)  # type: ignore[arg-type]
    group._progress(second(0) | {"hosts": {"app-1": 2}, "errors": {}})
    group._progress(second(0) | {"hosts": {"app-1": 1, "app-2": 5}, "errors": {"timeout": 1}})
    (event,) = emitted
    assert (event["hosts"], event["errors"]) == ({"app-1": 3, "app-2": 5}, {"timeout": 1})


async def test_warmup_steps_of_all_processes_are_merged() -> None:
    emitted: list[dict[str, Any]] = []
    group = WorkerGroup(SimpleNamespace(processes=2), emitted.append)  # type: ignore[arg-type]
    for step, done, p95_ms in ((0, 30, 5.0), (1, 9, None), (0, 40, 7.0), (1, 8, None)):
        group._progress({"event": "step", "step": step, "done": done, "p95_ms": p95_ms})
    assert emitted == [
        {"event": "step", "step": 0, "done": 70, "p95_ms": 7.0},
        {"event": "step", "step": 1, "done": 17, "p95_ms": None},
    ]
