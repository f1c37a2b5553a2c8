"""`bench`: plans, runs, judges and stores; ends with the exit code that the verdict means."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from itertools import pairwise
from typing import Any

from harness.analysis.stats import CLAIM_TRIALS
from harness.analysis.trial_validity import unreplaced
from harness.cli.console import say
from harness.cli.runs import RESULTS, show
from harness.compare import noise_floor_file
from harness.compare.cells import RunData, cell_of
from harness.compare.compare import METRICS
from harness.compare.noise_floor import measured_floor
from harness.errors import CriterionFailed, InvalidMeasurement, UsageError
from harness.measure.resume import require_same_environment, require_same_options, require_same_plan, require_unfinished
from harness.measure.runner import bench
from harness.plan.options import MAX_REPEAT, parse_options
from harness.plan.planner import Plan, make_plan, volume
from harness.rig import state
from harness.scenarios import SCENARIOS
from harness.store.csv_rows import as_columns
from harness.store.manifest import CodeRecord
from harness.store.run_reader import Run, find_run, load_run
from harness.store.run_writer import RunWriter
from harness.targets.open import open_target

DEFAULT_RIG = "local"


def run_bench(
    rig: str | None = None,
    *,
    dry_run: bool = False,
    aa: bool = False,
    resume: str | None = None,
    base_url: str | None = None,
    dsn: str | None = None,
    owned: bool = False,
    **texts: Any,
) -> Run:
    """Plans, runs, judges and stores; ends with the exit code of the verdict."""
    if base_url and (aa or resume):
        raise UsageError("--base-url goes with neither --aa nor --resume", hint="these know their rig")
    if dsn and not base_url:
        raise UsageError("--dsn is for a service known by its URL", hint="give --base-url too; a rig has its own")
    earlier = load_run(find_run(resume, RESULTS)) if resume else None
    if earlier:
        require_unfinished(earlier)
        require_same_options(earlier, texts | {"aa": aa, "rig": rig})
        rig, texts = earlier.manifest.rig.name, dict(earlier.manifest.options)
        aa = bool(texts.pop("aa", False))
    rig = rig or DEFAULT_RIG
    options = parse_options(known_scenarios=list(SCENARIOS), **texts)
    half = options.repeat or CLAIM_TRIALS
    if aa:
        if 2 * half > MAX_REPEAT:
            raise UsageError(
                f"--repeat {half:,} with --aa is {2 * half:,} trials", hint=f"give 1 to {MAX_REPEAT // 2:,}"
            )
        options = dataclasses.replace(options, repeat=2 * half)
    with open_target(
        rig, base_url=base_url, dsn=dsn or "", hosts=options.hosts, owned=owned, read_only=dry_run
    ) as opened:
        target, where = opened
        plan = make_plan(options, target.site(), SCENARIOS)
        say(f"load goes to {where}: {volume(plan)}")
        if earlier:
            require_same_plan(earlier, plan)
        if dry_run:
            print_plan(plan)
            raise SystemExit(0)
        target.preflight()
        target.restore()  # a bench that crashed has put nothing back; what is recorded now is the tier as provisioned
        code, record = code_record(options.seed), target.record()
        if earlier:
            require_same_environment(earlier, code=code, rig=record, settings=target.settings())
            recorder = RunWriter.resume(earlier)
        else:
            recorder = RunWriter.start(
                RESULTS,
                code=code,
                rig=record,
                options=texts | ({"aa": True} if aa else {}) | ({"base_url": base_url} if base_url else {}),
            )
            recorder.manifest.noise_floor = {} if base_url else noise_floor_file.noise_floor(rig, record.model_dump())
        rows = earlier.rows if earlier else ()
        more = f", {len(rows)} of them done" if rows else ""
        say(f"run {recorder.manifest.run_id}: {len(plan.trials)} trials{more}")
        run = bench(plan, SCENARIOS, target, recorder, say, earlier=rows)
    if aa:
        run = _store_floor(run, recorder, half)
    show(run)
    end_with(run)
    return run


def _store_floor(run: Run, recorder: RunWriter, half: int) -> Run:
    """Keeps how far apart the two measurements of a finished A/A run came out, its trials to number `half` the first.

    What they do not show stays as it was known before. Of a scenario that judges its cells together, one that failed
    leaves out all.
    """
    bad = [one for one in run.findings if one.verdict == "fail"]
    failed = {one.scenario if SCENARIOS[one.scenario].judges_together else one.cell for one in bad}
    data = RunData(run_id=run.run_id, manifest={}, trials=[as_columns(row) for row in run.rows])
    wrong = {cell_of(as_columns(row)) for row in run.rows if failed & {row.cell.name, row.cell.scenario}}
    floor, without = measured_floor(data, METRICS, half=half, wrong=wrong)
    rig = recorder.manifest.rig
    for line in without:
        say(f"no noise floor of {line}")
    if not floor:
        say(f"noise floor of rig '{rig.name}': nothing was measured, what was known stays")
        return run
    recorder.manifest.noise_floor = noise_floor_file.store_noise_floor(rig.name, rig.model_dump(), floor)
    recorder.save()
    said = ", ".join(f"{metric} {floor[metric] - 1:.1%}" for metric in METRICS if metric in floor)
    say(f"noise floor of rig '{rig.name}', at most: {said}; no smaller difference will be called one")
    return load_run(run.path)


def print_plan(plan: Plan) -> None:
    """The trials in their order, and what is skipped."""
    for trial in plan.trials:
        print(f"{trial.order:4}  {trial.cell.name}  trial {trial.number}")
    for name, why in plan.skipped.items():
        print(f"   -  {name}  skipped: {why}")


def end_with(run: Run) -> None:
    """Raises what the run's verdict means for the exit code."""
    verdict = run.manifest.verdict
    if verdict == "pass":
        return
    bad = [f for f in run.findings if f.verdict == ("fail" if verdict == "fail" else "unknown")]
    reasons = [f"{f.cell}: {f.check}: {f.detail}" for f in bad] or [
        f"{row.cell.name}: {row.reason}" for row in unreplaced(run.rows)
    ]
    first = reasons[0] if reasons else "nothing was measured"
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    kind = CriterionFailed if verdict == "fail" else InvalidMeasurement
    raise kind(f"verdict {verdict}: {first}{more}", hint=f"./run report --run {run.run_id}")


def code_record(seed: int) -> CodeRecord:
    """The controller's commit, and the command as it was typed, but for secrets."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=state.ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    words = [word if before != "--dsn" else "***" for before, word in pairwise(sys.argv)]
    typed = " ".join(["./run", *("--dsn=***" if word.startswith("--dsn=") else word for word in words)])
    return CodeRecord(
        commit=git("rev-parse", "HEAD") or "unknown",
        dirty=bool(git("status", "--porcelain")),
        command=typed,
        seed=seed,
    )
