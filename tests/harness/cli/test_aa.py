"""`bench --aa N` makes N ordinary runs and stores how much they differ as the noise floor of the rig."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import aa, bench
from harness.cli.aa import store_floor
from harness.compare import noise_floor_file
from harness.compare.cells import comparable_name
from harness.errors import CriterionFailed, InvalidMeasurement, RigError
from harness.model import Cell, RunVerdict, Trial
from harness.plan.options import BenchRequest
from harness.plan.planner import Plan
from harness.plan.scenario import Site
from harness.record import TrialResult
from harness.rig import state
from harness.store.csv_rows import as_columns
from harness.store.manifest import FindingRecord, RigRecord
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from tests.support.builders import CODE, RIG

CELL = Cell(scenario="throughput", hosts=4, clients=64, seconds=4.0)
OTHER = replace(CELL, strategy="for-update")
KNOWN = {"rps": 1.5, "rps before": 1.5}
RATES = (1000.0, 1010.0, 990.0, 1020.0, 980.0)


@pytest.fixture(autouse=True)
def rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    monkeypatch.setattr(aa, "RESULTS", tmp_path / "results")
    noise_floor_file.store_noise_floor(RIG.name, RIG.model_dump(), KNOWN)


def name(cell: Cell) -> str:
    return comparable_name(cell)


def run_of(
    root: Path, *cells: Cell, rate: float = 1000.0, valid: bool = True, failed: Cell | None = None,
    verdict: RunVerdict = "pass", rig: RigRecord = RIG,
) -> Run:  # fmt: skip
    recorder = RunWriter.start(root / "results", code=CODE, rig=rig, options={})
    rows = [
        TrialResult(
            trial=Trial(cell=cell, number=number, order=place * 3 + number, seed=1),
            validity="valid" if valid else "broken",
            figures={"rps": rate},
        )
        for place, cell in enumerate(cells)
        for number in range(1, 4)
    ]
    recorder.append("trials", [as_columns(row) for row in rows])
    if failed:
        bad = FindingRecord(scenario=failed.scenario, cell=failed.name, check="c", verdict="fail", detail="d")
        recorder.manifest.findings = [bad]
    recorder.manifest.noise_floor = dict(KNOWN)
    recorder.manifest.verdict = verdict
    recorder.save("finished")
    return load_run(recorder.path)


def runs_of(root: Path, *cells: Cell, **more: Any) -> list[Run]:
    return [run_of(root, *cells, rate=rate, **more) for rate in RATES]


def test_a_measured_floor_is_added_to_the_known_one_and_stored_in_every_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = runs_of(tmp_path, CELL)
    store_floor(runs, "restart")
    floor = noise_floor_file.noise_floor(RIG.name, RIG.model_dump())
    assert set(floor) == {*KNOWN, f"rps {name(CELL)}", f"runs {name(CELL)}", f"trials {name(CELL)}"}
    assert 1.15 < floor[f"rps {name(CELL)}"] < 1.16
    assert (floor[f"runs {name(CELL)}"], floor[f"trials {name(CELL)}"]) == (5, 3)
    assert "between 5 runs of 3 trials (restart)" in capsys.readouterr().out
    assert [load_run(run.path).manifest.noise_floor for run in runs] == [floor] * 5


@pytest.mark.parametrize(
    ("bad", "reason"),
    [({"valid": False}, "valid trials in 4 of 5 runs, 5 are needed"), ({"failed": CELL}, "it failed a check")],
)
def test_runs_that_show_nothing_keep_the_known_floor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: dict[str, Any], reason: str
) -> None:
    store_floor([*runs_of(tmp_path, CELL)[:4], run_of(tmp_path, CELL, **bad)], "restart")
    assert noise_floor_file.noise_floor(RIG.name, RIG.model_dump()) == KNOWN
    output = capsys.readouterr().out
    assert f"no noise floor of {name(CELL)}: {reason}" in output
    assert "the known values are kept" in output


def test_a_failed_cell_does_not_affect_other_cells(tmp_path: Path) -> None:
    store_floor([*runs_of(tmp_path, CELL, OTHER)[:4], run_of(tmp_path, CELL, OTHER, failed=OTHER)], "restart")
    assert set(noise_floor_file.noise_floor(RIG.name, RIG.model_dump())) == {
        *KNOWN, f"rps {name(CELL)}", f"runs {name(CELL)}", f"trials {name(CELL)}",
    }  # fmt: skip


def test_cells_that_are_judged_together_fail_together(tmp_path: Path) -> None:
    """The ratio of the times of two pools is wrong; the finding names one of them."""
    pools = [Cell(scenario="pool-sweep", clients=200, requests=200, pool=pool) for pool in (1, 5)]
    store_floor(runs_of(tmp_path, *pools, CELL, failed=pools[0]), "restart")
    assert set(noise_floor_file.noise_floor(RIG.name, RIG.model_dump())) == {
        *KNOWN, f"rps {name(CELL)}", f"runs {name(CELL)}", f"trials {name(CELL)}",
    }  # fmt: skip


def test_runs_of_different_environments_have_no_floor(tmp_path: Path) -> None:
    hosts = [host.model_copy(update={"cpus": (host.cpus or 1.0) + 1}) for host in RIG.hosts]
    other = RIG.model_copy(update={"hosts": hosts})
    with pytest.raises(InvalidMeasurement, match="different environments"):
        store_floor([*runs_of(tmp_path, CELL)[:4], run_of(tmp_path, CELL, rig=other)], "restart")
    assert noise_floor_file.noise_floor(RIG.name, RIG.model_dump()) == KNOWN


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What run_aa does, with runs on paper."""
    done: list[object] = []
    rates = iter(RATES)

    @contextlib.contextmanager
    def prepared(request: BenchRequest) -> Iterator[Any]:
        assert (bool(request.aa), request.repeat, request.texts["repeat"]) == (True, 5, "5"), "scenarios see --aa"
        yield SimpleNamespace(request=request, plan=Plan(trials=()), site=Site(hosts=1))

    def execute(_: object) -> Run:
        done.append("run")
        return run_of(tmp_path, CELL, rate=next(rates), verdict="fail" if done.count("run") == 2 else "pass")

    monkeypatch.setattr(aa, "prepare", prepared)
    monkeypatch.setattr(aa, "execute", execute)
    monkeypatch.setattr(aa, "_write_report", lambda _: None)
    monkeypatch.setattr(aa, "_separate", lambda rig, between: done.append((rig, between)))
    return done


