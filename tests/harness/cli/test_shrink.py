"""`bench --fault mixed --shrink`: which sets of faults are run, what is printed, and how it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import shrink
from harness.cli.shrink import MOST_RUNS, run_shrink
from harness.errors import CriterionFailed, InvalidMeasurement, UsageError
from harness.model import Cell, RunVerdict, Trial
from harness.plan.fault_schedule import is_mixed, schedule
from harness.plan.options import BenchRequest
from harness.plan.planner import Plan
from harness.scenarios import SCENARIOS

WHOLE = schedule(Cell(scenario="faults", hosts=4, seconds=120.0, params={"fault": "mixed", "seed": 7}))


class Benches:
    """Runs whose verdict is a function of the faults that they inject."""

    def __init__(self, verdict: Callable[[set[int]], RunVerdict], strategies: int = 1) -> None:
        self.verdict, self.strategies = verdict, strategies
        self.sets: list[tuple[int, ...]] = []

    @contextlib.contextmanager
    def prepare(self, request: BenchRequest) -> Iterator[Any]:
        (fault,) = request.faults
        assert is_mixed(fault)
        assert request.texts["fault"] == fault
        assert not request.shrink
        params = {"fault": fault, "seed": 7}
        cell = Cell(scenario="faults", hosts=4, seconds=120.0, mode="open", rate=50.0, params=params)
        cells = [replace(cell, strategy=f"s{number}") for number in range(self.strategies)]
        trials = tuple(Trial(cell=cell, number=1, order=n, seed=1) for n, cell in enumerate(cells))
        yield SimpleNamespace(request=request, plan=Plan(trials=trials), fault=fault)

    def execute(self, prepared: Any) -> Any:
        kept = [int(number) for number in prepared.fault.partition(":")[2].split("+") if number]
        self.sets.append(tuple(kept) or tuple(range(len(WHOLE))))
        verdict = self.verdict(set(self.sets[-1]))
        return SimpleNamespace(
            run_id=f"run-{len(self.sets)}", manifest=SimpleNamespace(verdict=verdict), findings=[], rows=[]
        )


def shrunk(
    monkeypatch: pytest.MonkeyPatch, benches: Benches, fault: str = "mixed", **texts: object
) -> tuple[Exception | None, list[str]]:
    lines: list[str] = []
    for name, made in (
        ("prepare", benches.prepare), ("execute", benches.execute), ("say", lines.append),
        ("show", lambda run: lines.append(f"shown: {run.run_id}")),
    ):  # fmt: skip
        monkeypatch.setattr(shrink, name, made)
    request = BenchRequest.parse(
        {"fault": fault, "shrink": True, "seconds": "120", "seed": "7", **texts}, known_scenarios=SCENARIOS
    )
    try:
        run_shrink(request)
    except (CriterionFailed, InvalidMeasurement, UsageError) as error:
        return error, lines
    return None, lines


def test_it_ends_with_the_fewest_faults_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    benches = Benches(lambda faults: "fail" if {1, 4} <= faults else "pass")
    error, lines = shrunk(monkeypatch, benches)
    assert isinstance(error, CriterionFailed)
    assert benches.sets[0] == tuple(range(len(WHOLE)))
    assert benches.sets[-1] == (1, 4)
    assert benches.sets.count((1, 4)) == 3
    at = lines.index("the fewest faults that still fail: they failed in 3 of 3 tries")
    assert lines[at + 1 : at + 3] == [
        f"  {WHOLE[number].fault} at {WHOLE[number].at_s:g} s for {WHOLE[number].hold_s:g} s" for number in (1, 4)
    ]
    assert "again: ./run bench --fault mixed:1+4 --seconds 120 --seed 7" in lines
    assert lines[-1] == f"shown: run-{len(benches.sets)}"


def test_it_says_how_often_the_fewest_faults_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[RunVerdict] = ["fail", "pass", "unknown"]
    benches = Benches(
        lambda faults: "fail" if len(faults) > 1 and 2 in faults else alone.pop(0) if faults == {2} else "pass"
    )
    _, lines = shrunk(monkeypatch, benches)
    assert "the fewest faults that still fail: they failed in 1 of 3 tries" in lines


def test_a_reduced_schedule_is_reduced_further(monkeypatch: pytest.MonkeyPatch) -> None:
    benches = Benches(lambda faults: "fail" if 5 in faults else "pass")
    _, lines = shrunk(monkeypatch, benches, "mixed:2+3+5")
    assert "again: ./run bench --fault mixed:5 --seconds 120 --seed 7" in lines
    assert f"  {WHOLE[5].fault} at {WHOLE[5].at_s:g} s for {WHOLE[5].hold_s:g} s" in lines


@pytest.mark.parametrize(("verdict", "kind"), [("pass", UsageError), ("unknown", InvalidMeasurement)])
def test_a_schedule_that_does_not_fail_is_not_reduced(
    monkeypatch: pytest.MonkeyPatch, verdict: RunVerdict, kind: type[Exception]
) -> None:
    benches = Benches(lambda _: verdict)
    error, _ = shrunk(monkeypatch, benches)
    assert isinstance(error, kind)
    assert len(benches.sets) == 1
    assert verdict != "pass" or "there is nothing to reduce" in str(error)


def test_the_runs_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = set(range(len(WHOLE)))
    benches = Benches(lambda faults: "fail" if faults == everything else "pass")
    _, lines = shrunk(monkeypatch, benches)
    assert len(benches.sets) <= MOST_RUNS
    assert any(line.startswith("the fewest faults that still fail (after") for line in lines)


def test_several_schedules_are_not_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    error, _ = shrunk(monkeypatch, Benches(lambda _: "fail", strategies=2))
    assert isinstance(error, UsageError)


def test_a_dry_run_prints_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    benches, printed = Benches(lambda _: "fail"), list[object]()
    monkeypatch.setattr(shrink, "show_plan", printed.append)
    assert shrunk(monkeypatch, benches, dry_run=True)[0] is None
    assert (len(printed), benches.sets) == (1, [])
