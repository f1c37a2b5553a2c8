"""`bench`: a dry run prints the plan."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli import bench
from harness.cli.bench import run_bench
from harness.cli.runs import show
from harness.errors import CriterionFailed, CrucibleError, InvalidMeasurement, UsageError
from harness.model import RunVerdict
from harness.plan.options import BenchRequest
from harness.plan.scenario import Site
from harness.plan.variants import Variant
from harness.rig import state
from harness.scenarios import SCENARIOS
from harness.store.run_reader import Run, load_run
from tests.harness.report.test_pairs import stored


class TargetOnPaper:
    """A target that has a site and can do nothing else."""

    def site(self) -> Site:
        return Site(hosts=4)

    def resolve(self, variants: Sequence[Variant]) -> tuple[Variant, ...]:
        return tuple(variants)


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
    assert lines[-3] == "2 cells of 1 scenario, 2 trials, 2 of 4 app hosts"
    assert re.match(r"time: about 0:\d\d; disk: about \d+ MiB, [\d,]+ GiB are free ", lines[-2])
    assert re.search(r"the pools of all app hosts have at most \d+, PostgreSQL has 90 for them$", lines[-1])


def test_a_dry_run_as_json_is_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "open_target", lambda *_, **__: contextlib.nullcontext((TargetOnPaper(), "nowhere")))
    assert run_bench(dry_run=True, json=True, scenario="concurrent-writes,capacity", hosts="2", slo="p99:9ms") is None
    printed = capsys.readouterr()
    plan = json.loads(printed.out)
    assert plan["cost"]["budget"] == 90
    assert plan["cost"]["trials"] == len(plan["trials"]) + sum(plan["later"].values())
    assert set(plan["later"]) == {"capacity"}
    assert printed.err.startswith("load goes to nowhere: ")


def test_a_run_as_json_is_what_report_prints_and_its_page_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(state.ROOT / "results/example", tmp_path / "example"))
    (path / "report.html").unlink()
    show(load_run(path), as_json=True)
    assert json.loads(capsys.readouterr().out)["run_id"] == load_run(path).run_id
    assert (path / "report.html").exists()


@pytest.mark.parametrize("more", [{"aa": "5"}, {"fault": "mixed", "shrink": True}], ids=str)
def test_json_is_about_one_run(more: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--json is about one run"):
        run_bench(json=True, **more)


@pytest.mark.parametrize(
    ("blocks", "slower", "limit", "error"),
    [
        (8, 1.3, "slower:5%", CriterionFailed),
        (8, 1.3, "slower:90%", None),
        (8, 0.7, "slower:5%", None),
        (5, 1.3, "slower:5%", InvalidMeasurement),
    ],
)
def test_fail_if_decides_about_the_variants_after_the_run_is_shown(
    blocks: int,
    slower: float,
    limit: str,
    error: type[CrucibleError] | None,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = stored(tmp_path, blocks, slower=slower)
    shown: list[Run] = []

    @contextlib.contextmanager
    def prepared(request: BenchRequest) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(request=request)

    monkeypatch.setattr(bench, "prepare", prepared)
    monkeypatch.setattr(bench, "execute", lambda _: run)
    monkeypatch.setattr(bench, "show", lambda run, **_: shown.append(run))
    with pytest.raises(error) if error else contextlib.nullcontext():
        run_bench(vary="strategy=for-update,upsert", scenario="throughput", fail_if=limit)
    assert shown == [run]
    gate = load_run(run.path).manifest.gate
    assert gate is not None, "the outcome is stored"
    assert (gate.fail_if, gate.code) == (limit, error.exit_code if error else 0)
    assert gate.sentence


@pytest.mark.parametrize(("verdict", "error"), [("fail", CriterionFailed), ("unknown", InvalidMeasurement)])
def test_a_gate_does_not_open_for_a_run_that_did_not_pass(
    verdict: RunVerdict, error: type[CrucibleError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stored(tmp_path, 8, slower=0.7)
    run.manifest.verdict = verdict
    monkeypatch.setattr(bench, "prepare", lambda request: contextlib.nullcontext(SimpleNamespace(request=request)))
    monkeypatch.setattr(bench, "execute", lambda _: run)
    with pytest.raises(error):
        run_bench(vary="strategy=for-update,upsert", scenario="throughput", fail_if="slower:5%")
    gate = load_run(run.path).manifest.gate
    assert gate is not None
    assert gate.code == error.exit_code
    assert verdict in gate.sentence


def test_a_resumed_run_keeps_its_gate(tmp_path: Path) -> None:
    run = stored(tmp_path, 8, slower=1.3)
    run.manifest.status = "aborted"

    def resumed(**typed: str) -> str | None:
        return bench._resumed(BenchRequest.parse({"resume": "RUN", **typed}, known_scenarios=SCENARIOS), run).fail_if

    run.manifest.options = {"vary": "strategy=for-update,upsert", "scenario": "throughput"}
    assert resumed() is None
    assert resumed(fail_if="slower:9%") == "slower:9%", "one may be added"
    run.manifest.options = dict(BenchRequest.parse(
        run.manifest.options | {"fail_if": "slower:5%"}, known_scenarios=SCENARIOS
    ).texts)  # fmt: skip
    assert resumed() == resumed(fail_if="slower:5%") == "slower:5%"
    with pytest.raises(UsageError, match="was started with 'slower:5%'"):
        resumed(fail_if="slower:50%")


@pytest.mark.parametrize("limit", ["slower", "faster:5%", ""])
def test_a_limit_that_cannot_be_read_ends_before_anything_is_measured(limit: str) -> None:
    with pytest.raises(UsageError, match="--fail-if"):
        run_bench(vary="strategy=for-update,upsert", fail_if=limit)


def test_a_dry_run_with_variants_prints_the_blocks_and_whether_they_are_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    @contextlib.contextmanager
    def opened(_: str, **__: object) -> Iterator[tuple[TargetOnPaper, str]]:
        yield TargetOnPaper(), "nowhere"

    monkeypatch.setattr(bench, "open_target", opened)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    file = tmp_path / "variants.yml"
    file.write_text("slow:\nfast: {app_pool_size: 20}\n")
    load = {"scenario": "throughput", "strategy": "upsert", "repeat": "2"}
    for chosen in ({"vary": "app_pool_size=10,20"}, {"variants": str(file)}):
        assert run_bench(dry_run=True, **load, **chosen) is None
    printed = capsys.readouterr().out
    assert "compared in 2 blocks, each with every variant once" in printed
    assert "  pool_size=10 (baseline): app_pool_size=10\n  pool_size=20: app_pool_size=20\n" in printed
    assert "  slow (baseline): as provisioned\n  fast: app_pool_size=20\n" in printed
    assert printed.count("warning: 2 blocks allow no claim: with 4 pairs of cells 8 or more do (--repeat 8)") == 2
    assert [line.split()[-2:] for line in printed.splitlines() if " block " in line] == 2 * (
        [["block", "1"]] * 8 + [["block", "2"]] * 8
    )
    assert not (tmp_path / "results").exists()


def test_a_pgadmin_of_the_rig_is_a_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    addresses = {"looked-at": "http://127.0.0.1:5050/"}
    monkeypatch.setattr(bench.pgadmin, "address", lambda rig: addresses.get(rig, ""))
    assert bench.about_pgadmin("quiet") == []
    (warning,) = bench.about_pgadmin("looked-at")
    assert warning.startswith("pgAdmin ran beside the bench")
    assert "./run pgadmin --rig looked-at --stop ends it" in capsys.readouterr().out
