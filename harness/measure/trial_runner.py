"""One trial: configure the target, run the load or the workload, record the result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from harness.load.spec import LoadSpec
from harness.measure.load_controller import LoadController, LoadResults
from harness.measure.progress import ProgressPrinter
from harness.measure.trial_result import add_client_counts, leave_out_per_request_checks, trial_result
from harness.model import Cell, Trial
from harness.plan.planner import Plan
from harness.plan.scenario import RemoteWorkload, Scenario
from harness.record import Evidence, TrialResult
from harness.store.csv_rows import TIMELINE_COLUMNS, as_columns
from harness.store.files import read_rows
from harness.store.run_writer import RunWriter
from harness.targets.base import During, Target
from harness.targets.snapshot import difference


class TrialRunner:
    """Runs the trials of a plan, one at a time, and stores each before the next one starts.

    `during` is entered with the trial's order while its load runs. `ceiling_rps`: see generator_checks.reasons.
    """

    def __init__(
        self,
        plan: Plan,
        scenarios: Mapping[str, Scenario],
        target: Target,
        *,
        writer: RunWriter,
        load: LoadController,
        echo: Callable[[str], None],
        during: During,
        ceiling_rps: float | None,
    ) -> None:
        self._plan, self._scenarios = plan, scenarios
        self._target, self._writer, self._load, self._echo = target, writer, load, echo
        self._during, self._ceiling_rps = during, ceiling_rps

    def run(self, trial: Trial) -> TrialResult:
        """Runs one trial; returns the result that is stored."""
        cell = trial.cell
        total = max(len(self._plan.trials), trial.order)  # trials that are measured once more come after the plan
        self._echo(f"[{trial.order}/{total}] {cell.name}" + (f" trial {trial.number}" if trial.number > 1 else ""))
        workload = self._scenarios[cell.scenario].workload(trial)
        if isinstance(workload, RemoteWorkload):
            evidence = self.run_workload(trial, workload)
            return self.record(TrialResult(trial=trial, figures={}), evidence)
        self.configure(cell)
        lanes = self.lanes(trial, workload)
        if self._scenarios[cell.scenario].rehearse:
            self.rehearse(trial, lanes)
        with tempfile.TemporaryDirectory(prefix="pgcrucible-") as scratch:
            results, evidence = self.measure_load(trial, lanes, Path(scratch))
            return self.record(self.result(trial, lanes, results), evidence, results)

    def configure(self, cell: Cell) -> None:
        """Makes the target ready for the trial, while the next agents start."""
        with self._writer.stage("settle"):
            self._load.prestart()
            self._target.configure(cell)
            self._writer.warn(*self._target.reset_database(cell))

    def lanes(self, trial: Trial, workload: Mapping[str, LoadSpec]) -> dict[str, LoadSpec]:
        """The lanes as they are sent: with keys of their own, with or without samples."""
        samples = self._plan.keeps_samples(self._scenarios[trial.cell.scenario], trial.cell)
        return {name: replace(spec, samples=samples) for name, spec in self._target.with_unique_keys(workload).items()}

    def rehearse(self, trial: Trial, lanes: Mapping[str, LoadSpec]) -> None:
        """Sends the trial's load once, unmeasured."""
        with self._writer.stage("rehearsal"), tempfile.TemporaryDirectory(prefix="pgcrucible-") as scratch:
            self._load.run(
                lanes,
                tag=f"{self._writer.manifest.run_id}-{trial.order}-rehearsal",
                seed=trial.seed,
                scratch=Path(scratch),
                began_s=self._writer.began_s,
            )

    def measure_load(self, trial: Trial, lanes: Mapping[str, LoadSpec], scratch: Path) -> tuple[LoadResults, Evidence]:
        """Sends the trial's load between two snapshots of the target's counters."""
        ledger = any(op.idempotency for spec in lanes.values() for op in spec.operations)
        samples = all(spec.samples for spec in lanes.values())
        reads = {"counters", *self._scenarios[trial.cell.scenario].reads}
        if ledger and samples:
            reads.add("ledger")
        before = self._target.snapshot(trial.cell, reads)
        with self._writer.stage("load"), self._target.vacuuming(reads) as vacuums:
            results = self._load.run(
                lanes,
                tag=f"{self._writer.manifest.run_id}-{trial.order}",
                seed=trial.seed,
                scratch=scratch,
                began_s=self._writer.began_s,
                progress=ProgressPrinter(self._echo),
                during=self._during(trial.order),
            )
        with self._writer.stage("store"):
            after = self._target.snapshot(trial.cell, reads, before)
            evidence = add_client_counts(difference(before, after, vacuums), results)
        return results, evidence if samples else leave_out_per_request_checks(evidence, ledger=ledger)

    def result(self, trial: Trial, lanes: Mapping[str, LoadSpec], results: LoadResults) -> TrialResult:
        """The trial's row: the figures of its first lane."""
        timing_matters = self._scenarios[trial.cell.scenario].timing_matters
        first = next(iter(lanes))
        return trial_result(trial, first, results, ceiling_rps=self._ceiling_rps, timing_matters=timing_matters)

    def run_workload(self, trial: Trial, workload: RemoteWorkload) -> Evidence:
        """Runs a workload that is not HTTP between two snapshots; the service is not configured for it."""
        reads = set(self._scenarios[trial.cell.scenario].reads)
        with self._writer.stage("load"):
            before = self._target.snapshot(trial.cell, reads)
            with self._during(trial.order), self._target.vacuuming(reads) as vacuums:
                output = self._target.run_workload(workload)
            after = self._target.snapshot(trial.cell, reads, before)
        return replace(difference(before, after, vacuums), workload_result=output)

    def record(self, result: TrialResult, evidence: Evidence, results: LoadResults | None = None) -> TrialResult:
        """Stores a trial: its lanes, its evidence, its warnings, and last its row, which makes it count on --resume."""
        writer, trial = self._writer, result.trial
        with writer.stage("store"):
            for lane, folder in (results.folders if results else {}).items():
                rows = read_rows(folder / "timeline.csv", TIMELINE_COLUMNS[2:])
                writer.append("timeline", [{**row, "order": trial.order, "lane": lane} for row in rows])
                writer.lane(trial.order, lane, folder)
            writer.evidence(trial.order, evidence)
            writer.warn(*evidence.notes)
            writer.warn(*(f"'{check}' is not judged: {why}" for check, why in evidence.not_applicable.items()))
            if result.valid and result.reason:
                writer.warn(f"{trial.cell.name}: {result.reason}")
            pragmas = evidence.sqlite.pragmas if evidence.sqlite else {}
            if pragmas and trial.cell.backend not in writer.manifest.settings:
                writer.settings({trial.cell.backend: dict(pragmas)})
            writer.append("trials", [as_columns(result)])
            writer.save()
        if not result.valid:
            self._echo(f"      invalid: {result.reason}")
        return result
