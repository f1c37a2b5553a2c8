"""Reading a run: lanes, outcome counts, evidence, telemetry, and finding the run."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.bottleneck import with_bottlenecks
from harness.errors import FormatError, UsageError
from harness.record import Evidence
from harness.report.trial_data import read_trials
from harness.store.csv_rows import TELEMETRY_COLUMNS
from harness.store.files import read_table
from harness.store.run_reader import Run, find_run, load_run
from harness.store.run_writer import RunWriter
from tests.support.stored_runs import EVIDENCE, recorded, row, samples
from tests.support.summaries import lane_summary

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "evidence",
    [
        EVIDENCE,
        replace(EVIDENCE, durability={"fsync": "on"}),
        replace(EVIDENCE, ledger=None),
        replace(EVIDENCE, ledger={}),
        Evidence(),
    ],
)
def test_evidence_is_read_back_unchanged(tmp_path: Path, evidence: Evidence) -> None:
    recorder = recorded(tmp_path)
    recorder.evidence(12, evidence)
    assert load_run(recorder.path).evidence(12) == evidence
    assert load_run(recorder.path).evidence(13) is None


@pytest.mark.parametrize("shared", [True, False])
def test_a_trials_clock_is_shared_if_its_summaries_say_so(tmp_path: Path, shared: bool) -> None:
    recorder = recorded(tmp_path, row(validity="broken", reasons=("stopped",)))
    assert [m.clock_shared for m in load_run(recorder.path).records()] == [False]
    folder = samples(tmp_path / "a")
    summary = replace(lane_summary(), clock_shared=shared)
    (folder / "summary.json").write_text(json.dumps(summary.to_json()), encoding="utf-8")
    recorder.lane(1, "main", folder)
    assert [m.clock_shared for m in load_run(recorder.path).records()] == [shared]


def test_lanes_are_stored_and_read_per_trial(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row(), row(order=2))
    recorder.lane(1, "main", samples(tmp_path / "a"))
    recorder.lane(1, "long", samples(tmp_path / "b", "samples.csv.gz"))
    recorder.lane(11, "main", samples(tmp_path / "c"))
    run = load_run(recorder.path)
    assert {lane: list(s.value) for lane, s in run.lanes(1).items()} == {"main": [1, 2], "long": [1, 2]}
    assert [sorted(m.lanes) for m in run.records()] == [["long", "main"], []]
    assert not (tmp_path / "a" / "samples.csv").exists()


def outcome_counts_file(folder: Path, text: str = "op,key,outcome,requests\nincrement,hot-0,ok,5\n") -> Path:
    """A lane's results without samples."""
    folder.mkdir()
    (folder / "keys.csv").write_text(text)
    return folder


