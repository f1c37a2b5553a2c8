"""Writing and resuming a run: atomic, also on a full disk, and never outside of the run."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.store.csv_rows import TELEMETRY_COLUMNS, as_columns
from harness.store.files import read_table
from harness.store.run_reader import find_run, load_run
from harness.store.run_writer import RunWriter
from tests.support.stored_runs import CODE, EVIDENCE, RIG, recorded, rejected, row, samples


def test_resume_drops_the_seconds_of_an_interrupted_trial(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    recorder.save("aborted")
    recorder.append("timeline", [{"order": order, "lane": "main", "second": 0, "ok": 5} for order in (1, 2)])
    recorder.append(
        "telemetry",
        [{"order": order, "second": 3, "host": "db-1", "metric": "cpu", "value": 0.5} for order in (0, 1, 2)],
    )
    again = RunWriter.resume(load_run(recorder.path))
    run = load_run(again.path)
    assert run.manifest.status == "started"
    assert [line["order"] for line in run.timeline()] == ["1"]
    assert [line["order"] for line in read_table(run.path / "telemetry.csv", TELEMETRY_COLUMNS)] == ["0", "1"]
    again.append("timeline", [{"order": 2, "lane": "main", "second": 0, "ok": 6}])
    assert [line["ok"] for line in run.timeline()] == ["5", "6"]


def test_runs_that_start_in_the_same_second_have_different_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another session makes the folder between the look and the making: the second bench ended with an error."""
    monkeypatch.setattr(Path, "exists", lambda _: False)
    started = dt.datetime.now(dt.UTC)
    taken = [(started + dt.timedelta(seconds=n)).strftime("%Y%m%d-%H%M%S") for n in range(60)]
    for name in taken:
        (tmp_path / name).mkdir()
    runs = [RunWriter.start(tmp_path, code=CODE, rig=RIG, options={}) for _ in range(3)]
    names = [run.path.name for run in runs]
    assert len({*names, *taken}) == 63
    assert all(name == run.manifest.run_id and name[:15] in taken for name, run in zip(names, runs, strict=True))
    assert sorted([names[0], names[0][:15], taken[59]]) == [names[0][:15], names[0], taken[59]], "the order is kept"
    assert find_run(names[0], tmp_path) == runs[0].path


def test_a_killed_resume_keeps_the_seconds_of_finished_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = recorded(tmp_path, row())
    recorder.append("timeline", [{"order": order, "lane": "main", "second": 0, "ok": 5} for order in (1, 2)])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    run = load_run(recorder.path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            RunWriter.resume(run)
    assert [line["order"] for line in load_run(recorder.path).timeline()] == ["1", "2"]


def test_results_of_an_interrupted_trial_are_replaced(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    for kind, text in (("samples.csv.gz", "then"), ("keys.csv", "then"), ("samples.csv", "today")):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / kind).write_text(text)
        recorder.lane(2, "main", folder)
    assert {path.name: path.read_text() for path in (recorder.path / "samples").glob("002-*")} == {
        "002-main.csv": "today"
    }


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Every file of this process may grow to `size` bytes: writes beyond fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_old_manifest(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    recorder.manifest.warnings.append("x" * 100_000)
    with file_size_limit(50_000), pytest.raises(RigError, match=r"run\.yml: File too large") as caught:
        recorder.save("finished")
    assert caught.value.exit_code == 3
    assert "finished trials are kept, continue with: bench --resume RUN" in caught.value.hint
    assert load_run(recorder.path).manifest.status == "started"
    assert not list(recorder.path.glob(".*"))


def test_a_full_disk_leaves_no_partial_row(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    size = (recorder.path / "trials.csv").stat().st_size
    with file_size_limit(size + 40), pytest.raises(RigError, match=r"trials\.csv: File too large"):
        recorder.append("trials", [as_columns(row(order=2))])
    assert [r.trial.order for r in load_run(recorder.path).rows] == [1]
    recorder.append("trials", [as_columns(row(order=2))])
    assert [r.trial.order for r in load_run(recorder.path).rows] == [1, 2]


def test_a_full_disk_while_evidence_or_samples_are_stored(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    with file_size_limit(1000), pytest.raises(RigError, match=r"002\.json"):
        recorder.evidence(2, replace(EVIDENCE, final={f"k{n}": n for n in range(1000)}))
    elsewhere = Path("/dev/shm") / f"pgcrucible-{os.getpid()}"
    try:
        folder = samples(elsewhere, count=1000)
        other_disk = folder.stat().st_dev != recorder.path.stat().st_dev
        with file_size_limit(1000):
            if other_disk:
                with pytest.raises(RigError, match="File too large"):
                    recorder.lane(2, "main", folder)
            else:
                recorder.lane(2, "main", folder)
    finally:
        subprocess.run(["rm", "-rf", str(elsewhere)], check=True)
    assert [r.trial.order for r in load_run(recorder.path).rows] == [1]


def test_a_run_with_symbolic_links_as_folders_is_not_written_to(path: Path, tmp_path: Path) -> None:
    """A link in a run from elsewhere must not turn `bench --resume` into a pen for other folders."""
    for name in ("samples", "evidence"):
        (tmp_path / "precious").mkdir(exist_ok=True)
        (path / name).rename(path / "aside")
        (path / name).symlink_to(tmp_path / "precious")
        rejected(lambda: RunWriter.resume(load_run(path)), f"{name} is not a folder of the run")
        (path / name).unlink()
        (path / "aside").rename(path / name)
    assert list((tmp_path / "precious").iterdir()) == []
    RunWriter.resume(load_run(path))


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
