"""`bench --aa` stores the noise floor of a run that measured everything twice; a dry run prints the plan."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import bench
from harness.cli.bench import _store_floor, run_bench
from harness.compare import noise_floor_file
from harness.compare.cells import comparable_name
from harness.model import Cell, Trial
from harness.plan.scenario import Site
from harness.record import TrialResult
from harness.rig import state
from harness.store.csv_rows import as_columns
from harness.store.manifest import FindingRecord
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from tests.support.builders import CODE, RIG

CELL = Cell(scenario="throughput", hosts=4, clients=64, seconds=4.0)
OTHER = replace(CELL, strategy="for-update")
KNOWN = {"rps": 1.5, "rps before": 1.5}


@pytest.fixture(autouse=True)
def rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    noise_floor_file.store_noise_floor(RIG.name, RIG.model_dump(), KNOWN)


def name(cell: Cell) -> str:
    return comparable_name(cell)


def stored(root: Path, *cells: Cell, half: int = 5, invalid: int = 0, failed: Cell | None = None) -> Run:
    """Stores a run of `cells` whose later half is 10 % faster, then its noise floor."""
    recorder = RunWriter.start(root, code=CODE, rig=RIG, options={})
    rows = [
        TrialResult(
            trial=Trial(cell=cell, number=number, order=place * 2 * half + number, seed=1),
            validity="valid" if number > invalid else "broken",
            figures={"rps": 1000.0 if number <= half else 1100.0},
        )
        for place, cell in enumerate(cells)
        for number in range(1, 2 * half + 1)
    ]
    recorder.append("trials", [as_columns(row) for row in rows])
    if failed:
        bad = FindingRecord(scenario=failed.scenario, cell=failed.name, check="c", verdict="fail", detail="d")
        recorder.manifest.findings = [bad]
    recorder.manifest.noise_floor = dict(KNOWN)
    recorder.save("finished")
    return _store_floor(load_run(recorder.path), half=half)


def test_a_measured_floor_is_added_to_the_known_one(tmp_path: Path) -> None:
    floor = stored(tmp_path, CELL).manifest.noise_floor
    assert floor == pytest.approx({**KNOWN, f"rps {name(CELL)}": 1.1})
    assert noise_floor_file.noise_floor(RIG.name, RIG.model_dump()) == floor


@pytest.mark.parametrize(
    ("half", "invalid", "failed", "reason"),
    [
        (1, 0, None, "1 and 1 valid trials, 5 and 5 are needed"),
        (5, 10, None, "0 and 0 valid trials, 5 and 5 are needed"),
        (5, 1, None, "4 and 5 valid trials, 5 and 5 are needed"),
        (5, 0, CELL, "it failed a check"),
    ],
)
def test_trials_that_show_nothing_keep_the_known_floor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, half: int, invalid: int, failed: Cell | None, reason: str
) -> None:
    run = stored(tmp_path, CELL, half=half, invalid=invalid, failed=failed)
    assert run.manifest.noise_floor == KNOWN == noise_floor_file.noise_floor(RIG.name, RIG.model_dump())
    output = capsys.readouterr().out
    assert f"no noise floor of {name(CELL)}: {reason}" in output
    assert "the known values are kept" in output


def test_a_failed_cell_does_not_affect_other_cells(tmp_path: Path) -> None:
    floor = stored(tmp_path, CELL, OTHER, failed=OTHER).manifest.noise_floor
    assert set(floor) == {*KNOWN, f"rps {name(CELL)}"}


def test_cells_that_are_judged_together_fail_together(tmp_path: Path) -> None:
    """The ratio of the times of two pools is wrong; the finding names one of them."""
    pools = [Cell(scenario="pool-sweep", clients=200, requests=200, pool=pool) for pool in (1, 5)]
    floor = stored(tmp_path, *pools, CELL, failed=pools[0]).manifest.noise_floor
    assert set(floor) == {*KNOWN, f"rps {name(CELL)}"}


class TargetOnPaper:
    """A target that has a site and can do nothing else."""

    def site(self) -> Site:
        return Site(hosts=4)


def test_a_dry_run_prints_the_plan_releases_the_target_and_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[object] = []

    @contextlib.contextmanager
    def opened(rig: str, *, read_only: bool, **_: object) -> Iterator[tuple[TargetOnPaper, str]]:
        steps.append((rig, read_only))
        yield TargetOnPaper(), "nowhere"
        steps.append("closed")

    monkeypatch.setattr(bench, "open_target", opened)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    assert run_bench(dry_run=True, scenario="concurrent-writes", strategy="upsert", hosts="2") is None
    assert steps == [("local", True), "closed"]
    assert not (tmp_path / "results").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("load goes to nowhere: ")
    assert lines[1].endswith("  trial 1")
