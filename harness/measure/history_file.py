"""Writes the transactions of a lane as a history that Elle reads, beside the lane's samples in the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.histories import elle
from harness.histories.recorded import recorded
from harness.load.results.samples import read_samples
from harness.load.spec import LoadSpec
from harness.record import Captures, distinct


def write_histories(folder: Path, order: int, lanes: Mapping[str, LoadSpec], captures: Captures, seed: int) -> None:
    """Writes `NNN-lane.history.json` for each lane of the trial whose operation draws list-append transactions.

    `folder`: of the samples. Times of all load hosts are on the clock of the run, as in the samples.
    """
    for lane, spec in lanes.items():
        drawn = spec.operations[0].transactions
        files = [file for suffix in ("csv", "csv.gz") if (file := folder / f"{order:03d}-{lane}.{suffix}").exists()]
        if drawn is None or drawn.kind != "list-append" or not files:
            continue
        samples = distinct(read_samples(files[0]))
        history = recorded(samples, captures.get(lane, ()), drawn, seed=seed, one_clock=True)
        with (folder / f"{order:03d}-{lane}.history.json").open("w", encoding="utf-8") as out:
            out.writelines(f"{line}\n" for line in elle.lines(history))
