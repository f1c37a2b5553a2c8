"""Stored runs with trials and without samples, for pages about several runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.model import Cell, Trial
from harness.record import TrialResult
from harness.store.csv_rows import as_columns
from harness.store.manifest import RigRecord
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from tests.support.builders import CODE, RIG, SETTINGS

BURST = Cell(scenario="throughput", strategy="upsert", hosts=4, clients=64, requests=64, params={"keys": "hot"})
CLOSED = Cell(scenario="throughput", strategy="for-update", hosts=4, clients=64, seconds=2.0, params={"keys": "hot"})


def light_run(
    root: Path,
    name: str,
    *,
    cells: Sequence[Cell] = (BURST,),
    slower: float = 1.0,
    trials: int = 6,
    rig: RigRecord = RIG,
    **manifest: Any,
) -> Run:
    """Stores a run whose figures have 1 % noise and loads it; `slower` divides rates and multiplies latencies."""
    recorder = RunWriter.start(root, code=CODE, rig=rig, options={})
    recorder.manifest.settings = SETTINGS
    recorder.manifest.verdict = "pass"
    for field, value in manifest.items():
        setattr(recorder.manifest, field, value)
    rng = random.Random(name)
    rows = []
    for cell in cells:
        for number in range(1, trials + 1):
            figures = {
                "sent": 1000.0,
                "ok": 1000.0,
                "rps": 3000 / slower * rng.gauss(1, 0.01),
                **{f"p{p}_ms": p / 5 * slower * rng.gauss(1, 0.01) for p in (50, 95, 99)},
            }
            trial = Trial(cell=cell, number=number, order=len(rows) + 1, seed=1)
            rows.append(as_columns(TrialResult(trial=trial, figures=figures)))
    if rows:
        recorder.append("trials", rows)
    recorder.manifest.run_id = name
    recorder.save("finished")
    recorder.path.rename(root / name)
    return load_run(root / name)
