"""What the tasks do, in the order a user sees it. tasks.py parses nothing and knows nothing beyond this."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from harness.analysis.trial_validity import unreplaced
from harness.checks.evaluate import evaluate, verdict_of
from harness.cli.console import say
from harness.compare import noise_floor_file
from harness.errors import CriterionFailed, InvalidMeasurement, RigError, UsageError
from harness.rig import state
from harness.scenarios import SCENARIOS
from harness.store.csv_rows import as_columns
from harness.store.run_reader import Run, find_run, load_run
from harness.store.run_writer import RunWriter

ROOT = state.ROOT
RESULTS = Path(os.environ.get("PGCRUCIBLE_RESULTS") or ROOT / "results")


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
    findings = evaluate(SCENARIOS, run.measured())
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
    from harness.compare.cells import RunData
    from harness.compare.compare import compare
    from harness.compare.gate import FailIf
    from harness.compare.table import text

    gate = None if fail_if is None else FailIf.parse(fail_if)
    runs = [load_run(find_run(which, RESULTS)) for which in (a, b)]
    sides = [
        RunData(run_id=run.run_id, manifest=run.manifest.model_dump(), trials=[as_columns(row) for row in run.rows])
        for run in runs
    ]
    floors = {
        f"rig '{rig.name}'": floor
        for rig in (run.manifest.rig for run in runs)
        if (floor := noise_floor_file.noise_floor(rig.name, rig.model_dump()))
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
            RunWriter(RESULTS, run.manifest, run.path).save()
        except RigError as error:
            why = error.message
    if why:
        print(f"warning: --anyway is not recorded in run {run.run_id}: {why}", file=sys.stderr)
