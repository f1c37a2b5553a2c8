from __future__ import annotations

from typing import Any

from harness.load.conduct import AHEAD, Conductor
from harness.load.job import Warmup


def progress(second: int, ok: int = 100, p95: float = 5.0, phase: str = "warmup") -> dict[str, Any]:
    return {"event": "progress", "second": second, "phase": phase, "ok": ok, "fail": 0, "unknown": 0, "p95_ms": p95}


def test_all_are_released_when_the_last_is_ready() -> None:
    lead = Conductor(3, None)
    assert lead.feed(0, {"event": "ready"}) == []
    assert lead.feed(2, {"event": "ready"}) == []
    assert lead.feed(1, {"event": "ready"}) == ["go"]
    assert lead.feed(1, {"event": "ready"}) == []


def test_a_steady_warmup_ends_for_all_in_the_same_second() -> None:
    lead = Conductor(2, Warmup(seconds=4.0, max_seconds=30.0))
    said = [lead.feed(agent, progress(second)) for second in range(6) for agent in (1, 0)]
    assert [line for lines in said for line in lines] == said[7] == [f"measure {3 + 1 + AHEAD}"]
    assert lead.measuring


def test_a_warmup_lasts_its_least_seconds_and_at_most_its_most() -> None:
    lead = Conductor(1, Warmup(seconds=8.0, max_seconds=30.0))
    assert [second for second in range(12) if lead.feed(0, progress(second))] == [7]
    restless = Conductor(1, Warmup(seconds=2.0, max_seconds=9.0))
    said = [restless.feed(0, progress(second, ok=100 * 2**second)) for second in range(12)]
    assert [line for lines in said for line in lines] == ["measure 9"]


def test_it_ends_when_all_are_done() -> None:
    lead = Conductor(2, None)
    lead.feed(0, {"event": "done", "summary": {"n": 0}})
    assert not lead.finished
    lead.feed(1, {"event": "done", "summary": {"n": 1}})
    assert lead.finished
    lead.lost(0)
    assert lead.error == ""


def test_one_that_fails_or_dies_spoils_the_trial() -> None:
    lead = Conductor(3, None)
    lead.feed(0, {"event": "done", "summary": {}})
    lead.lost(2)
    assert lead.finished
    assert lead.error == "load agent 3 of 3 ended before its results were complete"
    other = Conductor(2, None)
    other.feed(1, {"event": "error", "message": "cannot connect"})
    assert other.finished
    assert other.error == "cannot connect"
