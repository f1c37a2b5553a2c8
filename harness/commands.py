"""What the tasks do, in the order a user sees it. tasks.py parses nothing and knows nothing beyond this."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness import state
from harness.config import CLAIM_TRIALS, parse_options, whole
from harness.errors import CriterionFailed, InvalidMeasurement, RigError, UsageError
from harness.judge import judge, verdict_of
from harness.manifest import CodeRecord
from harness.metrics import unreplaced
from harness.plan import Plan, make_plan, volume
from harness.scenarios import SCENARIOS
from harness.store import Recorder, Run, find_run, load_run
from harness.tables import as_columns

ROOT = state.ROOT
RESULTS = Path(os.environ.get("PGCRUCIBLE_RESULTS") or ROOT / "results")


def say(line: str) -> None:
    """One line of progress, at once, also into a pipe."""
    print(line, flush=True)


def run_scenarios(*, as_json: bool) -> None:
    """Lists the scenarios."""
    if as_json:
        print(json.dumps({s.name: {"question": s.question, "criteria": s.criteria} for s in SCENARIOS.values()}))
        return
    for scenario in SCENARIOS.values():
        print(f"{scenario.name}\n    {scenario.question}")
        for criterion in scenario.criteria:
            print(f"      - {criterion}")


def run_bench(
    rig: str,
    *,
    dry_run: bool = False,
    aa: bool = False,
    resume: str | None = None,
    base_url: str | None = None,
    dsn: str | None = None,
    mine: bool = False,
    **texts: Any,
) -> Run:
    """Plans, runs, judges and stores; ends with the exit code of the verdict."""
    from harness.runner import bench
    from harness.service import Service
    from harness.target import open_target

    if base_url and (aa or resume):
        raise UsageError("--base-url goes with neither --aa nor --resume", hint="these know their rig")
    if dsn and not base_url:
        raise UsageError("--dsn is for a service known by its URL", hint="give --base-url too; a rig has its own")
    earlier = load_run(find_run(resume, RESULTS)) if resume else None
    if earlier:
        if earlier.manifest.status == "finished":
            raise UsageError(f"run {earlier.run_id} is finished", hint="start a new one: ./run bench")
        if earlier.manifest.rig.provider == "url":
            raise UsageError(f"run {earlier.run_id} is of a service known by its URL", hint="start a new one")
        if any(value for name, value in texts.items() if name != "quick"):
            raise UsageError("--resume takes no other options: the run has its own", hint="give only --resume RUN")
        rig, texts = earlier.manifest.rig.name, dict(earlier.manifest.options)
        aa = bool(texts.pop("aa", False))
    options = parse_options(known_scenarios=list(SCENARIOS), **texts)
    if aa:
        options = dataclasses.replace(options, repeat=2 * (options.repeat or CLAIM_TRIALS))
    with open_target(rig, base_url=base_url, dsn=dsn or "", hosts=options.hosts, mine=mine) as (target, where):
        plan = make_plan(options, target.site(), SCENARIOS)
        say(f"load goes to {where}: {volume(plan)}")
        if dry_run:
            print_plan(plan)
            raise SystemExit(0)
        if isinstance(target, Service):
            target.prove()
        if earlier:
            done = _done(earlier, plan)
            recorder = Recorder.resume(earlier)
        else:
            done = set()
            recorder = Recorder.start(
                RESULTS,
                code=code_record(options.seed),
                rig=target.record(),
                options=texts | ({"aa": True} if aa else {}) | ({"base_url": base_url} if base_url else {}),
            )
            recorder.manifest.noise_floor = {} if base_url else state.noise_floor(rig)
        more = f", {len(done)} of them done" if done else ""
        say(f"run {recorder.manifest.run_id}: {len(plan.trials)} trials{more}")
        run = bench(plan, SCENARIOS, target, recorder, say, done=done)
    if aa:
        run = _store_floor(run, recorder, rig)
    show(run)
    end_with(run)
    return run


def _done(earlier: Run, plan: Plan) -> set[int]:
    """Orders of the trials that an interrupted run has. Raises UsageError where its plan is not today's."""
    planned = {trial.order: trial for trial in plan.trials}
    for row in earlier.rows:
        if planned.get(row.trial.order, row.trial) != row.trial:  # those made up for come after the plan
            raise UsageError(
                f"run {earlier.run_id}: its trial {row.trial.order} ({row.cell.name}) is not the one planned now",
                hint="the rig or the scenarios have changed since: start a new run",
            )
    return {row.trial.order for row in earlier.rows}


