"""What the tasks do, in the order a user sees it. tasks.py parses nothing and knows nothing beyond this."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import state
from harness.config import parse_options, whole
from harness.errors import CriterionFailed, InvalidMeasurement, RigError, UsageError
from harness.plan import Plan, make_plan
from harness.scenarios import SCENARIOS
from harness.store import CodeRecord, Run, find_run, load_run

ROOT = state.ROOT
RESULTS = ROOT / "results"


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


def run_bench(rig: str, *, dry_run: bool = False, **texts: Any) -> Run:
    """Plans, runs, judges and stores; ends with the exit code of the verdict."""
    options = parse_options(known_scenarios=list(SCENARIOS), **texts)
    from harness.report import terminal
    from harness.report.page import write_report
    from harness.rig import open_rig
    from harness.runner import bench
    from harness.store import Recorder
    from harness.tier import Tier

    with open_rig(rig) as hosts, Tier(hosts) as tier:
        plan = make_plan(options, tier.site(), SCENARIOS)
        if dry_run:
            print_plan(plan)
            raise SystemExit(0)
        recorder = Recorder.start(RESULTS, code=code_record(options.seed), rig=tier.record(), options=texts)
        say(f"run {recorder.manifest.run_id}: {len(plan.trials)} trials on rig '{rig}' ({hosts.provider})")
        run = bench(plan, SCENARIOS, tier, recorder, say)
    path = write_report(run)
    terminal.print_summary(run, path)
    end_with(run)
    return run


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
        f"{row.cell.name}: {row.reason}" for row in run.rows if not row.valid
    ]
    first = reasons[0] if reasons else "nothing was measured"
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    kind = CriterionFailed if verdict == "fail" else InvalidMeasurement
    raise kind(f"verdict {verdict}: {first}{more}", hint=f"./run report --run {run.run_id}")


def run_check(which: str | None) -> None:
    """pytest over a stored run."""
    path = find_run(which, RESULTS)
    run = load_run(path)  # a file that cannot be read is a usage error, not a failing test
    command = [sys.executable, "-m", "pytest", "tests/acceptance", "-q", "--run", str(path)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode == 0:
        return
    if done.returncode != 1:
        raise RigError(f"pytest ended with {done.returncode}", hint="see above")
    if run.manifest.verdict == "invalid" and all(f.verdict == "pass" for f in run.findings):
        raise InvalidMeasurement(f"run {run.run_id}: trials are invalid", hint=f"./run report --run {run.run_id}")
    raise CriterionFailed(f"run {run.run_id} does not meet every criterion", hint="the failing tests are named above")


def run_report(which: str | None, *, as_json: bool) -> None:
    """Prints the summary, writes report.html anew."""
    from harness.report import terminal
    from harness.report.page import write_report

    run = load_run(find_run(which, RESULTS))
    path = write_report(run)
    if as_json:
        print(json.dumps(run.manifest.model_dump(mode="json")))
        return
    terminal.print_summary(run, path)


def run_doctor(*, as_json: bool) -> None:
    """Prints the checks; ends with 3 where one is fatal."""
    from harness import doctor

    checks = doctor.examine()
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks]))
    else:
        for check in checks:
            print(f"{check.status:4}  {check.name:<16} {check.detail}")
            if check.cure and check.status != "ok":
                print(f"      {'':<16} cure: {check.cure}")
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
    """The controller's commit, and the command as it was typed."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    typed = " ".join(["./run", *sys.argv[1:]])
    return CodeRecord(
        commit=git("rev-parse", "HEAD") or "unknown",
        dirty=bool(git("status", "--porcelain")),
        command=typed,
        seed=seed,
    )


def _call(name: str, command: list[str], env: Mapping[str, str] | None = None) -> bool:
    say(f"== {name}")
    return subprocess.run(command, cwd=ROOT, check=False, env={**os.environ, **(env or {})}).returncode == 0


def run_lint() -> None:
    """All linters; every one runs, then the failing ones are named."""
    bin_ = str(Path(sys.executable).parent)
    steps = {
        "ruff format": [f"{bin_}/ruff", "format", "--check", "."],
        "ruff check": [f"{bin_}/ruff", "check", "."],
        "mypy": [f"{bin_}/mypy"],
        "ansible-lint": [f"{bin_}/ansible-lint", "--offline", "-q", "playbooks"],
        "yamllint": [f"{bin_}/yamllint", "-s", "."],
    }
    bad = [name for name, command in steps.items() if not _call(name, command)]
    if bad:
        raise CriterionFailed(f"lint: {', '.join(bad)}", hint="ruff format . && ruff check --fix . mends most of it")


def run_tests(select: str | None, *, fast: bool) -> None:
    """Lint, then pytest over everything; what the tests need is installed first."""
    failed = ""
    try:
        run_lint()
    except CriterionFailed as error:
        failed = error.message
    command = [sys.executable, "-m", "pytest", "-q", "--durations=15", "--run", str(RESULTS / "example")]
    if fast:
        command += ["-m", "not rig and not vm"]
    if select:
        command += ["-k", select]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if failed or done.returncode:
        raise CriterionFailed(failed or f"pytest ended with {done.returncode}", hint="see above")


def run_lock() -> None:
    """Resolves the requirements files anew with uv."""
    if shutil.which("uv") is None:
        raise UsageError("uv is not installed", hint="pip install uv")
    base = ["uv", "pip", "compile", "-q", "--upgrade", "--universal", "--python-version", "3.11"]
    base += ["--generate-hashes", "--no-header", "--no-annotate"]
    whole_lock = ["-c", "requirements.lock"]
    for command in (
        [*base, "pyproject.toml", "-o", "requirements.lock"],
        [*base, *whole_lock, "--group", "host", "-o", "requirements-host.lock"],
        [*base, *whole_lock, "pyproject.toml", "--group", "dev", "-o", "requirements-dev.lock"],
    ):
        if not _call(" ".join(command[-2:]), command):
            raise UsageError("uv could not resolve the requirements", hint="see above")
