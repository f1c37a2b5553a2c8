"""A bench of two load hosts on this machine and a real service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.load.spec import LoadSpec
from harness.measure.runner import bench
from harness.model import Cell, Finding, Trial
from harness.plan.planner import Plan
from harness.plan.scenario import Scenario
from harness.record import TrialResult
from harness.scenarios.increment_workload import check_counters, increment
from harness.store.manifest import CodeRecord, FindingRecord, RigRecord
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from tests.support.local_target import LocalTarget

SCENARIO = Scenario(
    name="counting",
    question="Does it count?",
    criteria=(),
    cells=lambda *_: [],
    workload=lambda trial: {
        "main": LoadSpec(
            mode=trial.cell.mode, clients=4, requests=trial.cell.requests, seconds=trial.cell.seconds,
            rate=trial.cell.rate,
            operations=(increment(trial.cell.strategy, idempotency=trial.cell.requests is not None),),
        )
    },
    check=check_counters,
    timing_matters=False,
)  # fmt: skip
SCENARIOS = {"counting": SCENARIO}
SHORT, LONG = (Cell(scenario="counting", clients=4, requests=40, params={"n": 1}),
               Cell(scenario="counting", clients=4, seconds=4.0, params={"n": 2}))  # fmt: skip


def plan(*cells: Cell) -> Plan:
    return Plan(trials=tuple(Trial(cell=c, number=1, order=n, seed=n) for n, c in enumerate(cells, start=1)))


class Bench:
    """`go(plan)` runs a bench, or resumes the `earlier` run; `lines`: what it printed."""

    def __init__(self, target: LocalTarget, root: Path) -> None:
        self.target, self.root, self.lines = target, root, list[str]()
        self.writer: RunWriter | None = None

    def go(self, plan: Plan, watch: Callable[[str], None] = lambda _: None, *, earlier: Run | None = None) -> Run:
        def echo(line: str) -> None:
            self.lines.append(line)
            watch(line)

        if earlier:
            self.writer = RunWriter.resume(earlier)
        else:
            code = CodeRecord(commit="", dirty=False, command="", seed=1)
            self.writer = RunWriter.start(self.root, code=code, rig=RigRecord(name="t", provider="url"), options={})
        rows = earlier.rows if earlier else ()
        return bench(plan, SCENARIOS, self.target, self.writer, echo, earlier=rows)

    def stored(self) -> Run:
        assert self.writer is not None
        return load_run(self.writer.path)


def verdicts(findings: Iterable[Finding | FindingRecord]) -> dict[tuple[str, str], str]:
    return {(f.cell, f.check): f.verdict for f in findings}


def doubled(results: Sequence[TrialResult]) -> list[Cell]:
    """Twice the requests of the last trial, up to 160."""
    last = results[-1].cell
    return [replace(last, requests=2 * last.requests)] if last.requests and last.requests < 160 else []