def _store_floor(run: Run, recorder: Recorder, rig: str) -> Run:
    """Splits an A/A run's trials in two halves that measured the same, and keeps how far apart they came out."""
    from harness.report.cells import RunData
    from harness.report.compare import noise_floor

    manifest = run.manifest.model_dump()
    halves = [
        RunData(
            run_id=f"{run.run_id}-{side}", manifest=manifest, trials=[as_columns(row) for row in run.rows if odd(row)]
        )
        for side, odd in (("a", lambda row: row.trial.number % 2), ("b", lambda row: not row.trial.number % 2))
    ]
    floor = noise_floor(*halves)
    state.store_noise_floor(rig, floor)
    recorder.manifest.noise_floor = floor
    recorder.save()
    said = ", ".join(f"{metric} {ratio - 1:.1%}" for metric, ratio in sorted(floor.items())) or "nothing was measured"
    say(f"noise floor of rig '{rig}': {said}; nothing smaller will be called a difference")
    return load_run(run.path)


def show(run: Run) -> None:
    """The summary, then the page: a page that cannot be drawn must not cost the summary."""
    from harness.report import terminal
    from harness.report.page import write_report

    path = run.path / "report.html"
    terminal.print_summary(run, path)
    write_report(run)


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


def _with_trials(path: Path) -> Run:
    """The run, if there is anything in it to judge. Raises UsageError."""
    run = load_run(path)
    if not run.rows:
        raise UsageError(f"run {run.run_id} holds no trials: nothing to judge", hint="bench it again")
    return run


def run_check(which: str | None) -> None:
    """pytest over a stored run."""
    path = find_run(which, RESULTS)
    run = _with_trials(path)  # a file that cannot be read is a usage error, not a failing test
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "tests/acceptance/pytest.ini",
        "--rootdir",
        ".",
        "--confcutdir",
        ".",
    ]
    command += ["tests/acceptance", "-q", f"--run={path}"]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode == 0:
        return
    if done.returncode != 1:
        raise RigError(f"pytest ended with {done.returncode}", hint="see above")
    if run.manifest.verdict == "invalid" and all(f.verdict == "pass" for f in run.findings):
        raise InvalidMeasurement(f"run {run.run_id}: trials are invalid", hint=f"./run report --run {run.run_id}")
    raise CriterionFailed(f"run {run.run_id} does not meet every criterion", hint="the failing tests are named above")


def run_recheck(which: str) -> None:
    """Today's checks on an old run's samples: what they say now, and where that differs from what is stored."""
    run = _with_trials(find_run(which, RESULTS))
    findings = judge(SCENARIOS, run.measured())
    stored = {(f.cell, f.check): f.verdict for f in run.findings}
    for found in findings:
        was = stored.pop((found.cell, found.check), None)
        note = "" if was == found.verdict else f"   (stored: {was or 'absent'})"
        print(f"{found.verdict:7} {found.cell}: {found.check}: {found.detail}{note}")
    for (cell, check), before in stored.items():
        print(f"gone    {cell}: {check}   (stored: {before})")
    verdict = verdict_of(findings, invalid_trials=len(unreplaced(run.rows)))
    say(f"verdict now {verdict}, stored {run.manifest.verdict}")
    if verdict != "pass":
        kind = CriterionFailed if verdict == "fail" else InvalidMeasurement
        raise kind(f"run {run.run_id}: today's checks say {verdict}", hint=f"./run report --run {run.run_id}")


def run_report(which: str | None, *, as_json: bool) -> None:
    """Prints the summary, writes report.html anew."""
    run = load_run(find_run(which, RESULTS))
    if as_json:
        print(json.dumps(run.manifest.model_dump(mode="json")))
    else:
        show(run)


