"""The order of a bench, from the first setting recorded to the findings. No other module knows it.

The load itself runs on the load hosts: between `go` and `done` the controller only listens.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Literal

from harness.analysis.host_drift import drifted_hosts, uneven_hosts
from harness.analysis.trial_validity import unreplaced, unsteady
from harness.checks.evaluate import verdict_of
from harness.errors import CrucibleError, RigError
from harness.load.spec import LoadSpec, Operation
from harness.measure.judge import judge
from harness.measure.load_controller import LoadController
from harness.measure.progress import Progress
from harness.measure.trial_result import trials_to_measure, trials_to_remeasure
from harness.measure.trial_runner import TrialRunner
from harness.plan.planner import Plan
from harness.plan.scenario import Scenario
from harness.plan.search import is_search, next_trials
from harness.record import TrialResult
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from harness.targets.base import Target

CEILING_CLIENTS = 32
CEILING_S = 1.0


def bench(
    plan: Plan,
    scenarios: Mapping[str, Scenario],
    target: Target,
    writer: RunWriter,
    echo: Callable[[str], None],
    *,
    earlier: Collection[TrialResult] = (),
    progress: Progress | None = None,
) -> Run:
    """Measures the plan's trials and evaluates the run. The `earlier` trials of a resumed run are not repeated.

    `progress` shows the course of the trials (default: lines to `echo`).

    1. Record the target's settings and measure the canaries of all hosts.
    2. Measure the ceiling: the most requests per second that the load hosts can send.
    3. For each trial: configure the target, run the load (or the workload), record the result. Then the trials that
       searches propose from the results so far.
    4. Repeat the trials that were limited by the load generator.
    5. Put the target back as it was before and measure the canaries again.
    6. Evaluate what is stored, read back from disk.

    After Ctrl-C or an error the trials that are stored are evaluated (`status: aborted`) and the target is put back. A
    second Ctrl-C skips that.
    """
    writer.skipped(plan.skipped)
    for name, reason in plan.skipped.items():
        echo(f"  {name}: skipped: {reason}")
    try:
        with LoadController(
            target.load_hosts(),
            command=target.command("harness.load.agent"),
            endpoint=target.endpoint(),
            processes=target.processes(),
            rig="" if writer.manifest.rig.provider == "url" else writer.manifest.rig.name,
        ) as load:
            writer.settings(target.settings())
            writer.save()
            if "before" not in writer.manifest.canaries:
                measure_canaries(target, writer, "before")
            ceiling_rps = measure_ceiling(target, writer, load)
            with target.telemetry(writer) as during:
                runner = TrialRunner(
                    plan, scenarios, target,
                    writer=writer, load=load, echo=echo, during=during, ceiling_rps=ceiling_rps,
                    earlier=earlier, progress=progress,
                )  # fmt: skip
                results = [*earlier, *runner.run(trials_to_measure(earlier, plan))]
                while later := next_trials(plan, scenarios, results):
                    results += runner.run(later)
                runner.run(trials_to_remeasure(results, plan))
        with writer.stage("restore"):
            target.restore()
        measure_canaries(target, writer, "after")
        writer.save("sampled")
    except BaseException as error:
        _abort(error, scenarios, target, writer, echo)
        raise
    return evaluate_run(writer, scenarios, finish=True)


def measure_canaries(target: Target, writer: RunWriter, when: Literal["before", "after"]) -> None:
    """Stores the canaries of all hosts; warns of hosts that differ from others of their role, or from before."""
    with writer.stage("canaries"):
        canaries = target.canaries()
    writer.canaries(when, canaries)
    roles = {host.name: host.role for host in writer.manifest.rig.hosts}
    writer.warn(*(f"{when} the trials: {text}" for text in uneven_hosts(canaries, roles)))
    if when == "after":
        writer.warn(*drifted_hosts(writer.manifest.canaries["before"], canaries))


def measure_ceiling(target: Target, writer: RunWriter, load: LoadController) -> float | None:
    """Measures the requests per second that the load hosts reach when the load balancer itself answers.

    Returns None where the target has no null endpoint. Raises RigError where that endpoint does not answer.
    """
    path = target.null_path()
    if path is None:
        writer.warn("the generator's ceiling was not measured: no null endpoint")
        return None
    spec = LoadSpec(
        mode="closed",
        clients=CEILING_CLIENTS,
        seconds=CEILING_S,
        samples=False,
        operations=(Operation(name="null", method="GET", path=path),),
    )
    with writer.stage("ceiling"), tempfile.TemporaryDirectory(prefix="pgcrucible-") as scratch:
        results = load.run(
            {"main": spec},
            tag=f"{writer.manifest.run_id}-0",
            seed=0,
            scratch=Path(scratch),
            began_s=writer.began_s,
        )
    ceiling_rps = results.summaries["main"].rps if "main" in results.summaries else None
    if results.failures or not ceiling_rps:
        reason = "; ".join(results.failures) or f"no GET {path} was answered with success"
        raise RigError(
            f"the generator's ceiling could not be measured: {reason}",
            hint="without it a slow load generator cannot be excluded; ./run status shows which hosts answer",
        )
    writer.settings({"generator": {"ceiling_rps": ceiling_rps, "processes": target.processes()}})
    return ceiling_rps


def evaluate_run(writer: RunWriter, scenarios: Mapping[str, Scenario], *, finish: bool) -> Run:
    """Evaluates the trials that are stored, stores the findings and returns the run as it is on disk.

    `finish`: the run is complete; else its status stays as it is.
    """
    with writer.stage("judge"):
        run = load_run(writer.path)
        findings = judge(run, scenarios)
        writer.findings(findings, verdict_of(findings, invalid_trials=len(unreplaced(run.rows))))
        if finish:
            writer.warn(*unsteady(row for row in run.rows if not is_search(scenarios, row.cell)))
    writer.save("finished" if finish else None)
    return load_run(writer.path)


def _abort(
    error: BaseException,
    scenarios: Mapping[str, Scenario],
    target: Target,
    writer: RunWriter,
    echo: Callable[[str], None],
) -> None:
    """Saves what is stored, restores the target, then evaluates: a SIGKILL may soon follow a SIGTERM."""
    by_signal = f"interrupted by {error}" if str(error) else "interrupted"
    reason = by_signal if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
    writer.warn(f"aborted: {reason}")
    writer.save("aborted")

    def tell(line: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone (SIGHUP)
            echo(line)

    tell(f"  finished trials are kept in {writer.path}")
    tell("  restoring hosts and load balancer (Ctrl-C skips this)")
    try:
        target.restore()
    except CrucibleError as failure:
        tell(f"  not restored: {failure}; the next bench restores them first")
    with contextlib.suppress(CrucibleError):
        evaluate_run(writer, scenarios, finish=False)
