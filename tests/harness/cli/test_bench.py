"""`bench`: a dry run prints the plan."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.cli import bench
from harness.cli.bench import run_bench
from harness.plan.scenario import Site
from harness.plan.variants import Variant


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