def run_compare(a: str, b: str, *, anyway: bool, fail_if: str | None) -> None:
    """Two stored runs side by side; A is the baseline."""
    from harness.report.cells import RunData
    from harness.report.compare import FailIf, compare
    from harness.report.compare_table import text

    gate = FailIf.parse(fail_if) if fail_if else None
    runs = [load_run(find_run(which, RESULTS)) for which in (a, b)]
    sides = [
        RunData(run_id=run.run_id, manifest=run.manifest.model_dump(), trials=[as_columns(row) for row in run.rows])
        for run in runs
    ]
    comparison = compare(*sides, anyway=anyway)
    if comparison.anyway:
        note = f"compared with {runs[0].run_id} although the environments differ (--anyway)"
        if note not in runs[1].manifest.warnings:
            runs[1].manifest.warnings.append(note)
            Recorder(RESULTS, runs[1].manifest, runs[1].path).save()
    print(text(comparison))
    if gate:
        gate.enforce(comparison)


def run_doctor(*, hosts: str | None, as_json: bool) -> None:
    """Prints the checks, for a rig of so many app hosts; ends with 3 where one is fatal."""
    from harness import doctor

    checks = doctor.examine((whole("hosts", hosts, 1, 64) or 8) + 3)
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks]))
    else:
        for check in checks:
            print(f"{check.status:4}  {check.name:<17} {check.detail}")
            if check.cure and check.status != "ok":
                print(f"      {'':<17} cure: {check.cure}")
    bad = [check.name for check in checks if check.status == "fail"]
    if bad:
        raise RigError(f"this machine cannot hold a rig yet: {', '.join(bad)}", hint="see the cures above")


def run_provision(rig: str, *, inventory: str | None, provider: str | None, hosts: str | None) -> None:
    """Builds the rig and prints what it took."""
    from harness.provision import provision

    report = provision(
        rig,
        inventory=Path(inventory) if inventory else None,
        provider=provider,
        hosts=whole("hosts", hosts, 1, 64),
        echo=say,
    )
    for warning in report.warnings:
        say(f"warning: {warning}")
    for name, seconds in report.stages.items():
        say(f"  {name:<10} {seconds:6.1f} s")
    say(f"rig '{rig}' is ready: changed={report.changed}")


def run_destroy(rig: str, *, yes: bool, purge: bool) -> None:
    """Removes a rig; asks first where somebody can answer."""
    from harness.provision import destroy

    if not yes and sys.stdin.isatty():
        answer = input(f"destroy rig '{rig}' and everything in it? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            raise UsageError("not destroyed", hint="answer y, or give --yes")
    destroy(rig, purge=purge, echo=say)


def run_status(rig: str | None, *, as_json: bool) -> None:
    """Prints each rig's hosts."""
    from harness.provision import status

    names = [rig] if rig else state.names()
    answers = {name: status(name) for name in names}
    if as_json:
        print(json.dumps(answers, default=str))
        return
    if not names:
        say("no rig; make one with: ./run provision")
    for name, answer in answers.items():
        say(f"rig {name}")
        for line in answer.lines():
            say(f"  {line}")


def run_quickstart(rig: str, *, hosts: str | None) -> None:
    """provision, bench concurrent-writes, check."""
    count = whole("hosts", hosts, 1, 64) or 4
    run_provision(rig, inventory=None, provider=None, hosts=str(count))
    run = run_bench(rig, hosts=str(count), scenario="concurrent-writes")
    run_check(run.run_id)


def code_record(seed: int) -> CodeRecord:
    """The controller's commit, and the command as it was typed, but for secrets."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    words = [word if before != "--dsn" else "***" for before, word in pairwise(sys.argv)]
    typed = " ".join(["./run", *("--dsn=***" if word.startswith("--dsn=") else word for word in words)])
    return CodeRecord(
        commit=git("rev-parse", "HEAD") or "unknown",
        dirty=bool(git("status", "--porcelain")),
        command=typed,
        seed=seed,
    )
