"""The tasks ls and rm: which runs are stored, and the removal of one."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.cli.console import confirm, say
from harness.cli.runs import RESULTS
from harness.errors import CrucibleError, RigError, UsageError
from harness.rig import state
from harness.store.run_reader import Run, find_run, load_run
from harness.store.run_removal import remove_run, require_run, size_of
from harness.text import plural, printable, strict_json


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """One line of `ls`. `verdict`: that of a finished run, else its status; `damaged`, with the reason in `what`."""

    run_id: str
    started: str
    verdict: str
    trials: int
    bytes: int
    what: str


def stored_runs(root: Path) -> list[StoredRun]:
    """Returns the runs below `root`, the newest first; those that cannot be read are last."""
    folders: list[Path] = []
    with contextlib.suppress(OSError):
        folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and path.name[0] != "."]
    return sorted(map(_read, folders), key=lambda run: (run.started, run.run_id), reverse=True)


def _read(path: Path) -> StoredRun:
    try:
        run = load_run(path)
    except (CrucibleError, OSError) as error:
        reason = str(error).replace(f"{path}/", "").replace(str(path), path.name)
        return StoredRun(
            run_id=path.name, started="", verdict="damaged", trials=0, bytes=size_of(path), what=printable(reason, 200)
        )
    manifest = run.manifest
    return StoredRun(
        run_id=path.name,
        started=manifest.started,
        verdict=manifest.verdict if manifest.status == "finished" else manifest.status,
        trials=len(run.rows),
        bytes=size_of(path),
        what=_what(run),
    )


def _what(run: Run) -> str:
    """Returns what was measured: the scenarios, the app hosts and the rig or the service."""
    scenarios = list(dict.fromkeys(row.cell.scenario for row in run.rows))
    shown = ", ".join(scenarios[:3]) + (f" and {len(scenarios) - 3} more" if len(scenarios) > 3 else "")
    hosts = max((row.cell.hosts for row in run.rows), default=0)
    of = f" of {plural(len(run.manifest.variants), 'variant')}" if run.manifest.variants else ""
    where = "a service" if run.manifest.rig.by_url else f"rig {run.manifest.rig.name}"
    return f"{shown or 'no trial'}{of}, {plural(hosts, 'host')}, {where}"


def run_ls(*, as_json: bool) -> None:
    """Prints the stored runs, the newest first."""
    runs = stored_runs(RESULTS)
    if as_json:
        print(strict_json([asdict(run) for run in runs]))
        return
    if not runs:
        say(f"no run in {RESULTS}/ yet; measure one: ./run bench")
        return
    width = max(len(run.run_id) for run in runs)
    say(f"{'run':<{width}}  {'verdict':<8}  {'trials':>6}  {'size':>8}  what")
    for run in runs:
        say(f"{run.run_id:<{width}}  {run.verdict:<8}  {run.trials:>6,}  {_size(run.bytes):>8}  {run.what}")


def run_rm(which: str, *, yes: bool) -> None:
    """Removes a stored run after a confirmation. Raises UsageError for what is no run, or one that is measured."""
    path = find_run(which, RESULTS)
    require_run(path, RESULTS)
    described = _read(path)
    _require_unused(path)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"run {path.name} is not removed: there is no terminal to ask on", hint="add --yes")
        if not confirm(f"remove run {path.name} ({described.verdict}, {_size(described.bytes)}: {described.what})?"):
            raise UsageError("not removed", hint="answer y, or add --yes")
    remove_run(path, RESULTS)
    say(f"run {path.name} is removed: {_size(described.bytes)}")


def _require_unused(path: Path) -> None:
    """Raises RigError while a bench may still write the run: it is unfinished and its rig is locked."""
    try:
        manifest = load_run(path).manifest
    except CrucibleError:
        return
    if manifest.status in ("started", "sampled") and state.is_name(manifest.rig.name):
        try:
            with state.locked(manifest.rig.name):
                pass
        except RigError as error:
            raise RigError(f"run {path.name} may still be measured: {error.message}", hint=error.hint) from None


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.0f} KiB"
