"""The pages that `report` writes about several runs."""

from __future__ import annotations

import dataclasses
import os
import shlex
import string
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import runs as stored
from harness.cli.console import say
from harness.cli.runs import compare_stored, data_of, failed_cells, floors_of, load_side, record_anyway
from harness.compare.comparable import environment_differences
from harness.errors import FormatError, InvalidMeasurement, RigError, UsageError
from harness.scenarios import SCENARIOS
from harness.store.files import write_atomically
from harness.store.run_reader import Run, load_run
from harness.text import nearest, printable, strict_json

if TYPE_CHECKING:
    from harness.report.comparison_facts import Compared

LETTERS = string.ascii_uppercase
EXAMPLE = "example"
"""Folder of the run that the checkout brings."""
MOST_NAMED = 3
"""Runs whose ids are in the name of a page; more have a checksum."""


def run_comparison_page(
    names: Sequence[str], run: str | None, *, anyway: bool, out: str | None, as_json: bool = False
) -> None:
    """Compares each side with the first one, prints the comparisons and writes their page.

    `names`: sides, each `RUN` or `RUN,RUN,RUN`; a single one is compared with `run`, or else with the newest. Raises
    InvalidMeasurement after the page was written where a comparison was refused.
    """
    from harness.compare.table import text
    from harness.report.cards_page import render
    from harness.report.comparison_facts import Compared
    from harness.report.comparison_page import build

    if len(names) > 1 and run is not None:
        raise UsageError("--run is not needed with --compare A B", hint="name all runs after --compare")
    if len(names) > len(LETTERS):
        raise UsageError(f"--compare has {len(names)} sides", hint=f"at most {len(LETTERS)}")
    sides = [load_side(name) for name in ([*names, run or "latest"] if len(names) == 1 else names)]
    baseline, others = sides[0], sides[1:]
    compared, refused = list[Compared](), list[InvalidMeasurement]()
    for letter, runs in zip(LETTERS[1:], others, strict=False):
        unlike = environment_differences(list(map(data_of, (*baseline, *runs))))
        try:
            comparison = compare_stored(baseline, runs, anyway=anyway, comparisons=len(others))
        except InvalidMeasurement as error:
            refused.append(error)
            compared.append(Compared(name=letter, runs=tuple(runs), refusal=error.message, differences=unlike))
        else:
            compared.append(Compared(name=letter, runs=tuple(runs), comparison=comparison, differences=unlike))
    done = [one.comparison for one in compared if one.comparison]
    if as_json:
        found = list(map(_as_data, compared))
        if done or len(others) > 1:
            print(strict_json(found[0] if len(others) == 1 else found))
    else:
        for comparison in done:
            print(text(comparison))
        command = _command(sides, anyway=anyway)
        write_page(render(build(baseline, compared, command=command)), out, _file_name(sides))
    for one in compared:
        if one.comparison:
            record_anyway(one.comparison, one.runs)
    if refused:
        raise refused[0]


def _as_data(one: Compared) -> dict[str, object]:
    """Returns a comparison as data; one that was refused with the reason and the differences of the environments."""
    if one.comparison is not None:
        return dataclasses.asdict(one.comparison)
    unlike = [dataclasses.asdict(difference) for difference in one.differences]
    return {"run_b": _ids(one.runs), "refused": one.refusal, "differences": unlike}


def run_trend_page(scenario: str, rig: str, *, out: str | None, as_json: bool = False) -> None:
    """Writes the page of a scenario over all stored runs of a rig; `as_json`: prints runs and series instead.

    Raises UsageError where no stored run of the rig has trials of the scenario, with the nearest name.
    """
    from harness.compare.trend import trend
    from harness.report.cards_page import render
    from harness.report.trend_page import build
    from harness.report.trend_words import TrendSource

    known, unreadable = _stored_runs()
    runs = [run for run in known if run.manifest.rig.name == rig and _has(run, scenario)]
    edited = {run.run_id: reason for run in runs if (reason := _edited(run, scenario))}
    runs = [run for run in runs if run.run_id not in edited]
    unreadable += [f"run {run_id} does not count: {reason}" for run_id, reason in edited.items()]
    if not runs:
        raise UsageError(
            f"no stored run of rig '{printable(rig, 80)}' has trials of '{printable(scenario, 80)}'",
            hint=_nearest(known, scenario, rig),
        )
    wrong = {run.run_id: failed_cells(run) for run in runs}
    data = [replace(one, rows=[row for row in one.rows if row.cell.scenario == scenario]) for one in map(data_of, runs)]
    found = trend(data, wrong=wrong, floors=floors_of(*runs))
    if as_json:
        series = [
            dataclasses.asdict(one)
            | {"changes": [dataclasses.asdict(change) | {"claimed": change.claimed} for change in one.changes]}
            for one in found.series
        ]
        placed = [{"run_id": one.run.run_id, "environment": one.environment} for one in found.runs]
        print(strict_json({"runs": placed, "series": series, "tested": found.tested, "unreadable": unreadable}))
        return
    source = TrendSource(rig=rig, scenario=scenario, runs=tuple(runs), trend=found, unreadable=tuple(unreadable))
    command = shlex.join(["./run", "report", "--trend", scenario, "--rig", rig])
    name = "".join(char if char.isalnum() or char in "-_" else "-" for char in f"trend-{rig}-{scenario}"[:120])
    write_page(render(build(source, command=command)), out, f"{name}.html")


