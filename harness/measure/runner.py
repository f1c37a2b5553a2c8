"""The order of a bench: for each trial settle, reset, load, read, store; last of all, judge.

Alone in knowing that order. The load itself runs on the load hosts: between `go` and `done` the controller
only listens. What is judged is what was stored, read back from disk.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.analysis.host_drift import drifted_hosts, uneven_hosts
from harness.analysis.trial_validity import unreplaced, unsteady
from harness.checks.counter_oracle import PER_REQUEST
from harness.checks.evaluate import evaluate, verdict_of
from harness.errors import CrucibleError, RigError
from harness.load.spec import LoadSpec, Operation
from harness.measure.load_controller import Collected, Progress, run_lanes
from harness.measure.prestarted_agent import PrestartedAgent
from harness.measure.progress import ProgressPrinter
from harness.measure.trial_result import add_client_counts, trial_result, trials_to_remeasure
from harness.model import Trial
from harness.plan.planner import Plan
from harness.plan.scenario import RemoteWorkload, Scenario
from harness.record import Evidence, TrialResult
from harness.store.csv_rows import as_columns
from harness.store.files import read_rows
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from harness.targets.base import During, Target
from harness.targets.snapshot import difference

CEILING_CLIENTS = 32
CEILING_S = 1.0
NO_SAMPLES = "trials this long keep no samples (--samples keeps them)"


def bench(
    plan: Plan,
    scenarios: Mapping[str, Scenario],
    target: Target,
    recorder: RunWriter,
    echo: Callable[[str], None],
    *,
    earlier: Collection[TrialResult] = (),
) -> Run:
    """Carries the plan out and judges the run. The `earlier` trials, of a run that is resumed, are kept as they are.

    Ctrl-C and errors keep what was measured: the run is judged as far as it came, `status: aborted`; then the target
    is put back as it was found. A second Ctrl-C ends that.
    """
    rows = list(earlier)
    done = {row.trial.order for row in rows}
    manifest = recorder.manifest
    manifest.skipped = dict(plan.skipped)
    for name, why in plan.skipped.items():
        echo(f"  {name}: skipped: {why}")
    bencher = _Bench(plan, scenarios, target, recorder, echo)
    try:
        manifest.settings |= target.settings()
        recorder.save()
        if "before" not in manifest.canaries:
            bencher.canaries("before")
        bencher.measure_ceiling()
        with target.telemetry(recorder) as during:
            missing = [trial for trial in plan.trials if trial.order not in done]
            rows += [bencher.run(trial, len(plan.trials), during) for trial in missing]
            for trial in trials_to_remeasure(rows, plan):
                bencher.run(trial, trial.order, during)
        with bencher.stage("restore"):
            target.restore()
        bencher.canaries("after")
        recorder.save("sampled")
    except BaseException as error:
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        manifest.warnings.append(f"aborted: {why}")
        recorder.save("aborted")
        with contextlib.suppress(CrucibleError):
            _judge(recorder, scenarios, finish=False)
        echo(f"  kept in {recorder.path}")
        _put_back(target, echo)
        raise
    finally:
        bencher.close()
    return _judge(recorder, scenarios, finish=True)


def _put_back(target: Target, echo: Callable[[str], None]) -> None:
    echo("  putting hosts and load balancer back as they were found (Ctrl-C: leave them)")
    try:
        target.restore()
    except CrucibleError as error:
        echo(f"  not put back: {error}; the next bench does it first of all")


def _judge(recorder: RunWriter, scenarios: Mapping[str, Scenario], *, finish: bool) -> Run:
    started = time.monotonic()
    run = load_run(recorder.path)
    findings = evaluate(scenarios, run.measured())
    recorder.findings(findings, verdict_of(findings, invalid_trials=len(unreplaced(run.rows))))
    if finish:
        recorder.manifest.warnings += unsteady(run.rows)
    recorder.manifest.stages["judge"] = round(time.monotonic() - started, 3)
    recorder.save("finished" if finish else None)
    return load_run(recorder.path)


class _Bench:
    def __init__(
        self,
        plan: Plan,
        scenarios: Mapping[str, Scenario],
        target: Target,
        recorder: RunWriter,
        echo: Callable[[str], None],
    ) -> None:
        self._plan, self._scenarios = plan, scenarios
        self._target, self._recorder, self._echo = target, recorder, echo
        self._ceiling: float | None = None

    @functools.cached_property
    def _stations(self) -> list[PrestartedAgent]:
        """Where load comes from, the next trial's agents waiting there."""
        return [PrestartedAgent(station, self._agent) for station in self._target.stations()]

    @property
    def _agent(self) -> list[str]:
        return self._target.command("harness.load.agent")

    def measure_ceiling(self) -> None:
        """What these load hosts reach against the load balancer's canned answer; kept in the manifest."""
        path = self._target.null_path()
        if path is None:
            self._recorder.manifest.warnings.append("the generator's ceiling was not measured: no null endpoint")
            return
        lane = LoadSpec(
            mode="closed",
            clients=CEILING_CLIENTS,
            seconds=CEILING_S,
            samples=False,
            operations=(Operation(name="null", method="GET", path=path),),
        )
        with self.stage("ceiling"), tempfile.TemporaryDirectory(prefix="pgcrucible-") as scratch:
            collected = self._send({"main": lane}, "0", Path(scratch))
        self._ceiling = collected.summaries["main"].rps if "main" in collected.summaries else None
        if collected.failures or not self._ceiling:
            why = "; ".join(collected.failures) or f"no GET {path} was answered with success"
            raise RigError(
                f"the generator's ceiling could not be measured: {why}",
                hint="without it nobody can tell a slow tier from a slow generator; see ./run status",
            )
        self._recorder.manifest.settings["generator"] = {
            "ceiling_rps": self._ceiling,
            "processes": self._target.processes(),
        }

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time spent to the manifest's `stages`."""
        started = time.monotonic()
        try:
            yield
        finally:
            stages = self._recorder.manifest.stages
            stages[name] = round(stages.get(name, 0.0) + time.monotonic() - started, 3)

    def canaries(self, when: str) -> None:
        """Measures every host's canaries; hosts unlike their role's others, or themselves before, are warned of."""
        manifest = self._recorder.manifest
        with self.stage("canaries"):
            found = manifest.canaries[when] = self._target.canaries()
        roles = {host.name: host.role for host in manifest.rig.hosts}
        manifest.warnings += [f"{when} the trials: {text}" for text in uneven_hosts(found, roles)]
        if when == "after":
            manifest.warnings += drifted_hosts(manifest.canaries["before"], found)

    def run(self, trial: Trial, total: int, during: During) -> TrialResult:
        """One trial, from settling the tier to its row on disk."""
        cell = trial.cell
        self._echo(f"[{trial.order}/{total}] {cell.name}" + (f" trial {trial.number}" if trial.number > 1 else ""))
        scenario = self._scenarios[cell.scenario]
        work, reads = scenario.workload(trial), set(scenario.reads)
        left: Sequence[str] = ()
        if isinstance(work, RemoteWorkload):
            with self.stage("load"):
                before = self._target.snapshot(cell, reads)
                with during(trial.order), self._target.vacuuming(reads) as vacuums:
                    result = self._target.run_workload(work)
                evidence = difference(before, self._target.snapshot(cell, reads, before), vacuums)
                evidence = replace(evidence, workload_result=result)
            row = TrialResult(trial=trial, figures={})
        else:
            with self.stage("settle"):
                for station in self._stations:
                    station.get_ready()
                self._target.configure(cell)
                left = self._target.reset_database(cell)
            row, evidence = self._load(trial, work, reads | {"counters"}, during)
        said = [
            *left,
            *evidence.notes,
            *(f"'{check}' is not judged: {why}" for check, why in evidence.not_applicable.items()),
        ]
        warnings = self._recorder.manifest.warnings
        warnings += [text for text in said if text not in warnings]
        if evidence.sqlite and evidence.sqlite.pragmas:
            self._recorder.manifest.settings.setdefault(cell.backend, dict(evidence.sqlite.pragmas))
        with self.stage("store"):
            self._recorder.evidence(trial.order, evidence)
            self._recorder.append("trials", [as_columns(row)])
            self._recorder.save()
        if not row.valid:
            self._echo(f"      invalid: {row.reason}")
        elif row.reason:
            warnings.append(f"{cell.name}: {row.reason}")
        return row

    def _load(
        self, trial: Trial, lanes: Mapping[str, LoadSpec], reads: set[str], during: During
    ) -> tuple[TrialResult, Evidence]:
        scenario = self._scenarios[trial.cell.scenario]
        keep = self._plan.keeps_samples(scenario, trial.cell)
        lanes = {name: replace(lane, samples=keep) for name, lane in self._target.with_unique_keys(lanes).items()}
        ledger = any(op.idempotency for lane in lanes.values() for op in lane.operations)
        if keep and ledger:
            reads.add("ledger")
        if scenario.rehearse:
            with self.stage("rehearsal"), tempfile.TemporaryDirectory(prefix="pgcrucible-") as scratch:
                self._send(lanes, f"{trial.order}-rehearsal", Path(scratch), seed=trial.seed)
        with tempfile.TemporaryDirectory(prefix="pgcrucible-") as scratch:
            before = self._target.snapshot(trial.cell, reads)
            with self.stage("load"), self._target.vacuuming(reads) as vacuums:
                collected = self._send(
                    lanes,
                    str(trial.order),
                    Path(scratch),
                    seed=trial.seed,
                    progress=ProgressPrinter(self._echo),
                    during=during(trial.order),
                )
            with self.stage("store"):
                after = self._target.snapshot(trial.cell, reads, before)
                evidence = add_client_counts(difference(before, after, vacuums), collected)
                if not keep:
                    unjudged = {check: NO_SAMPLES for check in PER_REQUEST if ledger or check != "ledger"}
                    evidence = replace(evidence, not_applicable={**unjudged, **evidence.not_applicable})
                row = trial_result(
                    trial,
                    next(iter(lanes)),
                    collected,
                    ceiling_rps=self._ceiling,
                    timing_matters=scenario.timing_matters,
                )
                for lane, folder in collected.folders.items():
                    self._timeline(trial.order, lane, folder)
                    self._recorder.lane(trial.order, lane, folder)
        return row, evidence

    def _send(
        self,
        lanes: Mapping[str, LoadSpec],
        tag: str,
        scratch: Path,
        *,
        seed: int = 0,
        progress: Progress = lambda *_: None,
        during: contextlib.AbstractContextManager[None] | None = None,
    ) -> Collected:
        """See generator.run_lanes."""
        return run_lanes(
            lanes,
            self._stations,
            processes=self._target.processes(),
            endpoint=self._target.endpoint(),
            command=self._agent,
            tag=f"{self._recorder.manifest.run_id}-{tag}",
            seed=seed,
            scratch=scratch,
            began_s=self._recorder.began_s,
            progress=progress,
            during=during or contextlib.nullcontext(),
        )

    def close(self) -> None:
        """Let the agents go that wait for a trial."""
        for station in self._stations:
            station.close()

    def _timeline(self, order: int, lane: str, folder: Path) -> None:
        rows = read_rows(folder / "timeline.csv")
        self._recorder.append("timeline", ({**row, "order": order, "lane": lane} for row in rows))
