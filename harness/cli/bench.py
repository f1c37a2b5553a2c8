"""`bench`: plans, measures, judges and stores; ends with the exit code of the verdict."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from harness.analysis.trial_validity import unreplaced
from harness.cli.bench_progress import bench_progress
from harness.cli.configured import applied
from harness.cli.console import background_lines, complain, progress, say
from harness.cli.runs import RESULTS, show
from harness.cli.variants_file import read_variants
from harness.compare import noise_floor_file
from harness.compare.gate import FailIf
from harness.errors import CriterionFailed, CrucibleError, InvalidMeasurement, RigError
from harness.measure.resume import require_same_environment, require_same_options, require_same_plan, require_unfinished
from harness.measure.runner import bench
from harness.plan.blocks import settings_text, too_few_blocks
from harness.plan.options import BenchRequest
from harness.plan.planner import Plan, make_plan, volume
from harness.plan.scenario import Site
from harness.plan.variants import Variant
from harness.provision.pgadmin import server as pgadmin
from harness.rig import state
from harness.scenarios import SCENARIOS, SUITE
from harness.store.manifest import CodeRecord, GateRecord
from harness.store.run_reader import Run, find_run, load_run
from harness.store.run_writer import RunWriter
from harness.targets.base import Target
from harness.targets.open_target import open_target
from harness.text import plural

DEFAULT_RIG = "local"
GIT_S = 20.0
"""Longest time that git may take to say what the commit is."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """A request with all that its trials need: the open target, the plan, and the run that is resumed."""

    request: BenchRequest
    target: Target
    plan: Plan
    site: Site
    earlier: Run | None


def run_bench(**texts: Any) -> Run | None:
    """Runs `bench` with these options as typed; None after a dry run.

    Raises CriterionFailed or InvalidMeasurement where the verdict is not `pass`, or where --fail-if does not let the
    variants pass; the run is stored before.
    """
    if texts.get("fail_if") is not None:
        FailIf.parse(str(texts["fail_if"]))  # before anything is measured
    request = BenchRequest.parse(texts, known_scenarios=SCENARIOS, suite=SUITE)
    with progress(quiet=request.quiet and not request.dry_run, as_json=request.json):
        if applied:
            say(f"configured: {' '.join(applied)} (./run config shows where)")
        if request.aa:
            from harness.cli.aa import run_aa

            return run_aa(request)
        if request.shrink:
            from harness.cli.shrink import run_shrink

            return run_shrink(request)
        with prepare(request) as prepared:
            if prepared.request.dry_run:
                show_plan(prepared, as_json=request.json)
                return None
            run, fail_if = execute(prepared), prepared.request.fail_if
    decided = _decided(FailIf.parse(fail_if), fail_if, run) if fail_if else None
    failure: RigError | None = None
    try:
        show(run, as_json=request.json)
    except RigError as error:  # the run is stored, and its verdict counts
        failure = error
        complain(f"warning: the report was not written: {error.message}")
    end_with(run)
    if failure:
        raise failure
    if decided:
        raise decided
    return run


def _decided(gate: FailIf, text: str, run: Run) -> CrucibleError | None:
    """Decides about the variants and stores the outcome in the run; returns the error of a gate that does not open."""
    from harness.report.run_summary import compared_within

    error: CrucibleError | None = None
    try:
        gate.enforce_within(compared_within(run), verdict=run.manifest.verdict)
    except (CriterionFailed, InvalidMeasurement) as decision:
        error = decision
    sentence = error.message if error else f"no variant is slower than the first by {gate.share * 100:g}% or more"
    code: Literal[0, 1, 4] = 0
    if error:
        code = 1 if isinstance(error, CriterionFailed) else 4
    run.manifest.gate = GateRecord(fail_if=text, code=code, sentence=sentence)
    try:
        RunWriter(RESULTS, run.manifest, run.path).save()
    except RigError as failure:  # the exit code tells it
        complain(f"warning: the outcome of --fail-if is not stored: {failure.message}")
    return error


@contextlib.contextmanager
def prepare(request: BenchRequest) -> Iterator[PreparedRun]:
    """Opens the target, which stays locked until the end, and plans the trials. Changes nothing.

    Raises UsageError for a request that the target or the run to resume does not allow, RigError where the target
    does not answer.
    """
    earlier = load_run(find_run(request.resume, RESULTS)) if request.resume else None
    if earlier:
        request = _resumed(request, earlier)
    rig = request.rig or DEFAULT_RIG
    lines = contextlib.nullcontext() if request.dry_run else background_lines()
    with (
        lines,
        open_target(
            rig,
            base_url=request.base_url,
            dsn=request.dsn or "",
            hosts=request.hosts,
            owned=request.yes_this_is_mine,
            read_only=request.dry_run,
        ) as (target, place),
    ):
        site, variants = target.site(), target.resolve(variants_of(request, earlier))
        plan = make_plan(request, site, SCENARIOS, variants)
        say(f"load goes to {place}: {volume(plan)}")
        for line in about_variants(plan):
            say(line)
        if earlier:
            require_same_plan(earlier, plan)
        yield PreparedRun(request=request, target=target, plan=plan, site=site, earlier=earlier)


def variants_of(request: BenchRequest, earlier: Run | None) -> tuple[Variant, ...]:
    """Returns the variants to compare, as typed; those of a run to resume as it stored them. Raises UsageError."""
    if earlier:
        return tuple(Variant(name=each.name, settings=each.settings) for each in earlier.manifest.variants)
    return read_variants(Path(request.variants)) if request.variants else request.vary


def about_variants(plan: Plan) -> list[str]:
    """Returns what is compared, one line per variant, and a warning if the blocks are too few for a claim."""
    if not plan.variants:
        return []
    blocks = max(trial.number for trial in plan.trials)
    lines = [f"compared in {plural(blocks, 'block')}, each with every variant once, in a shuffled order:"]
    baseline = " (baseline)"
    for name, settings in settings_text(plan.variants).items():
        lines.append(f"  {name}{baseline}" + (f": {settings}" if settings != name else ""))
        baseline = ""
    warning = too_few_blocks(plan.trials)
    return [*lines, f"warning: {warning}"] if warning else lines


def execute(prepared: PreparedRun) -> Run:
    """Measures the planned trials that are not stored yet, judges all of them and returns the stored run."""
    request, target, earlier = prepared.request, prepared.target, prepared.earlier
    target.restore()  # a bench that crashed has restored nothing; the rig is recorded as provisioned
    notes = target.preflight(prepared.plan.variants)
    code, rig = code_record(request.seed), target.record()
    if earlier:
        require_same_environment(earlier, code=code, rig=rig, settings=target.settings())
        writer = RunWriter.resume(earlier)
    else:
        writer = RunWriter.start(RESULTS, code=code, rig=rig, options=request.texts)
        if prepared.plan.variants:
            writer.variants(prepared.plan.variants)
            writer.warn(*filter(None, [too_few_blocks(prepared.plan.trials)]))
        if not request.base_url:
            writer.noise_floor(noise_floor_file.noise_floor(rig.name, rig.model_dump()))
    writer.warn(*notes, *([] if request.base_url else about_pgadmin(rig.name)))
    rows = earlier.rows if earlier else ()
    more = f", {len(rows)} of them done" if rows else ""
    most = "at most " if prepared.plan.later else ""
    say(f"run {writer.manifest.run_id}: {most}{plural(prepared.plan.most_trials, 'trial')}{more}")
    with bench_progress(prepared.plan, SCENARIOS, say) as course:
        return bench(prepared.plan, SCENARIOS, target, writer, say, earlier=rows, progress=course)


def about_pgadmin(rig: str) -> list[str]:
    """Returns a warning for the run if the rig's pgAdmin runs beside it."""
    if not pgadmin.address(rig):
        return []
    warning = "pgAdmin ran beside the bench: its statements and its CPU time are in the figures"
    say(f"warning: {warning}; ./run pgadmin --rig {rig} --stop ends it")
    return [warning]