def _stored_runs() -> tuple[list[Run], list[str]]:
    """Returns the runs in the order of time, and a sentence for each folder that is not among them.

    A folder that cannot be read is not, nor is a copy: a run is one observation. The example that the checkout brings
    is of another machine.
    """
    runs, unreadable = dict[str, Run](), list[str]()
    for path in sorted(stored.RESULTS.glob("*/run.yml")):
        if path.parent.is_symlink() or path.parent.name.startswith(".") or path.parent == stored.RESULTS / EXAMPLE:
            continue
        try:
            run = load_run(path.parent)
        except UsageError as error:
            reason = error.message.replace(f"{path.parent}/", "")
            unreadable.append(f"run {path.parent.name} could not be read: {printable(reason, 200)}")
            continue
        other = runs.get(run.run_id)
        copy = run
        if other is None or run.path.name == run.run_id:
            runs[run.run_id], copy = run, other or run
        if other is not None:
            text = f"{copy.path.name} is another copy of run {run.run_id} and does not count"
            unreadable.append(printable(text, 200))
    return sorted(runs.values(), key=lambda run: (run.manifest.started, run.run_id)), unreadable


def _edited(run: Run, scenario: str) -> str:
    """Returns why the run's trials of the scenario do not have the figures of their samples; empty if they do."""
    try:
        run.require_measured(scenario)
    except FormatError as error:
        return printable(error.message.replace(f"{run.path}/", ""), 200)
    return ""


def _has(run: Run, scenario: str) -> bool:
    return any(row.cell.scenario == scenario for row in run.rows)


def _nearest(runs: Sequence[Run], scenario: str, rig: str) -> str:
    """Returns a hint: rigs that have the scenario, or else the nearest scenario of the rig."""
    rigs = sorted({run.manifest.rig.name for run in runs if _has(run, scenario)})
    if rigs:
        return f"rigs whose runs have it: {printable(', '.join(rigs), 200)} (--rig)"
    here = {row.cell.scenario for run in runs if run.manifest.rig.name == rig for row in run.rows}
    if scenario not in {*here, *SCENARIOS}:
        return nearest(scenario, here or SCENARIOS)
    return f"measure it: ./run bench --rig {printable(rig, 80)} --scenario {scenario}"


def write_page(text: str, out: str | None, name: str) -> None:
    """Writes a page to `out`, or under its own name into the folder of the runs, and prints the path."""
    path = Path(out) if out else stored.RESULTS / name
    if path.is_dir():
        raise UsageError(f"--out {printable(path, 200)} is a folder", hint="name a file: --out page.html")
    if not path.parent.is_dir():
        raise UsageError(f"--out: there is no folder {printable(path.parent, 200)}", hint="make it, or name another")
    try:
        write_atomically(path, text)
    except OSError as error:
        raise RigError(f"{printable(path, 200)}: {error.strerror}", hint="name another file with --out") from None
    say(f"report: {path}")


def _ids(side: Sequence[Run]) -> str:
    return ",".join(run.run_id for run in side)


def _typed(side: Sequence[Run]) -> str:
    """Returns the runs of a side as one may type them: ids, or paths of runs that are elsewhere."""
    return ",".join(
        run.run_id if (stored.RESULTS / run.run_id).resolve() == run.path else os.path.relpath(run.path) for run in side
    )


def _command(sides: Sequence[Sequence[Run]], *, anyway: bool) -> str:
    """Returns the command that makes the page of these runs again."""
    return shlex.join(["./run", "report", "--compare", *map(_typed, sides), *(["--anyway"] if anyway else [])])


def _file_name(sides: Sequence[Sequence[Run]]) -> str:
    """Returns `compare-A-B.html`; the name differs for other runs."""
    ids = [run.run_id for side in sides for run in side]
    if len(ids) <= MOST_NAMED and all(len(side) == 1 for side in sides):
        return f"compare-{'-'.join(ids)}.html"
    return f"compare-{ids[0]}-{len(ids)}-runs-{zlib.crc32(' '.join(map(_ids, sides)).encode()):08x}.html"
