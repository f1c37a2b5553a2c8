"""One trial: configure the target, run the load or the workload, record the result."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.checks.required_evidence import APP, LEDGER, PARTS
from harness.errors import CrucibleError, RigError
from harness.fault_record import FaultRecord, LogLine
from harness.load import generator_checks, littles_law
from harness.load.spec import LoadSpec
from harness.measure.deferred_signals import DeferredSignals
from harness.measure.history_file import write_histories
from harness.measure.load_controller import LoadController, LoadResults
from harness.measure.progress import PlainProgress, Progress, SecondMeter
from harness.measure.trial_result import (
    add_client_counts,
    leave_out_per_request_checks,
    read_captures,
    trial_result,
    with_faults,
)
from harness.model import Cell, Trial
from harness.plan.fault_schedule import LOAD_HOST_KILL
from harness.plan.load_share import closed_trial_of, with_doubt_of, with_rate
from harness.plan.planner import Plan
from harness.plan.scenario import RemoteWorkload, Scenario
from harness.record import NO_EVIDENCE, Evidence, TrialResult
from harness.store.csv_rows import TIMELINE_COLUMNS, as_columns
from harness.store.files import read_rows
from harness.store.run_writer import RunWriter
from harness.targets.base import During, Target
from harness.targets.idle import reason_of
from harness.targets.snapshot import Snapshot, difference

ANSWER_S = 30.0
"""Longest wait for the target's counters after a load."""
RETRY_S = 0.5


