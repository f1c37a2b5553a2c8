"""The tasks that read stored runs: check, report, compare; and scenarios."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.trial_validity import unreplaced
from harness.checks.evaluate import verdict_of
from harness.checks.finding import discredits, judged
from harness.cli.configured import runs_folder
from harness.cli.console import complain, say
from harness.compare import noise_floor_file
from harness.compare.cells import RunData, comparable_name
from harness.errors import CriterionFailed, InvalidMeasurement, RigError, UsageError
from harness.measure.judge import judge
from harness.rig import state
from harness.scenarios import SCENARIOS
from harness.store.run_reader import Run, find_run, load_run
from harness.store.run_writer import RunWriter
from harness.text import printable, strict_json

if TYPE_CHECKING:
    from harness.compare.compare import Comparison

ROOT = state.ROOT

RESULTS = runs_folder()
"""Where runs are; a relative path counts from the folder of the user (harness/__main__.py)."""


def run_scenarios(*, as_json: bool) -> None:
    """Prints the scenarios with their questions and criteria."""
    if as_json:
        print(strict_json({s.name: {"question": s.question, "criteria": s.criteria} for s in SCENARIOS.values()}))
        return
    for scenario in SCENARIOS.values():
        print(f"{scenario.name}\n    {scenario.question}")
        for criterion in scenario.criteria:
            print(f"      - {criterion}")


def show(run: Run, *, as_json: bool = False) -> None:
    """Prints the summary, or run.yml as JSON, then writes the page: the output appears even if it cannot be drawn."""
    from harness.report import terminal
    from harness.report.page import write_report
    from harness.report.run_summary import summarise

    summary = summarise(run)
    if as_json:
        print(strict_json(run.manifest.model_dump(mode="json")))
    else:
        terminal.print_summary(summary, run.path / "report.html")
    write_report(summary)


def _with_trials(path: Path) -> Run:
    """Returns the run. Raises UsageError where it has no trials."""
    run = load_run(path)
    if not run.rows:
        raise UsageError(f"run {run.run_id} has no trials to judge", hint="start a new run: ./run bench")
    return run


def run_check(which: str | None) -> None:
    """Judges a stored run with pytest; raises the error with the exit code of the result."""
    path = find_run(which, RESULTS)
    run = _with_trials(path)  # an unreadable file is a usage error, not a failed test
    for _ in run.records():  # a damaged file is a usage error too
        pass
    run.telemetry_totals()
    code = _pytest("tests/acceptance", "-q", f"--run={path}")
    if code == 0:
        return
    if code != 1:
        raise RigError(f"run {run.run_id} could not be judged: pytest exited with {code}", hint="see its output above")
    if run.manifest.verdict == "invalid" and all(f.verdict == "pass" for f in judged(run.findings)):
        raise InvalidMeasurement(f"run {run.run_id}: trials are invalid", hint=f"./run report --run {run.run_id}")
    raise CriterionFailed(f"run {run.run_id} does not meet every criterion", hint="the failing tests are named above")


def _pytest(*arguments: str) -> int:
    """Runs pytest in the checkout and prints its output, which has foreign text; returns its exit code.

    Settings of the environment have no effect: with PYTHONOPTIMIZE no assertion could fail.
    """
    command = [sys.executable, "-m", "pytest", "-c", "tests/acceptance/pytest.ini", "--rootdir=.", "--confcutdir=."]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    with subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env=env | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            say(line.rstrip("\n"))
    return process.returncode


def run_recheck(which: str) -> None:
    """Judges the stored samples of a run with the current checks and prints where their verdicts differ."""
    run = _with_trials(find_run(which, RESULTS))
    findings = judge(run, SCENARIOS)
    stored = {(f.cell, f.check): f.verdict for f in run.findings}
    for finding in findings:
        before = stored.pop((finding.cell, finding.check), None)
        note = "" if before == finding.verdict else f"   (stored: {before or 'absent'})"
        say(f"{finding.verdict:7} {finding.cell}: {finding.check}: {finding.detail}{note}")
    for (cell, check), verdict_before in stored.items():
        say(f"gone    {cell}: {check}   (stored: {verdict_before})")
    verdict = verdict_of(findings, invalid_trials=len(unreplaced(run.rows)))
    say(f"verdict now {verdict}, stored {run.manifest.verdict}")
    if verdict != "pass":
        kind = CriterionFailed if verdict == "fail" else InvalidMeasurement
        raise kind(
            f"run {run.run_id}: the current checks give the verdict {verdict}", hint=f"./run report --run {run.run_id}"
        )


def run_report(which: str | None, *, as_json: bool) -> None:
    """Prints the summary of a run and rewrites its report.html; `as_json`: prints its manifest."""
    run = load_run(find_run(which, RESULTS))
    if as_json:
        print(strict_json(run.manifest.model_dump(mode="json")))
    else:
        show(run)


def run_compare(a: str, b: str, *, anyway: bool, fail_if: str | None, as_json: bool = False) -> None:
    """Compares stored runs, several a side separated by commas; A is the baseline.

    The comparison is printed before anything is stored.
    """
    from harness.compare.gate import FailIf
    from harness.compare.table import text

    gate = None if fail_if is None else FailIf.parse(fail_if)
    runs_a, runs_b = load_side(a), load_side(b)
    comparison = compare_stored(runs_a, runs_b, anyway=anyway)
    print(strict_json(dataclasses.asdict(comparison)) if as_json else text(comparison))
    record_anyway(comparison, runs_b)
    if gate:
        gate.enforce(comparison)


def load_side(names: str) -> list[Run]:
    """Returns the runs of a side, `RUN` or `RUN,RUN,RUN`.

    Raises UsageError for an unknown run, with the nearest, and FormatError where a row of trials.csv was edited.
    """
    runs = [load_run(find_run(which, RESULTS)) for which in _names(names)]
    for run in runs:
        run.require_measured()
    return runs


def compare_stored(
    runs_a: Sequence[Run], runs_b: Sequence[Run], *, anyway: bool = False, comparisons: int = 1
) -> Comparison:
    """Returns the comparison of stored runs, with the noise floors of their rigs. Raises what `compare` does."""
    from harness.compare.compare import compare

    side_a, side_b = (list(map(data_of, side)) for side in (runs_a, runs_b))
    wrong = {run.run_id: failed_cells(run) for run in (*runs_a, *runs_b)}
    floors = floors_of(*runs_a, *runs_b)
    return compare(side_a, side_b, anyway=anyway, floors=floors, wrong=wrong, comparisons=comparisons)


def data_of(run: Run) -> RunData:
    """Returns a stored run as comparisons read it."""
    return RunData(run_id=run.run_id, manifest=run.manifest.model_dump(), rows=run.rows)


def floors_of(*runs: Run) -> dict[str, dict[str, float]]:
    """Returns the noise floors that are stored for the rigs of the runs, by source."""
    rigs = (run.manifest.rig for run in runs)
    floors = {f"rig '{rig.name}'": noise_floor_file.noise_floor(rig.name, rig.model_dump()) for rig in rigs}
    return {source: floor for source, floor in floors.items() if floor}


def failed_cells(run: Run) -> set[str]:
    """Returns the cells whose figures mean nothing, by comparable name: a check failed, and not for being slow."""
    bad = list(filter(discredits, run.findings))
    together = {name for name, scenario in SCENARIOS.items() if scenario.judges_together}
    failed = {f.scenario if f.scenario in together else f.cell for f in bad}
    return {comparable_name(row.cell) for row in run.rows if failed & {row.cell.name, row.cell.scenario}}


def record_anyway(comparison: Comparison, runs_b: Sequence[Run]) -> None:
    """Stores in the compared runs that they were compared in spite of unlike environments."""
    if comparison.anyway:
        unlike = "; ".join(str(difference) for difference in comparison.differences if difference.forbids)
        for run in runs_b:
            note = f"compared with {comparison.run_a} although the environments differ (--anyway): {unlike}"
            _warn_in(run, note)


def _names(side: str) -> list[str]:
    """Splits `A1,A2,A3`. Raises UsageError where one is empty; a folder whose name has a comma is one run."""
    if Path(side).is_dir():
        return [side]
    names = [name.strip() for name in side.split(",")]
    if not all(names):
        raise UsageError(f"'{printable(side, 200)}' has an empty name of a run", hint="the form is: RUN or RUN,RUN,RUN")
    return names


def _warn_in(run: Run, note: str) -> None:
    """Adds a warning to a stored run, once. Where it cannot be stored, or a bench may still write, prints that."""
    if note in run.manifest.warnings:
        return
    reason = f"its status is {run.manifest.status}, so a bench may still write it"
    if run.manifest.status not in ("started", "sampled"):
        reason = ""
        run.manifest.warnings.append(note)
        try:
            RunWriter(RESULTS, run.manifest, run.path).save()
        except RigError as error:
            reason = error.message
    if reason:
        complain(f"warning: --anyway is not recorded in run {run.run_id}: {reason}")
