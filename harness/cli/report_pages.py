"""The pages that `report` writes about several runs."""

from __future__ import annotations

import dataclasses
import shlex
import string
import zlib
from collections.abc import Sequence
from pathlib import Path

from harness.cli import runs as stored
from harness.cli.console import say
from harness.cli.runs import compare_stored, load_side, record_anyway
from harness.compare.comparable import environment_differences
from harness.errors import InvalidMeasurement, RigError, UsageError
from harness.store.files import write_atomically
from harness.store.run_reader import Run
from harness.text import printable, strict_json

LETTERS = string.ascii_uppercase
MOST_NAMED = 3
"""Runs whose ids are in the name of a page; more have a checksum."""


def run_comparison_page(
    names: Sequence[str], run: str | None, *, anyway: bool, out: str | None, as_json: bool = False
) -> None:
    """Compares each side with the first one, prints the comparisons and writes their page.

    `names`: sides, each `RUN` or `RUN,RUN,RUN`; a single one is compared with `run`, or else with the newest. Raises
    InvalidMeasurement after the page was written where a comparison was refused.
    """
    from harness.compare.cells import RunData
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
        data = [RunData(run_id=one.run_id, manifest=one.manifest.model_dump(), rows=()) for one in (*baseline, *runs)]
        unlike = environment_differences(data)
        try:
            comparison = compare_stored(baseline, runs, anyway=anyway, comparisons=len(others))
        except InvalidMeasurement as error:
            refused.append(error)
            compared.append(Compared(name=letter, runs=tuple(runs), refusal=error.message, differences=unlike))
        else:
            compared.append(Compared(name=letter, runs=tuple(runs), comparison=comparison, differences=unlike))
    done = [one.comparison for one in compared if one.comparison]
    if as_json:
        found = [dataclasses.asdict(comparison) for comparison in done]
        if found:
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


def _command(sides: Sequence[Sequence[Run]], *, anyway: bool) -> str:
    """Returns the command that makes the page of these runs again."""
    return shlex.join(["./run", "report", "--compare", *map(_ids, sides), *(["--anyway"] if anyway else [])])


def _file_name(sides: Sequence[Sequence[Run]]) -> str:
    """Returns `compare-A-B.html`; the name differs for other runs."""
    ids = [run.run_id for side in sides for run in side]
    if len(ids) <= MOST_NAMED and all(len(side) == 1 for side in sides):
        return f"compare-{'-'.join(ids)}.html"
    return f"compare-{ids[0]}-{len(ids)}-runs-{zlib.crc32(' '.join(map(_ids, sides)).encode()):08x}.html"
