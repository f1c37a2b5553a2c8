"""What the processes of one load host say together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.load.worker_group import WorkerGroup


def second(number: int) -> dict[str, Any]:
    counts = dict.fromkeys(("sent", "ok", "fail", "unknown"), 1)
    return {"event": "progress", "second": number, "phase": "measure", **counts, "p50_ms": 1, "p95_ms": 1, "p99_ms": 1}


async def test_a_process_that_ends_first_does_not_silence_the_other() -> None:
    """Whoever listens takes long silence for a host that is gone."""
    said: list[dict[str, Any]] = []
    crew = WorkerGroup(SimpleNamespace(processes=2), said.append)  # type: ignore[arg-type]
    crew._processes = [SimpleNamespace(), SimpleNamespace()]  # type: ignore[list-item]
    for number, event in (
        (0, second(0)), (1, second(0)), (1, second(1)), (1, second(2)), (0, {"event": "done"}),
        (1, second(3)), (1, {"event": "done"}), (0, None), (1, None),
    ):  # fmt: skip
        crew._events.put_nowait((number, event))
    assert await crew.listen()
    assert [(event["second"], event["sent"]) for event in said] == [(0, 2), (1, 1), (2, 1), (3, 1)]


async def test_the_steps_of_a_warmup_are_told_together() -> None:
    said: list[dict[str, Any]] = []
    crew = WorkerGroup(SimpleNamespace(processes=2), said.append)  # type: ignore[arg-type]
    for step, done, p95_ms in ((0, 30, 5.0), (1, 9, None), (0, 40, 7.0), (1, 8, None)):
        crew._progress({"event": "step", "step": step, "done": done, "p95_ms": p95_ms})
    assert said == [
        {"event": "step", "step": 0, "done": 70, "p95_ms": 7.0},
        {"event": "step", "step": 1, "done": 17, "p95_ms": None},
    ]
