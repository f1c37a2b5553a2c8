"""`bench --aa N`: N runs of the same thing in separate sessions, and how much they differ: the rig's noise floor.

Each is an ordinary run, stored whole before the next begins. What differs between sessions is what --aa-between
repeats: `restart` of PostgreSQL, the service and HAProxy, `provision` of a new rig, or `none`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from harness.analysis.stats import CLAIM_TRIALS
from harness.cli.bench import DEFAULT_RIG, end_with, execute, prepare, show_plan
from harness.cli.console import complain, say
from harness.cli.runs import RESULTS, failed_cells
from harness.compare import noise_floor_file
from harness.compare.cells import RunData
from harness.compare.environment import differences
from harness.compare.noise_floor import figures_of, measured_floor, trials_of
from harness.compare.rows import METRICS
from harness.errors import CrucibleError, InvalidMeasurement, RigError
from harness.model import RunVerdict
from harness.plan.options import AA_RUNS, BenchRequest
from harness.provision.provisioner import destroy, provision
from harness.provision.restart import restart_services
from harness.rig import state
from harness.rig.rig import open_rig
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from harness.text import plural

WORST_FIRST: tuple[RunVerdict, ...] = ("fail", "invalid", "unknown", "pass")


def run_aa(request: BenchRequest) -> Run | None:
    """Makes the runs, stores the floor and returns the last run; None after a dry run.

    Raises the error of the worst run's verdict; all runs and the floor are stored before. After an interruption or an
    error the floor of the finished runs is stored, if they are enough.
    """
    count, rig = request.aa or 0, request.rig or DEFAULT_RIG
    between = request.aa_between or "restart"
    once = _single(request)
    runs: list[Run] = []
    try:
        for number in range(1, count + 1):
            if runs:
                say(f"between the runs: {between}")
                _separate(rig, between)
            with prepare(once) as prepared:
                if request.dry_run:
                    show_plan(prepared)
                    say(f"{count} runs of these trials; between them: {between}")
                    return None
                run = execute(prepared)
            runs.append(run)
            say(f"A/A run {number} of {count}: {run.run_id}: {run.manifest.verdict}")
            _write_report(run)
    except BaseException:
        if runs:
            _store_floor_of_some(runs, between, count)
        raise
    store_floor(runs, between)
    end_with(min(runs, key=lambda run: WORST_FIRST.index(run.manifest.verdict or "unknown")))
    return load_run(runs[-1].path)


def _single(request: BenchRequest) -> BenchRequest:
    """Returns the request of one of the runs, with enough trials per cell to be compared.

    `aa` stays, because some scenarios are left out then.
    """
    repeat = request.repeat or CLAIM_TRIALS
    return dataclasses.replace(request, aa_between=None, repeat=repeat, texts={**request.texts, "repeat": str(repeat)})


def _separate(rig: str, between: str) -> None:
    """Ends the session of the rig. Raises RigError where a service does not start again."""
    if between == "restart":
        with state.locked(rig), open_rig(rig) as opened:
            restart_services(opened)
    elif between == "provision":
        _build_again(rig)


def _build_again(name: str) -> None:
    """Destroys the rig and provisions it from the same inventory; its noise floor is kept."""
    stored = state.load(name)
    if stored is None:
        raise RigError(f"there is no rig '{name}'", hint=f"./run provision --rig {name}")
    floor = state.folder(name) / "noise_floor.json"
    text = floor.read_text() if floor.exists() else None
    destroy(name, echo=say)
    provision(name, echo=say, inventory=Path(stored.inventory), hosts=sum(host.role == "app" for host in stored.hosts))
    if text is not None:
        state.write_private(floor, text)


def _store_floor_of_some(runs: Sequence[Run], between: str, count: int) -> None:
    """Stores the floor of the runs that finished before an error, which stays the one to be raised."""
    with contextlib.suppress(OSError):  # the terminal may be gone (SIGHUP)
        finished = f"{len(runs)} of {count} A/A runs finished"
        if len(runs) < AA_RUNS:
            say(f"no noise floor: {finished}, {AA_RUNS} are needed")
            return
        say(f"{finished}: their noise floor is stored")
        try:
            store_floor(runs, between)
        except CrucibleError as error:
            complain(f"warning: {error.message}")


def store_floor(runs: Sequence[Run], between: str) -> None:
    """Stores how much the runs differ, in each of them and for the rig. A cell without it keeps what is known.

    Where one cell of a scenario that judges its cells together fails, all cells of the scenario are left out. Raises
    InvalidMeasurement where the runs were measured in different environments.
    """
    sides = [RunData(run_id=run.run_id, manifest=run.manifest.model_dump(), rows=run.rows) for run in runs]
    for side in sides[1:]:
        unlike = [str(one) for one in differences(sides[0].manifest, side.manifest) if one.forbids]
        if unlike:
            raise InvalidMeasurement(
                f"no noise floor: runs {sides[0].run_id} and {side.run_id} were measured in different environments: "
                + "; ".join(unlike),
                hint="all runs are stored; measure again without changing the rig in between",
            )
    wrong = {name for run in runs for name in failed_cells(run)}
    floor, without = measured_floor(sides, METRICS, wrong=wrong)
    rig = runs[-1].manifest.rig
    for line in without:
        say(f"no noise floor of {line}")
    if not floor:
        say(f"noise floor of rig '{rig.name}': nothing was measured, the known values are kept")
        return
    known = noise_floor_file.store_noise_floor(rig.name, rig.model_dump(), floor, between=between)
    for run in runs:
        run.manifest.noise_floor = known
        RunWriter(RESULTS, run.manifest, run.path).save()
    largest = {metric: ratio for metric, cell, ratio in figures_of(floor) if not cell}
    values = ", ".join(f"{metric} {ratio - 1:.1%}" for metric, ratio in largest.items())
    trials = plural(min(trials_of(floor).values()), "trial")
    say(
        f"noise floor of rig '{rig.name}' between {len(runs)} runs of {trials} ({between}), at most: {values}; "
        "smaller differences between two runs will not be reported as differences"
    )


def _write_report(run: Run) -> None:
    from harness.report.page import write_report
    from harness.report.run_summary import summarise

    try:
        write_report(summarise(run))
    except RigError as error:  # the run is stored
        complain(f"warning: the report was not written: {error.message}")
