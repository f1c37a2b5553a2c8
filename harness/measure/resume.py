"""Checks that an interrupted run may be resumed: with the same options, plan, code, rig and settings.

If the rest of its trials were measured in another environment, the manifest would describe only one of the two, and a
difference between cells could be a difference between environments.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.compare.environment import differences
from harness.errors import UsageError
from harness.model import BACKENDS
from harness.plan.load_share import as_planned
from harness.plan.planner import Plan
from harness.store.manifest import CodeRecord, RigRecord
from harness.store.run_reader import Run

NEW_RUN = "start a new run: ./run bench"
STORED_BY_TRIALS = {"generator"} | set(BACKENDS) - {"postgres"}
"""Settings that are stored while trials run: the ceiling, and the pragmas of each SQLite backend."""
MAX_DIFFERENCES = 6
"""Differences that a message lists."""


def require_unfinished(run: Run) -> None:
    """Raises UsageError if the run is complete or cannot be resumed."""
    if run.manifest.status == "finished":
        raise UsageError(f"run {run.run_id} is finished", hint=NEW_RUN)
    if run.manifest.rig.by_url:
        raise UsageError(f"run {run.run_id} cannot be resumed: it measured a service by its URL", hint=NEW_RUN)
    if not run.rows:
        raise UsageError(f"run {run.run_id} has no completed trials: nothing to resume", hint=NEW_RUN)


def require_same_options(run: Run, given: Mapping[str, object]) -> None:
    """Raises UsageError for a given option (by name; empty: not given) that differs from the run's."""
    stored = {"rig": run.manifest.rig.name, **run.manifest.options}
    for name, value in given.items():
        original = stored.get(name)
        if value and original != value:
            raise UsageError(
                f"--{name.replace('_', '-')}: run {run.run_id} was started "
                + (f"with {original!r}" if original not in (None, False) else "without it"),
                hint="a run keeps its options: give only --resume RUN",
            )


def require_same_plan(run: Run, plan: Plan) -> None:
    """Raises UsageError if the run's trials differ from the plan."""
    planned = {trial.order: trial for trial in plan.trials}
    for row in run.rows:
        if planned.get(row.trial.order, as_planned(row.trial)) != as_planned(
            row.trial
        ):  # trials that were measured once more come after the plan
            raise UsageError(
                f"run {run.run_id}: trial {row.trial.order} ({row.cell.name}) differs from the plan",
                hint="the rig or the scenarios have changed: start a new run",
            )


def require_same_environment(run: Run, *, code: CodeRecord, rig: RigRecord, settings: Mapping[str, object]) -> None:
    """Raises UsageError that lists the differences if the run was started in another environment."""
    manifest = run.manifest.model_dump()
    original = _compared(manifest["code"], manifest["rig"], manifest["settings"])
    changes = differences(original, _compared(code.model_dump(), rig.model_dump(), settings))
    if changes:
        listed = "; ".join(map(str, changes[:MAX_DIFFERENCES]))
        more = f" and {len(changes) - MAX_DIFFERENCES} more" if len(changes) > MAX_DIFFERENCES else ""
        raise UsageError(
            f"run {run.run_id} was started in another environment: {listed}{more}",
            hint="its trials would not be comparable: start a new run, or restore the original environment",
        )


def _compared(
    code: Mapping[str, object], rig: Mapping[str, object], settings: Mapping[str, object]
) -> dict[str, object]:
    """The compared parts of a manifest: not the command line, not the settings that trials store."""
    return {
        "code": {"commit": code["commit"]},
        "rig": rig,
        "settings": {name: value for name, value in settings.items() if name not in STORED_BY_TRIALS},
    }
