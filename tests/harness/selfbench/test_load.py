from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.selfbench import analysis, load


def test_every_figure_has_value_unit_target_and_detail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A short run: the figures mean nothing, their form and the tools that are missing do."""
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("wrk", "hey", "haproxy") else which(name))
    monkeypatch.setattr(load, "ROUNDS", 1)
    monkeypatch.setattr(load, "SECONDS", 1)
    monkeypatch.setattr(analysis, "MILLION", 2000)
    load.main(str(tmp_path / "figures.json"))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {
        "load.closed_vs_wrk",
        "load.closed_vs_hey",
        "load.closed_vs_aiohttp",
        "load.open_p99_vs_truth",
        "analyse.seconds_per_million",
        "analyse.mb_per_million",
    }
    assert all(set(entry) == {"value", "unit", "target", "detail"} for entry in figures.values())
    for name in ("wrk", "hey"):
        assert figures[f"load.closed_vs_{name}"]["value"] is None
        assert figures[f"load.closed_vs_{name}"]["detail"].startswith(f"not measured: {name} is not installed")
    for name in ("load.closed_vs_aiohttp", "load.open_p99_vs_truth", "analyse.seconds_per_million"):
        assert figures[name]["value"] > 0
    assert capsys.readouterr().out.count("\n") == len(figures)