def _resumed(request: BenchRequest, run: Run) -> BenchRequest:
    """The request that `run` was started with. Raises UsageError where `request` contradicts it.

    The gate is kept too, or a resumed run would pass one that it was started with; one may be added.
    """
    require_unfinished(run)
    options = run.manifest.options
    fail_if = options.get("fail_if") or request.fail_if
    given = {**request.texts, "rig": request.rig}
    if not options.get("fail_if"):
        del given["fail_if"]
    require_same_options(run, given)
    texts = {**options, "rig": run.manifest.rig.name, "dry_run": request.dry_run, "fail_if": fail_if}
    return BenchRequest.parse(texts, known_scenarios=SCENARIOS, suite=SUITE)


def show_plan(prepared: PreparedRun, *, as_json: bool = False) -> None:
    """Prints the plan and what it costs, as text or as one JSON object."""
    from harness.cli.plan_summary import plan_json, plan_lines

    if as_json:
        print(plan_json(prepared.plan, prepared.site))
        return
    print_plan(prepared.plan)
    for line in plan_lines(prepared.plan, prepared.site):
        say(line)


def print_plan(plan: Plan) -> None:
    """Prints the trials in their order, then what is skipped and why."""
    word = "block" if plan.variants else "trial"
    for trial in plan.trials:
        say(f"{trial.order:4}  {trial.cell.name}  {word} {trial.number}")
    for name, count in plan.later.items():
        say(f"   +  {name}  at most {plural(count, 'trial')} more, as its results ask")
    for name, reason in plan.skipped.items():
        say(f"   -  {name}  skipped: {reason}")


def end_with(run: Run) -> None:
    """Raises the error with the exit code of the run's verdict; returns for `pass`."""
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
    """The controller's commit, and the command as typed with the value of --dsn masked, and what is configured."""

    words = [word if before != "--dsn" else "***" for before, word in pairwise(sys.argv)]
    typed = " ".join(["./run", *("--dsn=***" if word.startswith("--dsn=") else word for word in words), *applied])
    known = Path(_git("rev-parse", "--show-toplevel") or os.devnull).resolve() == state.ROOT
    return CodeRecord(
        commit=(_git("rev-parse", "HEAD") if known else "") or "unknown",
        dirty=known and bool(_git("status", "--porcelain")),
        command=typed,
        seed=seed,
    )


def _git(*arguments: str) -> str:
    """The output of git in the checkout; empty where git is missing, fails, refuses the folder or takes long."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # as set in a git hook
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=state.ROOT, env=env | {"GIT_OPTIONAL_LOCKS": "0"}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=GIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
