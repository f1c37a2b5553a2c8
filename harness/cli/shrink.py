"""`bench --fault mixed --shrink`: reduces a failing schedule of faults to the fewest that still fail.

A kernel replays a schedule, not an interleaving, so a set of faults counts as failing if one of a few tries fails, and
how often it did is printed. Each try is an ordinary run with the faults at their instants, stored whole.
"""

from __future__ import annotations

import dataclasses

from harness.cli.bench import end_with, execute, prepare, show_plan
from harness.cli.console import complain, say
from harness.cli.runs import show
from harness.errors import RigError, UsageError
from harness.model import Cell
from harness.plan.fault_schedule import reduced, schedule
from harness.plan.options import BenchRequest
from harness.plan.shrink import ddmin
from harness.store.run_reader import Run
from harness.text import plural

TRIES = 2
"""Runs of a set until it counts as passing."""
LAST_TRIES = 3
"""Runs of the smallest set, those that found it included: how often it fails."""
MOST_RUNS = 60
"""Two hours or more; what was found by then is printed."""


def run_shrink(request: BenchRequest) -> Run | None:
    """Runs the schedule, then smaller ones; returns the last run that failed. None after a dry run.

    Raises UsageError where the whole schedule passes, InvalidMeasurement where it neither passes nor fails, and
    CriterionFailed for the smallest set that fails, as every bench does.
    """
    return _Shrinking(request).run()


class _Shrinking:
    def __init__(self, request: BenchRequest) -> None:
        self._request = dataclasses.replace(request, shrink=False)
        self._planned: tuple[int, ...] = ()
        """The numbers of the whole schedule's faults."""
        self._failed: dict[tuple[int, ...], list[Run]] = {}
        self._tries: dict[tuple[int, ...], int] = {}

    def run(self) -> Run | None:
        """See run_shrink."""
        with prepare(self._request) as prepared:
            if prepared.request.dry_run:
                show_plan(prepared)
                return None
            cell, *others = {t.cell.name: t.cell for t in prepared.plan.trials if schedule(t.cell)}.values()
            if others:
                raise UsageError("--shrink reduces one schedule", hint="give one --strategy")
            first = execute(prepared)
        everything = tuple(range(len(schedule(cell))))
        kept = [int(number) for number in str(cell.params["fault"]).partition(":")[2].split("+") if number]
        self._planned = tuple(kept) or everything
        if not self._count(everything, first):
            show(first)
            if first.manifest.verdict != "pass":
                end_with(first)
            raise UsageError(
                f"--shrink: the schedule of {plural(len(everything), 'fault')} passed: there is nothing to reduce",
                hint="choose another --seed, or more --seconds",
            )
        smallest = ddmin(len(everything), self._fails)
        while self._tries[smallest] < LAST_TRIES and self._may_run():
            self._try(smallest)
        self._print(smallest, cell)
        run = self._failed[smallest][-1]
        try:
            show(run)
        except RigError as error:  # the run is stored, and its verdict counts
            complain(f"warning: the report was not written: {error.message}")
        end_with(run)
        return run

    def _fails(self, candidate: tuple[int, ...]) -> bool:
        """Whether one of a few runs of these faults fails; without more runs it counts as passing."""
        if candidate in self._tries:
            return candidate in self._failed
        for _ in range(TRIES):
            if not self._may_run():
                return False
            if self._try(candidate):
                return True
        return False

    def _may_run(self) -> bool:
        return sum(self._tries.values()) < MOST_RUNS

    def _try(self, candidate: tuple[int, ...]) -> bool:
        fault = reduced([self._planned[number] for number in candidate])
        texts = {**self._request.texts, "fault": fault}
        say(f"shrinking: --fault {fault}")
        with prepare(dataclasses.replace(self._request, faults=(fault,), texts=texts)) as prepared:
            return self._count(candidate, execute(prepared))

    def _count(self, candidate: tuple[int, ...], run: Run) -> bool:
        """Notes a run of these faults; returns whether it failed. A run that neither passed nor failed did not."""
        self._tries[candidate] = self._tries.get(candidate, 0) + 1
        if run.manifest.verdict == "fail":
            self._failed.setdefault(candidate, []).append(run)
        return run.manifest.verdict == "fail"

    def _print(self, smallest: tuple[int, ...], cell: Cell) -> None:
        planned = schedule(cell)
        failed, tries = len(self._failed[smallest]), self._tries[smallest]
        bound = "" if self._may_run() else f" (after {MOST_RUNS} runs, the most; fewer may do)"
        say(f"the fewest faults that still fail{bound}: they failed in {failed} of {tries} tries")
        for number in smallest:
            fault = planned[number]
            say(f"  {fault.fault} at {fault.at_s:g} s for {fault.hold_s:g} s")
        again = reduced([self._planned[number] for number in smallest])
        seed = f" --seed {cell.params['seed']}" if cell.params["seed"] != 1 else ""
        say(f"again: ./run bench --fault {again} --seconds {cell.seconds:g}{seed}")