def test_sessions_are_separate_and_the_worst_verdict_is_the_exit_code(steps: list[object], tmp_path: Path) -> None:
    with pytest.raises(CriterionFailed):
        bench.run_bench(aa="5", rig="r")
    assert steps == ["run", *(("r", "restart"), "run") * 4]
    assert len([path for path in (tmp_path / "results").iterdir() if not path.is_symlink()]) == 5
    assert f"runs {name(CELL)}" in noise_floor_file.noise_floor(RIG.name, RIG.model_dump())


@pytest.mark.parametrize(("finished", "floor"), [(1, False), (4, False), (5, True), (6, True)])
@pytest.mark.parametrize("error", [KeyboardInterrupt("SIGTERM"), RigError("the rig is gone")])
def test_after_an_interruption_the_floor_of_the_finished_runs_is_stored(
    tmp_path: Path, steps: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    error: BaseException, *, finished: int, floor: bool,
) -> None:  # fmt: skip
    rates = iter([*RATES, 1000.0])

    def execute(_: object) -> Run:
        if steps.count("run") == finished:
            raise error
        steps.append("run")
        return run_of(tmp_path, CELL, rate=next(rates))

    monkeypatch.setattr(aa, "execute", execute)
    with pytest.raises(type(error)):
        aa.run_aa(BenchRequest(aa=7, rig="r", repeat=5, texts={}))
    known = noise_floor_file.noise_floor(RIG.name, RIG.model_dump())
    assert (f"runs {name(CELL)}" in known) == floor
    output = capsys.readouterr().out
    if floor:
        assert known[f"runs {name(CELL)}"] == finished
        assert f"{finished} of 7 A/A runs finished: their noise floor is stored" in output
    else:
        assert f"no noise floor: {finished} of 7 A/A runs finished, 5 are needed" in output


def test_an_interruption_stays_the_error_where_the_finished_runs_have_no_floor(
    tmp_path: Path, steps: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def store(*_: object) -> None:
        raise InvalidMeasurement("no noise floor: different environments")

    def execute(_: object) -> Run:
        if steps.count("run") == 5:
            raise KeyboardInterrupt
        steps.append("run")
        return run_of(tmp_path, CELL)

    monkeypatch.setattr(aa, "execute", execute)
    monkeypatch.setattr(aa, "store_floor", store)
    with pytest.raises(KeyboardInterrupt):
        aa.run_aa(BenchRequest(aa=7, rig="r", repeat=5, texts={}))
    assert "different environments" in capsys.readouterr().err


def test_a_dry_run_says_how_many_runs(steps: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run_bench(aa="7", aa_between="provision", dry_run=True) is None
    assert steps == []
    assert "7 runs of these trials; between them: provision" in capsys.readouterr().out


def test_a_rig_that_is_built_again_keeps_its_floor_and_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = state.make_folder("r")
    (folder / "noise_floor.json").write_text("kept")
    hosts = tuple(SimpleNamespace(role=role) for role in ("db", "app", "app", "lb", "load"))
    calls: list[object] = []

    def destroy(name: str, **_: object) -> None:
        (folder / "noise_floor.json").unlink()
        calls.append(("destroy", name))

    monkeypatch.setattr(state, "load", lambda _: SimpleNamespace(inventory="/in/local.yml", hosts=hosts))
    monkeypatch.setattr(aa, "destroy", destroy)
    monkeypatch.setattr(
        aa, "provision", lambda name, *, inventory, hosts, **_: calls.append((name, str(inventory), hosts))
    )
    aa._build_again("r")
    assert calls == [("destroy", "r"), ("r", "/in/local.yml", 2)]
    assert (folder / "noise_floor.json").read_text() == "kept"
    monkeypatch.setattr(state, "load", lambda _: None)
    with pytest.raises(RigError, match="no rig 'r'"):
        aa._build_again("r")
