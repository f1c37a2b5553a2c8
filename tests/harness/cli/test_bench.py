"""What `bench --aa` keeps of a run that measured everything twice, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.bench import _store_floor, run_bench
from harness.compare import noise_floor_file
from harness.compare.cells import cell_of
from harness.errors import UsageError
from harness.model import Cell, Trial
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
    return cell_of(as_columns(TrialResult(trial=Trial(cell=cell, number=1, order=1, seed=1), figures={})))


def kept(root: Path, *cells: Cell, half: int = 5, invalid: int = 0, failed: Cell | None = None) -> Run:
    """A run of `cells`, its later half 10 % faster, stored and given to `bench --aa`'s last step."""
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


def test_what_was_measured_joins_what_was_known(tmp_path: Path) -> None:
    floor = kept(tmp_path, CELL).manifest.noise_floor
    assert floor == pytest.approx({**KNOWN, f"rps {name(CELL)}": 1.1})
    assert noise_floor_file.noise_floor(RIG.name, RIG.model_dump()) == floor


@pytest.mark.parametrize(
    ("half", "invalid", "failed", "why"),
    [
        (1, 0, None, "1 and 1 valid trials, 5 and 5 needed"),
        (5, 10, None, "0 and 0 valid trials, 5 and 5 needed"),
        (5, 1, None, "4 and 5 valid trials, 5 and 5 needed"),
        (5, 0, CELL, "it failed a check"),
    ],
)
def test_what_shows_nothing_leaves_what_was_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, half: int, invalid: int, failed: Cell | None, why: str
) -> None:
    run = kept(tmp_path, CELL, half=half, invalid=invalid, failed=failed)
    assert run.manifest.noise_floor == KNOWN == noise_floor_file.noise_floor(RIG.name, RIG.model_dump())
    said = capsys.readouterr().out
    assert f"no noise floor of {name(CELL)}: {why}" in said
    assert "the known values are kept" in said


def test_a_cell_that_failed_does_not_cost_the_others(tmp_path: Path) -> None:
    floor = kept(tmp_path, CELL, OTHER, failed=OTHER).manifest.noise_floor
    assert set(floor) == {*KNOWN, f"rps {name(CELL)}"}


def test_trials_that_are_judged_together_fail_together(tmp_path: Path) -> None:
    """The ratio of two pools' times is wrong, whichever of the two it is said of."""
    pools = [Cell(scenario="pool-sweep", clients=200, requests=200, pool=pool) for pool in (1, 5)]
    floor = kept(tmp_path, *pools, CELL, failed=pools[0]).manifest.noise_floor
    assert set(floor) == {*KNOWN, f"rps {name(CELL)}"}


def test_twice_the_trials_must_be_a_number_of_trials() -> None:
    with pytest.raises(UsageError, match="--repeat 501 with --aa is 1,002 trials") as refused:
        run_bench(rig="none", aa=True, repeat="501")
    assert refused.value.hint == "give 1 to 500"
