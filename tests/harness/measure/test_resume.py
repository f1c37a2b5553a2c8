"""A run is gone on with in the environment that it was begun in, or not at all: at the door, on a rig on paper."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli import bench as module
from harness.errors import UsageError
from harness.plan.scenario import Site
from harness.record import TrialResult
from harness.store.csv_rows import as_columns
from harness.store.manifest import RigRecord
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from tests.support.builders import CODE, RIG, SETTINGS, Made, concurrent, store

FOUND = {"generator": {"ceiling_rps": 9000.0, "processes": 1}, "sqlite-naive": {"journal_mode": "delete"}}
OPTIONS = {"scenario": "concurrent-writes", "hosts": None, "quick": False, "backend": "postgres"}


class TargetOnPaper:
    """A rig as it is when the run is gone on with."""

    def __init__(self) -> None:
        self.rig, self.set_up, self.steps = RIG.model_copy(deep=True), dict(SETTINGS), list[str]()

    def site(self) -> Site:
        return Site(hosts=4)

    def preflight(self) -> None:
        """Nothing to check."""

    def restore(self) -> None:
        self.steps.append("restored")

    def record(self) -> RigRecord:
        self.steps.append("recorded")
        return self.rig

    def settings(self) -> dict[str, Any]:
        return self.set_up


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
    monkeypatch.setattr(module, "bench", lambda *_, **kept: (_ for _ in ()).throw(GoneOn(kept["earlier"])))
    return made


class GoneOn(Exception):
    """The bench was reached."""


def cut(root: Path, **more: Any) -> Run:
    """An interrupted run with the first of two trials, as planned."""
    run = store(
        root, [Made(cell=concurrent(strategy="upsert"))], status="aborted", settings=SETTINGS | FOUND,
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


def test_the_same_environment_is_gone_on_in(target: TargetOnPaper, tmp_path: Path) -> None:
    """Another command line, and settings that the run's own trials brought, make no difference."""
    run = cut(tmp_path)
    with pytest.raises(GoneOn) as caught:
        module.run_bench(resume=str(run.path), scenario="concurrent-writes", quick=False)
    assert [row.trial.order for row in caught.value.args[0]] == [1]
    assert target.steps == ["local", "restored", "recorded"], "what is compared is the tier as provisioned"
    assert load_run(run.path).manifest.status == "started"


def unlike(target: TargetOnPaper, what: str) -> None:
    if what == "cap":
        target.rig.hosts[1].cpus = 0.5
    elif what == "hosts":
        del target.rig.hosts[2]
    elif what == "code":
        target.rig.code_hash = "0ther"
    elif what == "setting":
        target.set_up = {**SETTINGS, "postgres": {**SETTINGS["postgres"], "work_mem": "64MB"}}
    else:
        target.set_up = {**SETTINGS, "postgres": {**SETTINGS["postgres"], "synchronous_commit": "off"}}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("cap", "app.cpus: 0.25 against 3 x 0.25, 0.5"),
        ("hosts", "topology: 4 app, 1 db, 1 lb, 1 load against 3 app, 1 db, 1 lb, 1 load"),
        ("code", "rig.code_hash: 9c0ffee1 against 0ther"),
        ("setting", "settings.postgres.work_mem: not recorded against 64MB"),
        ("durability", "settings.postgres.synchronous_commit: on against off"),
    ],
)
def test_another_environment_is_refused_with_the_list(
    target: TargetOnPaper, tmp_path: Path, what: str, said: str
) -> None:
    run = cut(tmp_path)
    unlike(target, what)
    before = (run.path / "run.yml").read_text()
    with pytest.raises(UsageError, match="was begun in another environment") as caught:
        module.run_bench(resume=str(run.path))
    assert said in caught.value.message
    assert (run.path / "run.yml").read_text() == before, "the run stays as it was"


def test_another_commit_is_refused(target: TargetOnPaper, tmp_path: Path) -> None:
    run = cut(tmp_path, code=CODE.model_copy(update={"commit": "a" * 40}))
    with pytest.raises(UsageError, match=r"code\.commit: a{40} against 3f2a"):
        module.run_bench(resume=str(run.path))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rig": "other"}, "--rig: run .* was begun with 'local'"),
        ({"aa": True}, "--aa: run .* was begun without it"),
        ({"quick": True}, "--quick: run .* was begun without it"),
        ({"hosts": "2"}, "--hosts: run .* was begun without it"),
        ({"scenario": "throughput"}, "--scenario: run .* was begun with 'concurrent-writes'"),
    ],
)
def test_options_that_contradict_the_run_are_refused(
    target: TargetOnPaper, tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    run = cut(tmp_path)
    with pytest.raises(UsageError, match=said):
        module.run_bench(**{"resume": str(run.path)} | given)
    assert target.steps == []


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"status": "finished"}, "is finished"),
        ({"rig": RIG.model_copy(update={"provider": "url"})}, "a service known by its URL"),
        ({"trials": ()}, "holds no trials"),
    ],
)
def test_nothing_to_go_on_with_is_said(target: TargetOnPaper, tmp_path: Path, run: dict[str, Any], said: str) -> None:
    made = store(tmp_path, **{"trials": [Made(cell=concurrent())], "status": "aborted"} | run)
    with pytest.raises(UsageError, match=said):
        module.run_bench(resume=str(made.path))
    assert target.steps == []
