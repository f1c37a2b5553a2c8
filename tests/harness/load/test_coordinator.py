from __future__ import annotations

from typing import Any

import pytest

from harness.load.coordinator import AHEAD_MS, Coordinator
from harness.load.spec import Warmup
from harness.load.steady_state import STEP_MS
from harness.scenarios.increment_workload import warmup


def step_event(step: int, done: int = 5000, p95: float = 5.0) -> dict[str, Any]:
    return {"event": "step", "step": step, "done": done, "p95_ms": p95}


def first_command(coordinator: Coordinator, agents: int = 1, growth: float = 1.0) -> tuple[str, float] | None:
    """The first command and after how many seconds it comes; each agent's rate grows by `growth` per step."""
    for step in range(200):
        for agent in range(agents):
            if command := coordinator.handle(agent, step_event(step, round(5000 * growth**step))):
                assert agent == agents - 1
                return command, (step + 1) * STEP_MS / 1000
    return None


def test_a_steady_warmup_ends_in_the_same_second_for_all() -> None:
    coordinator = Coordinator(2, Warmup(seconds=2.0, max_seconds=30.0))
    assert first_command(coordinator, agents=2) == ("measure 5", 3.25)
    assert coordinator.measuring
    assert coordinator.handle(0, step_event(9)) == ""


def test_a_steady_load_ends_the_default_warmup_early() -> None:
    default = warmup(4.0)
    assert first_command(Coordinator(1, default, ahead_ms=STEP_MS)) == ("measure 4", 3.25)
    assert first_command(Coordinator(1, default, ahead_ms=STEP_MS), growth=1.3) == ("measure 9", 8.75)


@pytest.mark.parametrize(
    ("ahead_ms", "least", "growth", "expected"),
    [
        (STEP_MS, 8.0, 1.0, ("measure 8", 7.0)),
        (AHEAD_MS, 8.0, 1.0, ("measure 8", 6.25)),
        (STEP_MS, 2.0, 1.3, ("measure 9", 8.75)),
        (AHEAD_MS, 2.0, 1.3, ("measure 9", 8.0)),
    ],
)
def test_a_warmup_lasts_between_its_minimum_and_maximum(
    ahead_ms: int, least: float, growth: float, expected: tuple[str, float]
) -> None:
    assert (
        first_command(Coordinator(1, Warmup(seconds=least, max_seconds=9.0), ahead_ms=ahead_ms), growth=growth)
        == expected
    )


def test_a_warmup_of_one_second_lasts_one_second() -> None:
    assert first_command(Coordinator(1, Warmup(seconds=1.0, max_seconds=1.0), ahead_ms=STEP_MS)) == ("measure 1", 0.75)
    assert first_command(Coordinator(1, Warmup(seconds=1.0, max_seconds=1.0))) == ("measure 2", 0.25)


def test_without_a_warmup_and_on_other_events_there_is_no_command() -> None:
    assert Coordinator(1, None).handle(0, step_event(99)) == ""
    coordinator = Coordinator(1, Warmup(seconds=1.0, max_seconds=1.0))
    assert coordinator.handle(0, {"event": "progress", "step": 99, "done": 1, "p95_ms": 1.0}) == ""
