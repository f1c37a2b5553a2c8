"""The manifest's parts that are set while a bench runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.store.run_reader import load_run
from harness.store.run_writer import RunWriter
from tests.support.builders import CODE, RIG


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    return RunWriter.start(tmp_path / "results", code=CODE, rig=RIG, options={})


def test_a_warning_is_stored_once(writer: RunWriter) -> None:
    writer.warn("a", "b")
    writer.warn("b", "c")
    writer.save()
    assert load_run(writer.path).manifest.warnings == ["a", "b", "c"]


def test_stages_add_up_also_after_an_error(writer: RunWriter) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), writer.stage("load"):
            raise KeyError
    first = writer.manifest.stages["load"]
    writer.manifest.stages["load"] = 5.0
    with writer.stage("load"):
        pass
    assert 0.0 <= first < 1.0
    assert 5.0 <= writer.manifest.stages["load"] < 6.0


def test_settings_of_components_are_added(writer: RunWriter) -> None:
    writer.settings({"postgres": {"work_mem": "4MB"}})
    writer.settings({"generator": {"ceiling_rps": 9.0}})
    assert writer.manifest.settings == {"postgres": {"work_mem": "4MB"}, "generator": {"ceiling_rps": 9.0}}


def test_canaries_skipped_scenarios_and_noise_floor_are_stored(writer: RunWriter) -> None:
    writer.canaries("before", {"load-1": {"cpu_ms": 1.0}})
    writer.skipped({"scaling": "one host"})
    writer.noise_floor({"rps": 1.05})
    writer.save()
    manifest = load_run(writer.path).manifest
    assert manifest.canaries == {"before": {"load-1": {"cpu_ms": 1.0}}}
    assert (manifest.skipped, manifest.noise_floor) == ({"scaling": "one host"}, {"rps": 1.05})
