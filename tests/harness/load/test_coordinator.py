from __future__ import annotations

from typing import Any

import pytest

from harness.load.coordinator import AHEAD_MS, Coordinator
from harness.load.spec import Warmup
from harness.load.steady_state import STEP_MS
from harness.scenarios.increment_workload import warmup


def stepped(step: int, done: int = 100, p95: float = 5.0) -> dict[str, Any]:
    return {"event": "step", "step": step, "done": done, "p95_ms": p95}


def heard(lead: Coordinator, agents: int = 1, growth: float = 1.0) -> tuple[str, float] | None:
    """What is said first, and after how many seconds; each agent's rate grows by that much a step."""
    for step in range(200):
        for agent in range(agents):
            if said := lead.handle(agent, stepped(step, round(100 * growth**step))):
                assert agent == agents - 1
                return said[0], (step + 1) * STEP_MS / 1000
    return None


def test_all_are_released_when_the_last_is_ready() -> None:
    lead = Coordinator(3, None)
    assert lead.handle(0, {"event": "ready"}) == []
    assert lead.handle(2, {"event": "ready"}) == []
    assert lead.handle(1, {"event": "ready"}) == ["go"]
    assert lead.handle(1, {"event": "ready"}) == []


def test_a_steady_warmup_ends_for_all_in_the_same_second() -> None:
    lead = Coordinator(2, Warmup(seconds=2.0, max_seconds=30.0))
    assert heard(lead, agents=2) == ("measure 3", 1.25)
    assert lead.measuring
    assert lead.handle(0, stepped(9)) == []


def test_a_steady_load_is_measured_after_the_least_of_a_default_warmup() -> None:
    default = warmup(4.0)
    assert heard(Coordinator(1, default, ahead_ms=STEP_MS)) == ("measure 2", 1.25)
    assert heard(Coordinator(1, default, ahead_ms=STEP_MS), growth=1.3) == ("measure 4", 3.75)


@pytest.mark.parametrize(
    ("ahead_ms", "least", "growth", "said"),
    [
        (STEP_MS, 8.0, 1.0, ("measure 8", 7.0)),
        (AHEAD_MS, 8.0, 1.0, ("measure 8", 6.25)),
        (STEP_MS, 2.0, 1.3, ("measure 9", 8.75)),
        (AHEAD_MS, 2.0, 1.3, ("measure 9", 8.0)),
    ],
)
def test_a_warmup_lasts_its_least_seconds_and_at_most_its_most(
    ahead_ms: int, least: float, growth: float, said: tuple[str, float]
) -> None:
    assert heard(Coordinator(1, Warmup(seconds=least, max_seconds=9.0), ahead_ms=ahead_ms), growth=growth) == said


def test_a_glance_is_over_when_its_second_is() -> None:
    assert heard(Coordinator(1, Warmup(seconds=1.0, max_seconds=1.0), ahead_ms=STEP_MS)) == ("measure 1", 0.75)
    assert heard(Coordinator(1, Warmup(seconds=1.0, max_seconds=1.0))) == ("measure 2", 0.25)


def test_it_ends_when_all_are_done() -> None:
    lead = Coordinator(2, None)
    lead.handle(0, {"event": "done", "summary": {"n": 0}})
    assert not lead.finished
    lead.handle(1, {"event": "done", "summary": {"n": 1}})
    assert lead.finished
    lead.lost(0)
    assert lead.error == ""


def test_one_that_fails_or_dies_spoils_the_trial() -> None:
    lead = Coordinator(3, None)
    lead.handle(0, {"event": "done", "summary": {}})
    lead.lost(2)
    assert lead.finished
    assert lead.error == "load agent 3 of 3 ended before its results were complete"
    other = Coordinator(2, None)
    other.handle(1, {"event": "error", "message": "cannot connect"})
    assert other.finished
    assert other.error == "cannot connect"
