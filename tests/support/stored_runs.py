"""Runs written by the real RunWriter, for the tests of the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CrucibleError, UsageError
from harness.load.results.samples import Sample, write
from harness.model import Cell, Trial
from harness.record import DeadRows, Evidence, TrialResult
from harness.store.csv_rows import as_columns
from harness.store.manifest import CodeRecord, HostRecord, RigRecord
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter

CODE = CodeRecord(commit="abc", dirty=False, command="./run bench", seed=1)

RIG = RigRecord(
    name="local", provider="podman",
    hosts=[HostRecord(name="app-1", role="app", cpus=0.5, memory=2**28, kernel="6.1", versions={"python": "3.11"})],
)  # fmt: skip

CELL = Cell(scenario="s", params={"keys": "hot"})

EVIDENCE = Evidence(
    initial={"a": 1}, final={"a": 3}, ledger={"id": ("a", 2)}, counts={"client": 2, "haproxy": 2},
    servers={"app-1": 2}, notes=("app: not measured",), dead_rows=DeadRows(removed=1, not_removable=0),
    not_applicable={"x": "why"},
)  # fmt: skip


def row(cell: Cell = CELL, order: int = 1, **more: Any) -> TrialResult:
    return TrialResult(trial=Trial(cell=cell, number=2, order=order, seed=2**32 - 1), **{"figures": {}} | more)


def recorded(root: Path, *rows: TrialResult) -> RunWriter:
    """A writer whose run holds these trials and their evidence."""
    recorder = RunWriter.start(root, code=CODE, rig=RIG, options={"hosts": "4"})
    for each in rows:
        recorder.evidence(each.trial.order, EVIDENCE)
        recorder.append("trials", [as_columns(each)])
    return recorder


def store_and_load(root: Path, *rows: TrialResult) -> Run:
    return load_run(recorded(root, *rows).path)


def samples(folder: Path, name: str = "samples.csv", count: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        Sample(
            n,
            "increment",
            "hot-0",
            "app-1",
            10 * n,
            10 * n,
            10 * n + 5,
            "ok",
            200,
            n + 1,
            "",
            "",
            "load-1",
            "measure",
            (),
        )
        for n in range(count)
    ]
    write(folder / name, rows)
    return folder


def rejected(read: Callable[[], object], *texts: str) -> CrucibleError:
    """`read` raises a FormatError or UsageError with one printable line, in less than 5 s of CPU time."""
    started = time.process_time()
    with pytest.raises(UsageError) as caught:
        read()
    assert time.process_time() - started < 5  # not a measurement: what hangs or explodes takes minutes
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000
    for text in texts:
        assert text in caught.value.message
    return caught.value