def test_a_lane_without_samples_is_read_as_outcome_counts(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    recorder.lane(1, "main", outcome_counts_file(tmp_path / "a"))
    recorder.lane(1, "long", samples(tmp_path / "b"))
    recorder.lane(11, "main", outcome_counts_file(tmp_path / "c"))
    (measured,) = load_run(recorder.path).records()
    assert (list(measured.lanes), list(measured.outcome_counts)) == (["long"], ["main"])
    assert measured.requests == {("increment", "hot-0", "ok"): 5}


def test_damaged_outcome_counts_are_rejected_and_links_not_followed(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    recorder.lane(1, "main", outcome_counts_file(tmp_path / "a", "op,key,outcome,requests\nincrement,hot-0,ok,many\n"))
    with pytest.raises(FormatError, match=r"001-main\.keys\.csv: near line 2: 'many'"):
        list(load_run(recorder.path).records())
    file = recorder.path / "samples" / "001-main.keys.csv"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert load_run(recorder.path).outcome_counts(1) == {}


def test_a_trial_without_evidence_is_reported(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    (recorder.path / "evidence" / "001.json").unlink()
    with pytest.raises(FormatError, match="trial 1 has no evidence"):
        list(load_run(recorder.path).records())


def test_without_a_newest_run_the_hint_is_to_measure_or_to_name_one(tmp_path: Path) -> None:
    results = tmp_path / "results"
    recorded(results).path.rename(results / "example")
    for which in (None, "latest"):
        with pytest.raises(UsageError, match="no run in") as raised:
            find_run(which, results)
        assert raised.value.hint == "measure one: ./run bench, or name one: example"


def test_find_run_returns_the_newest_run_or_one_by_id_or_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in"):
        find_run(None, tmp_path / "results")
    first, second = recorded(tmp_path / "results"), recorded(tmp_path / "results")
    assert first.path != second.path
    assert (tmp_path / "results" / "latest").readlink() == Path(second.path.name)
    assert find_run(None, tmp_path / "results") == find_run("latest", tmp_path / "results") == second.path
    assert find_run(first.path.name, tmp_path / "results") == first.path
    assert find_run(str(first.path), tmp_path) == first.path
    assert list((tmp_path / "results").glob(".*")) == []


@pytest.mark.parametrize("which", ["nope", "9" * 5000, "a\0b", "run.yml/x", "\x1b[2J"])
def test_a_missing_run_is_reported_with_the_existing_ones(tmp_path: Path, which: str) -> None:
    made = recorded(tmp_path)
    with pytest.raises(UsageError, match="no run at") as caught:
        find_run(which, tmp_path)
    assert made.path.name in caught.value.hint
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def run_with_telemetry(path: Path, seconds: int) -> Run:
    """A run of one trial with telemetry of so many seconds, of every host of the rig."""
    recorder = recorded(path, row())
    metrics = {"host_seconds": 1.0, "cpu_used_cores": 0.5, "cpu_cap_cores": 1.0, "machine_cpu_share": 0.5}
    recorder.append(
        "telemetry",
        [
            {"order": 1, "second": second, "host": host.name, "metric": metric, "value": value}
            for second in range(seconds)
            for host in recorder.manifest.rig.hosts
            for metric, value in metrics.items()
        ],
    )
    return load_run(recorder.path)


def test_reading_telemetry_takes_constant_memory(tmp_path: Path) -> None:
    def peak(seconds: int) -> int:
        run = run_with_telemetry(tmp_path / str(seconds), seconds)
        tracemalloc.start()
        try:
            (totals,) = run.telemetry_totals().values()
            assert {one.seconds for one in totals.values()} == {float(seconds)}
            assert read_trials(run).series
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # imports and caches
    short, long = peak(400), peak(4000)
    assert long < 1.3 * short, f"{short:,} bytes became {long:,}"


def test_telemetry_may_be_larger_than_other_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with_telemetry(tmp_path, 10)
    monkeypatch.setattr("harness.store.files.MAX_CELLS", 10)
    assert run.telemetry_totals()[1]
    assert RunWriter.resume(run).path == run.path
    with pytest.raises(FormatError, match="more than 10 cells"):
        read_table(run.path / "telemetry.csv", TELEMETRY_COLUMNS)


def test_telemetry_without_line_breaks_is_rejected_before_it_fills_the_memory(tmp_path: Path) -> None:
    run = run_with_telemetry(tmp_path, 1)
    with (run.path / "telemetry.csv").open("wb") as file:
        file.truncate(2**31)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"telemetry\.csv"):
            run.telemetry_totals()
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_other_files_in_the_folder_are_not_lanes(path: Path) -> None:
    for name in ("001-..csv", "001-MAIN.csv", "001-main.csv.bak", "1-main.csv"):
        (path / "samples" / name).write_text(json.dumps([1]))
    run = load_run(path)
    assert list(run.lanes(1)) == ["main"]
    assert run.summaries(1) == {}


def test_bottlenecks_of_a_stored_run() -> None:
    run = load_run(ROOT / "tests/data/run_of_the_flat_layout")
    bottlenecks = [
        (m.held_back.split(":")[0], m.saturated)
        for m in with_bottlenecks(run.records(), run.telemetry_totals(), run.roles)
    ]
    assert ("pool waiting", ("pool waiting",)) in bottlenecks
    assert ("nothing was saturated", ()) in bottlenecks
    assert ("not known, because it ran only 1.3 s", None) in bottlenecks
