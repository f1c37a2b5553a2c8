"""Damaged run folders and the commands that read them: each command ends with a result or an error of one line.

Each folder is results/example with a few values changed at random, with a seed. Every command terminates, raises only
CrucibleError, prints no control character, and writes only its own files.
"""

from __future__ import annotations

import copy
import csv
import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import runs
from harness.errors import CrucibleError

EXAMPLE = Path(__file__).parents[3] / "results/example"
CELLS = [
    "", "-1", "0", "1e308", "-1e308", "9" * 15, "nan", "inf", "=1+1", "<script>alert(1)</script>", "\x1b[2J",
    "x" * 5000, "{}", '{"a": 1e999}', "true", "open", "1_000", "\u0661", "postgres", "sqlite-naive", "unsafe",
    "deadlocks", "isolation", "throughput", "scaling", "connections", "../../etc/passwd", "\u202e",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 10**18, 1e308, float("nan"), "", "<script>alert(1)</script>", "\x1b]0;x\x07", [], {}, [[]],
    {"a": {}}, [1] * 50, {"": None}, "../../etc/passwd",
]  # fmt: skip


def change_value(document: Any, chance: random.Random) -> Any:
    """`document` with one value, somewhere in it, gone or another."""
    place, key, node = None, None, document
    while isinstance(node, dict | list) and node and (place is None or chance.random() < 0.8):
        place, key = node, chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node = place[key]
    if place is None:
        return copy.deepcopy(chance.choice(VALUES))
    if isinstance(place, dict) and chance.random() < 0.2:
        del place[key]
    else:
        place[key] = copy.deepcopy(chance.choice(VALUES))
    return document


def damage(path: Path, chance: random.Random) -> None:
    """Damages one file of the run."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        for _ in range(chance.choice((1, 3, 20))):
            row = chance.choice(rows)
            row[chance.randrange(len(row))] = chance.choice(CELLS)
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    elif path.suffix == ".yml":
        path.write_text(yaml.safe_dump(change_value(yaml.safe_load(path.read_text()), chance)))
    elif path.suffix == ".json":
        path.write_text(json.dumps(change_value(json.loads(path.read_text()), chance)))
    else:
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(bytes(content))


COMMANDS: dict[str, Callable[[str], object]] = {
    "report": lambda run: runs.run_report(run, as_json=False),
    "report --json": lambda run: runs.run_report(run, as_json=True),
    "compare": lambda run: runs.run_compare(str(EXAMPLE), run, anyway=False, fail_if=None),
    "compare --anyway": lambda run: runs.run_compare(run, run, anyway=True, fail_if="slower:5%"),
    "check --recheck": runs.run_recheck,
}


@pytest.mark.parametrize("file", ["trials.csv", "run.yml", "evidence/00[1-6].json", "samples/*", "t*.csv"])
def test_a_doctored_run_does_no_harm(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(4):
        chance, run = random.Random(f"{file} {seed}"), tmp_path / "run"
        shutil.copytree(EXAMPLE, run)
        damage(chance.choice(sorted(run.glob(file))), chance)
        shown = chance.choice(list(COMMANDS)[1:])
        for name in ("report", shown):
            began = time.process_time()
            try:
                COMMANDS[name](str(run))
            except CrucibleError as error:
                print(error.message, error.hint, file=sys.stderr)
            output = "".join(capsys.readouterr())
            assert not [char for char in output if not char.isprintable() and char != "\n"], (seed, name)
            assert time.process_time() - began < 20, (seed, name)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        page = (run / "report.html").read_text()
        assert "<script" not in page
        shutil.rmtree(run)