class TrialRunner:
    """Runs the trials of a plan, one at a time, and stores each before the next one starts.

    `during` is entered with the trial's order while its load runs. `ceiling_rps`: see generator_checks.notes.
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
        earlier: Collection[TrialResult] = (),
        progress: Progress | None = None,
    ) -> None:
        self._plan, self._scenarios = plan, scenarios
        self._target, self._writer, self._load, self._echo = target, writer, load, echo
        self._during, self._ceiling_rps = during, ceiling_rps
        self._progress = progress or PlainProgress(echo)
        self._results = list(earlier)
        self._interruption: BaseException | None = None
        self._signals = DeferredSignals()

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Runs trials; returns the results that are stored. One that is measured is stored whole, signal or not."""
        last = max((trial.order for trial in trials), default=0)  # trials measured once more come after the plan
        done = []
        for trial in trials:
            with DeferredSignals() as self._signals:
                result = self._run(trial, max(self._plan.most_trials, last))
            self._results.append(result)
            done.append(result)
        return done

    def _run(self, trial: Trial, total: int) -> TrialResult:
        baseline = self._plan.variants[0].name if self._plan.variants else ""
        trial = with_rate(trial, self._results, baseline=baseline)
        cell = trial.cell
        most = "at most " if self._plan.later else ""
        self._echo(f"[{trial.order}/{most}{total}] {cell.name}" + self._repetition(trial))
        self._progress.trial(trial, total)
        if cell.rate == 0:
            reason = "its rate is a share of a closed cell's, which acknowledged nothing"
            return self.record(TrialResult(trial=trial, validity="broken", reasons=(reason,), figures={}), NO_EVIDENCE)
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
        closed = closed_trial_of(trial, self._results, baseline=baseline)
        return self.record(with_doubt_of(self.result(trial, lanes, results, evidence), closed), evidence)

    def _repetition(self, trial: Trial) -> str:
        """Returns ` trial 2`, or ` block 2` of a plan with variants; empty for an only or first trial."""
        if self._plan.variants:
            return f" block {trial.number}"
        return f" trial {trial.number}" if trial.number > 1 else ""

    def configure(self, cell: Cell) -> None:
        """Makes the target ready for the trial, while the next agents start."""
        with self._writer.stage("settle"):
            self._load.prestart()
            self._target.configure(cell)
            self._writer.warn(*self._target.reset_database(cell))

    def lanes(self, trial: Trial, workload: Mapping[str, LoadSpec]) -> dict[str, LoadSpec]:
        """Returns the lanes as they are sent: with unique keys, with or without samples."""
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
        before, began_s, faults = self._target.snapshot(trial.cell, reads), time.time(), list[FaultRecord]()
        with self._writer.stage("load"), self._target.vacuuming(reads) as vacuums:
            results = self._load.run(
                lanes,
                tag=f"{self._writer.manifest.run_id}-{trial.order}",
                seed=trial.seed,
                scratch=scratch,
                began_s=self._writer.began_s,
                progress=SecondMeter(self._progress.second),
                during=self._while_loaded(trial, faults),
            )
            self._signals.hold()
        captures = read_captures(results)
        self.store_samples(trial, results)
        with self._writer.stage("store"):
            write_histories(self._writer.path / "samples", trial.order, lanes, captures, trial.seed)
        with self._writer.stage("evidence"):
            after = self.read_after(trial.cell, reads, before)
            logs = self._logs(began_s) if faults else ()
        evidence = add_client_counts(difference(before, after, vacuums), results, captures)
        evidence = with_faults(evidence, faults, logs, busy=after.unread.get(APP, "")) if faults else evidence
        for summary in results.summaries.values():
            if not littles_law.is_judged(summary):
                self._writer.warn(littles_law.NOT_JUDGED)
            for note in generator_checks.notes(summary, self._ceiling_rps):
                evidence = replace(evidence, notes=(*evidence.notes, f"{trial.cell.name}: {note}"))
        return results, evidence if samples else leave_out_per_request_checks(evidence, ledger=ledger)

    @contextlib.contextmanager
    def _while_loaded(self, trial: Trial, records: list[FaultRecord]) -> Iterator[None]:
        """Records telemetry and injects the trial's faults while its load runs; fills in what became of the faults.

        Where a fault could not be healed, the load is stored first; `record` raises the error.
        """
        planned, loaded = self._scenarios[trial.cell.scenario].faults(trial.cell), False
        with self._during(trial.order):
            if not planned:
                yield
                return
            injected: Collection[FaultRecord] = ()
            try:
                with self._target.injecting(planned, self._writer.began_s) as injected:
                    yield
                    loaded = True
            except RigError as error:
                if not loaded:
                    raise
                self._interruption = error
            finally:
                records += injected

    def _logs(self, since_s: float) -> tuple[LogLine, ...]:
        """What the rig logged while faults were injected; a warning where that cannot be read."""
        try:
            return tuple(self._target.logs(self._writer.began_s, since_s))
        except CrucibleError as error:
            self._writer.warn(f"the logs of the faults were not read: {error.message}")
            return ()

    def store_samples(self, trial: Trial, results: LoadResults) -> None:
        """Stores what the clients measured, before anything else is asked of a host."""
        with self._writer.stage("store"):
            for lane, folder in results.folders.items():
                rows = read_rows(folder / "timeline.csv", TIMELINE_COLUMNS[2:])
                self._writer.append("timeline", [{**row, "order": trial.order, "lane": lane} for row in rows])
                self._writer.lane(trial.order, lane, folder)

    def read_after(self, cell: Cell, reads: Collection[str], before: Snapshot) -> Snapshot:
        """Reads the counters after the load; tries again until a deadline where the target does not answer.

        Returns a snapshot without any part where it still fails: the load is measured, so its trial is stored. A
        signal ends the reading; `record` raises it again once the trial is stored.
        """
        deadline = time.monotonic() + ANSWER_S
        try:
            self._signals.release()
            while True:
                try:
                    return self._target.snapshot(cell, reads, before)
                except Exception as error:  # noqa: BLE001  # whatever fails, the measured load is kept
                    if time.monotonic() > deadline:
                        reason = f"{reason_of(error)} (asked for {ANSWER_S:g} s)"
                        break
                time.sleep(RETRY_S)
        except BaseException as error:  # noqa: BLE001  # Ctrl-C or SIGTERM: the measured load is kept as well
            self._interruption, reason = error, "interrupted"
        finally:
            self._signals.hold()
        parts = [part for part in PARTS if part != LEDGER or "ledger" in reads]
        return Snapshot(unread=dict.fromkeys(parts, reason), not_applicable=before.not_applicable)

    def result(
        self, trial: Trial, lanes: Mapping[str, LoadSpec], results: LoadResults, evidence: Evidence
    ) -> TrialResult:
        """The trial's row: the figures of all its lanes."""
        timing_matters = self._scenarios[trial.cell.scenario].timing_matters
        first = next(iter(lanes))
        foreign = self._target.foreign_load()
        if timing_matters:
            self._writer.warn(*foreign.unread)
        misrouted = () if evidence.faults else evidence.misrouted  # a fault's doing is judged, not left out
        return trial_result(
            trial, first, results, timing_matters=timing_matters, foreign=foreign, misrouted=misrouted,
            killed=any(fault.planned.fault == LOAD_HOST_KILL for fault in evidence.faults),
        )  # fmt: skip

    def run_workload(self, trial: Trial, workload: RemoteWorkload) -> Evidence:
        """Runs a workload that is not HTTP between two snapshots; the service is not configured for it."""
        reads = set(self._scenarios[trial.cell.scenario].reads)
        with self._writer.stage("load"):
            before = self._target.snapshot(trial.cell, reads)
            with self._during(trial.order), self._target.vacuuming(reads) as vacuums:
                output = self._target.run_workload(workload)
            after = self.read_after(trial.cell, reads, before)
        return replace(difference(before, after, vacuums), workload_result=output)

    def record(self, result: TrialResult, evidence: Evidence) -> TrialResult:
        """Stores a trial: its evidence, its warnings, and last its row, which makes it count on --resume.

        Raises the signal that ended the reading of its evidence.
        """
        writer, trial = self._writer, result.trial
        with writer.stage("store"):
            writer.evidence(trial.order, evidence)
            writer.warn(*evidence.notes)
            writer.warn(*(f"'{check}' is not judged: {why}" for check, why in evidence.not_applicable.items()))
            reasons = dict.fromkeys(evidence.unread.values())
            writer.warn(*(f"{trial.cell.name}: trial {trial.number}: not measured: {why}" for why in reasons))
            if result.valid and result.reason:
                writer.warn(f"{trial.cell.name}: {result.reason}")
            pragmas = evidence.sqlite.pragmas if evidence.sqlite else {}
            if pragmas and trial.cell.backend not in writer.manifest.settings:
                writer.settings({trial.cell.backend: dict(pragmas)})
            writer.append("trials", [as_columns(result)])
            writer.save()
        if self._interruption is not None:
            raise self._interruption
        self._signals.release()
        for reason in reasons:
            self._echo(f"      not measured: {reason}")
        if not result.valid:
            self._echo(f"      invalid: {result.reason}")
        return result
