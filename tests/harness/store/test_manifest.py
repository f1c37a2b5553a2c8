"""run.yml: read back unchanged."""

from __future__ import annotations

from pathlib import Path

from harness.model import Finding
from harness.store.manifest import RigRecord
from harness.store.run_reader import load_run
from tests.support.stored_runs import CELL, recorded, row


def test_the_manifest_is_read_back_unchanged(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    found = Finding(scenario="s", cell=CELL.name, check="c", verdict="fail", detail="1 lost: '{}'", numbers={"lost": 1})
    recorder.findings([found], "fail")
    manifest = recorder.manifest
    manifest.settings = {"postgres": {"jit": "off"}, "app": {"app-1": {"pool_size": 5}}}
    manifest.stages, manifest.skipped, manifest.warnings = {"load": 1.25}, {"x": "no"}, ["# - : ünsäfe\n"]
    manifest.noise_floor, manifest.canaries = {"rps": 1.02}, {"before": {"app-1": {"cpu_ms": 9.5}}}
    recorder.save("finished")
    run = load_run(recorder.path)
    assert run.manifest == manifest
    assert run.findings == (found,)
    assert run.manifest.finished.endswith("Z")
    assert run.run_id == recorder.path.name


def test_an_old_name_of_a_check_is_read_as_the_present_one(tmp_path: Path) -> None:
    recorder = recorded(tmp_path)
    stored = [Finding(scenario="s", cell="c", check=name, verdict="pass", detail="") for name in ("control", "spread")]
    recorder.findings(stored, "pass")
    recorder.save()
    text = (recorder.path / "run.yml").read_text()
    (recorder.path / "run.yml").write_text(text.replace("check: negative control", "check: control"))
    assert [finding.check for finding in load_run(recorder.path).findings] == ["negative control", "spread"]


def test_numbers_of_a_finding_become_plain_yaml(tmp_path: Path) -> None:
    recorder = recorded(tmp_path)
    numbers = {"speedup": {2: 1.91234567}, "set": ("a", "b"), "path": Path("x"), "none": None, "yes": True}
    recorder.findings([Finding(scenario="s", cell="c", check="c", verdict="pass", detail="", numbers=numbers)], "pass")
    recorder.save()
    (read,) = load_run(recorder.path).findings
    assert read.numbers == {
        "speedup": {"2": 1.912346}, "set": ["a", "b"], "path": "x", "none": None, "yes": True,
    }  # fmt: skip


def test_only_the_provider_url_marks_a_service_measured_by_its_url() -> None:
    assert RigRecord(name="service", provider="url").by_url
    assert not RigRecord(name="local", provider="podman").by_url
    assert not RigRecord(name="local", provider="unknown").by_url
