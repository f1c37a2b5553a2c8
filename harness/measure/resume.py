"""Whether an interrupted run may be gone on with: the same options, plan, code, rig and settings.

Half of its trials were measured before. Were the other half measured in another environment, the run's manifest would
describe one of the two, and a difference between cells could be one between then and now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.compare.environment import differences
from harness.errors import UsageError
from harness.model import BACKENDS
from harness.plan.planner import Plan
from harness.provision.providers import PROVIDERS
from harness.store.manifest import CodeRecord, RigRecord
from harness.store.run_reader import Run

NEW = "start a new run: ./run bench"
READ_LATER = {"generator"} | set(BACKENDS) - {"postgres"}
"""Settings that a run's own trials bring: the ceiling, and the pragmas of each SQLite set-up."""
MOST = 6
"""So many differences are named one by one."""


def require_unfinished(run: Run) -> None:
    """Raises UsageError where nothing is missing of the run, or where it cannot be gone on with."""
    if run.manifest.status == "finished":
        raise UsageError(f"run {run.run_id} is finished", hint=NEW)
    if run.manifest.rig.provider not in PROVIDERS:
        raise UsageError(f"run {run.run_id} is of a service known by its URL", hint=NEW)
    if not run.rows:
        raise UsageError(f"run {run.run_id} holds no trials: there is nothing to go on with", hint=NEW)


def require_same_options(run: Run, given: Mapping[str, Any]) -> None:
    """Raises UsageError for options (by name; empty: not given) that are not those of the run."""
    was = {"rig": run.manifest.rig.name, **run.manifest.options}
    for name, value in given.items():
        if value and was.get(name) != value:
            said = was.get(name)
            raise UsageError(
                f"--{name.replace('_', '-')}: run {run.run_id} was begun "
                + (f"with {said!r}" if said not in (None, False) else "without it"),
                hint="a run keeps its options: give only --resume RUN",
            )


def require_same_plan(run: Run, plan: Plan) -> None:
    """Raises UsageError where the run's trials are not those planned now."""
    planned = {trial.order: trial for trial in plan.trials}
    for row in run.rows:
        if planned.get(row.trial.order, row.trial) != row.trial:  # those made up for come after the plan
            raise UsageError(
                f"run {run.run_id}: its trial {row.trial.order} ({row.cell.name}) is not the one planned now",
                hint="the rig or the scenarios have changed since: start a new run",
            )


def require_same_environment(run: Run, *, code: CodeRecord, rig: RigRecord, settings: Mapping[str, Any]) -> None:
    """Raises UsageError, with the list, where the environment is not the one that the run was begun in."""
    manifest = run.manifest.model_dump()
    then = _compared(manifest["code"], manifest["rig"], manifest["settings"])
    found = differences(then, _compared(code.model_dump(), rig.model_dump(), settings))
    if found:
        more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
        raise UsageError(
            f"run {run.run_id} was begun in another environment: {'; '.join(map(str, found[:MOST]))}{more}",
            hint="its trials would not belong together: start a new run, or put back what has changed",
        )


def _compared(code: Mapping[str, Any], rig: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """As a manifest: the commit, not the command line; the settings, not what trials have found."""
    return {
        "code": {"commit": code["commit"]},
        "rig": rig,
        "settings": {name: value for name, value in settings.items() if name not in READ_LATER},
    }
