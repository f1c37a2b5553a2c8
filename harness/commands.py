"""What the tasks do, in the order a user sees it. tasks.py parses nothing and knows nothing beyond this."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from harness import state
from harness.config import whole
from harness.errors import CriterionFailed, InvalidMeasurement, RigError, UsageError
from harness.judge import judge, verdict_of
from harness.metrics import unreplaced
from harness.recorder import Recorder
from harness.scenarios import SCENARIOS
from harness.store import Run, find_run, load_run
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


def show(run: Run) -> None:
    """The summary, then the page: a page that cannot be drawn must not cost the summary."""
    from harness.report import terminal
    from harness.report.page import write_report

    path = run.path / "report.html"
    terminal.print_summary(run, path)
    write_report(run)


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


def run_compare(a: str, b: str, *, anyway: bool, fail_if: str | None, as_json: bool = False) -> None:
    """Two stored runs side by side; A is the baseline. What is to be recorded comes after what is to be seen."""
    from harness.report.cells import RunData
    from harness.report.compare import compare
    from harness.report.compare_table import text
    from harness.report.gate import FailIf

    gate = None if fail_if is None else FailIf.parse(fail_if)
    runs = [load_run(find_run(which, RESULTS)) for which in (a, b)]
    sides = [
        RunData(run_id=run.run_id, manifest=run.manifest.model_dump(), trials=[as_columns(row) for row in run.rows])
        for run in runs
    ]
    floors = {
        f"rig '{rig.name}'": floor
        for rig in (run.manifest.rig for run in runs)
        if (floor := state.noise_floor(rig.name, rig.model_dump()))
    }
    comparison = compare(*sides, anyway=anyway, floors=floors)
    print(json.dumps(dataclasses.asdict(comparison)) if as_json else text(comparison))
    if comparison.anyway:
        unlike = "; ".join(str(one) for one in comparison.differences if one.forbids)
        _warn_in(runs[1], f"compared with {runs[0].run_id} although the environments differ (--anyway): {unlike}")
    if gate:
        gate.enforce(comparison)


def _warn_in(run: Run, note: str) -> None:
    """Adds a warning to a stored run, once; says so where it cannot be kept, and leaves a bench its own run."""
    if note in run.manifest.warnings:
        return
    why = f"it is {run.manifest.status}, and may still be measured"
    if run.manifest.status not in ("started", "sampled"):
        why = ""
        run.manifest.warnings.append(note)
        try:
            Recorder(RESULTS, run.manifest, run.path).save()
        except RigError as error:
            why = error.message
    if why:
        print(f"warning: --anyway is not recorded in run {run.run_id}: {why}", file=sys.stderr)


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
    say(f"rig '{rig}' is destroyed: nothing of it is left")


def run_status(rig: str | None, *, as_json: bool) -> None:
    """Prints each rig's hosts."""
    from harness.status import status

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
    from harness.bench import run_bench

    count = whole("hosts", hosts, 1, 64) or 4
    run_provision(rig, inventory=None, provider=None, hosts=str(count))
    run = run_bench(rig, hosts=str(count), scenario="concurrent-writes")
    run_check(run.run_id)
