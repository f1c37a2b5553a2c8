"""A run is resumed only in the environment that it was started in; the rig of these tests exists on paper only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.cli import bench as module
from harness.errors import UsageError
from harness.measure.resume import require_unfinished
from harness.plan.scenario import Site
from harness.plan.variants import Variant
from harness.record import TrialResult
from harness.store.csv_rows import as_columns
from harness.store.manifest import RigRecord
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from tests.support.builders import CODE, RIG, SETTINGS, Made, concurrent, store

TRIAL_SETTINGS = {"generator": {"ceiling_rps": 9000.0, "processes": 1}, "sqlite-naive": {"journal_mode": "delete"}}
OPTIONS = {"scenario": "concurrent-writes", "hosts": None, "quick": False, "backend": "postgres"}


class TargetOnPaper:
    """A rig as it is when the run is resumed."""

    def __init__(self) -> None:
        self.rig, self.current_settings, self.steps = RIG.model_copy(deep=True), dict(SETTINGS), list[str]()

    def site(self) -> Site:
        return Site(hosts=4)

    def resolve(self, variants: Sequence[Variant]) -> tuple[Variant, ...]:
        return tuple(variants)

    def preflight(self, variants: Sequence[Variant] = ()) -> Sequence[str]:
        return ()

    def restore(self) -> None:
        self.steps.append("restored")

    def record(self) -> RigRecord:
        self.steps.append("recorded")
        return self.rig

    def settings(self) -> dict[str, Any]:
        return self.current_settings


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TargetOnPaper:
    made = TargetOnPaper()

    @contextlib.contextmanager
    def opened(rig: str, **_: Any) -> Iterator[tuple[TargetOnPaper, str]]:
        made.steps.append(rig)
        yield made, "nowhere"

    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "open_target", opened)
    monkeypatch.setattr(module, "code_record", lambda _: CODE.model_copy(update={"command": "./run bench --resume x"}))
    monkeypatch.setattr(module, "bench", lambda *_, **kept: (_ for _ in ()).throw(BenchCalled(kept["earlier"])))
    return made


class BenchCalled(Exception):
    """The bench was called."""


def interrupted(root: Path, **more: Any) -> Run:
    """An interrupted run with the first of two trials, as planned."""
    run = store(
        root, [Made(cell=concurrent(strategy="upsert"))], status="aborted", settings=SETTINGS | TRIAL_SETTINGS,
        options=OPTIONS, **more,
    )  # fmt: skip
    planned = module.make_plan(
        module.BenchRequest.parse(OPTIONS, known_scenarios=module.SCENARIOS),
        Site(hosts=4), module.SCENARIOS,
    ).trials[0]  # fmt: skip
    (run.path / "trials.csv").unlink()
    RunWriter(root, run.manifest, run.path).append(
        "trials", [as_columns(TrialResult(trial=planned, figures=run.rows[0].figures))]
    )
    return load_run(run.path)


def test_a_run_resumes_in_the_same_environment(target: TargetOnPaper, tmp_path: Path) -> None:
    """Another command line, and settings that the run's trials stored, make no difference."""
    run = interrupted(tmp_path)
    with pytest.raises(BenchCalled) as caught:
        module.run_bench(resume=str(run.path), scenario="concurrent-writes", quick=False)
    assert [row.trial.order for row in caught.value.args[0]] == [1]
    assert target.steps == ["local", "restored", "recorded"], "the environment is compared as provisioned"
    assert load_run(run.path).manifest.status == "started"


def change(target: TargetOnPaper, part: str) -> None:
    if part == "cap":
        target.rig.hosts[1].cpus = 0.5
    elif part == "hosts":
        del target.rig.hosts[2]
    elif part == "code":
        target.rig.code_hash = "0ther"
    elif part == "setting":
        target.current_settings = {**SETTINGS, "postgres": {**SETTINGS["postgres"], "work_mem": "64MB"}}
    else:
        target.current_settings = {**SETTINGS, "postgres": {**SETTINGS["postgres"], "synchronous_commit": "off"}}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("cap", "app.cpus: 0.25 against 3 x 0.25, 0.5"),
        ("hosts", "topology: 4 app, 1 db, 1 lb, 1 load against 3 app, 1 db, 1 lb, 1 load"),
        ("code", "rig.code_hash: 9c0ffee1 against 0ther"),
        ("setting", "settings.postgres.work_mem: not recorded against 64MB"),
        ("durability", "settings.postgres.synchronous_commit: on against off"),
    ],
)
def test_another_environment_is_refused_with_its_differences(
    target: TargetOnPaper, tmp_path: Path, part: str, message: str
) -> None:
    run = interrupted(tmp_path)
    change(target, part)
    before = (run.path / "run.yml").read_text()
    with pytest.raises(UsageError, match="was started in another environment") as caught:
        module.run_bench(resume=str(run.path))
    assert message in caught.value.message
    assert (run.path / "run.yml").read_text() == before, "the run is unchanged"


def test_another_commit_is_refused(target: TargetOnPaper, tmp_path: Path) -> None:
    run = interrupted(tmp_path, code=CODE.model_copy(update={"commit": "a" * 40}))
    with pytest.raises(UsageError, match=r"code\.commit: a{40} against 3f2a"):
        module.run_bench(resume=str(run.path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rig": "other"}, "--rig: run .* was started with 'local'"),
        ({"samples": True}, "--samples: run .* was started without it"),
        ({"quick": True}, "--quick: run .* was started without it"),
        ({"hosts": "2"}, "--hosts: run .* was started without it"),
        ({"scenario": "throughput"}, "--scenario: run .* was started with 'concurrent-writes'"),
    ],
)
def test_options_that_contradict_the_run_are_refused(
    target: TargetOnPaper, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    run = interrupted(tmp_path)
    with pytest.raises(UsageError, match=message):
        module.run_bench(**{"resume": str(run.path)} | given)
    assert target.steps == []


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"status": "finished"}, "is finished"),
        ({"rig": RIG.model_copy(update={"provider": "url"})}, "measured a service by its URL"),
        ({"trials": ()}, "has no completed trials"),
    ],
)
def test_a_run_that_cannot_be_resumed_is_refused(
    target: TargetOnPaper, tmp_path: Path, run: dict[str, Any], message: str
) -> None:
    made = store(tmp_path, **{"trials": [Made(cell=concurrent())], "status": "aborted"} | run)
    with pytest.raises(UsageError, match=message):
        module.run_bench(resume=str(made.path))
    assert target.steps == []


def test_a_run_of_an_unknown_provider_was_not_measured_by_its_url(tmp_path: Path) -> None:
    rig = RIG.model_copy(update={"provider": "unknown"})
    made = store(tmp_path, trials=[Made(cell=concurrent())], status="aborted", rig=rig)
    require_unfinished(load_run(made.path))
