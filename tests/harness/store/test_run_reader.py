"""A run on disk: read back as it was written, whole after any death, and harmless whoever made it."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.figures import FIGURES
from harness.errors import CrucibleError, FormatError, RigError, UsageError
from harness.load.results.samples import Sample, write
from harness.model import STRATEGIES, Cell, Finding, Trial
from harness.record import DeadRows, Evidence, TrialResult, Validity
from harness.report.trial_data import read
from harness.store.csv_rows import TRIAL_COLUMNS, as_cell, as_columns, as_text, from_columns
from harness.store.files import append_rows, read_table, write_atomically
from harness.store.manifest import CodeRecord, HostRecord, RigRecord
from harness.store.run_reader import Run, find_run, load_run
from harness.store.run_writer import RunWriter
from tests.support.summaries import lane_summary

ROOT = Path(__file__).parents[3]
CODE = CodeRecord(commit="abc", dirty=False, command="./run bench", seed=1)
RIG = RigRecord(
    name="local", provider="podman",
    hosts=[HostRecord(name="app-1", role="app", cpus=0.5, memory=2**28, kernel="6.1", versions={"python": "3.11"})],
)  # fmt: skip
CELL = Cell(scenario="s", params={"keys": "hot"})
EVIDENCE = Evidence(
    initial={"a": 1}, final={"a": 3}, ledger={"id": ("a", 2)}, counts={"client": 2, "haproxy": 2},
    servers={"app-1": 2}, notes=("app: not measured",), dead_rows=DeadRows(removed=1, not_removable=0),
    not_applicable={"x": "why"},
)  # fmt: skip


def row(cell: Cell = CELL, order: int = 1, **more: Any) -> TrialResult:
    return TrialResult(trial=Trial(cell=cell, number=2, order=order, seed=2**32 - 1), **{"figures": {}} | more)


def recorded(root: Path, *rows: TrialResult) -> RunWriter:
    """A run as a bench leaves it after these trials."""
    recorder = RunWriter.start(root, code=CODE, rig=RIG, options={"hosts": "4"})
    for each in rows:
        recorder.evidence(each.trial.order, EVIDENCE)
        recorder.append("trials", [as_columns(each)])
    return recorder


def back(root: Path, *rows: TrialResult) -> Run:
    return load_run(recorded(root, *rows).path)


# -- the round trip ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        CELL,
        Cell(scenario="s", strategy="", hosts=1, params={}),
        Cell(scenario="s", mode="open", rate=0.5, clients=1000, requests=None, seconds=1.5),
        Cell(scenario="s", backend="sqlite-naive", requests=1000, pool=0),
        Cell(scenario="s", params={"b": [1, "zwei, \"drei\"\n"], "a": None, "app_cpus": 0.08, "c": True}),
        *(Cell(scenario="s", strategy=name) for name in STRATEGIES),
    ],
)  # fmt: skip
def test_a_trial_is_read_back_as_it_was(tmp_path: Path, cell: Cell) -> None:
    wanted = row(cell, order=7, figures=dict.fromkeys(FIGURES, 0.125) | {"p99_ms": None, "rps": 0.0})
    (found,) = back(tmp_path, wanted).rows
    assert found == wanted
    assert found.cell.name == cell.name


@pytest.mark.parametrize("steady", [True, False, None])
@pytest.mark.parametrize(
    ("validity", "reasons", "columns"),
    [
        ("valid", [], ("true", "", "false")),
        ("timing_doubtful", ["sent late"], ("true", "sent late", "true")),
        ("generator_bound", ["=cmd|' /C calc'!A0"], ("false", "=cmd|' /C calc'!A0", "true")),
        ("broken", ["load-2: died", "-1 of 3"], ("false", "load-2: died; -1 of 3", "false")),
    ],
)
def test_validity_and_steadiness_are_three_columns_and_read_back(
    tmp_path: Path, *, steady: bool | None, validity: Validity, reasons: list[str], columns: tuple[str, ...]
) -> None:
    result = row(steady=steady, validity=validity, reasons=tuple(reasons))
    stored = as_columns(result)
    assert (stored["valid"], stored["reason"], stored["doubted"]) == columns
    (loaded,) = back(tmp_path, result).rows
    assert (loaded.steady, loaded.validity, loaded.reason) == (steady, validity, "; ".join(reasons))


@pytest.mark.parametrize(
    ("valid", "reason", "validity"),
    [("true", "", "valid"), ("true", "sent late", "timing_doubtful"), ("false", "sent late", "broken")],
)
def test_a_table_of_an_older_version_without_the_column_doubted_is_read(
    tmp_path: Path, valid: str, reason: str, validity: Validity
) -> None:
    raw = {name: "" if value is None else str(value) for name, value in as_columns(row()).items()}
    del raw["doubted"]
    assert from_columns(tmp_path, 2, raw | {"valid": valid, "reason": reason}).validity == validity


def test_a_figure_that_is_no_number_is_stored_as_absent(tmp_path: Path) -> None:
    (found,) = back(tmp_path, row(figures={"rps": float("nan"), "p50_ms": float("inf"), "ok": 1.0})).rows
    assert (found.figure("rps"), found.figure("p50_ms"), found.figure("ok")) == (None, None, 1.0)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"])))
def test_any_text_survives_a_cell_and_none_is_a_formula(text: str) -> None:
    cell = as_cell(text)
    assert as_text(cell) == text
    assert not cell.startswith(("=", "+", "-", "@"))


def test_a_formula_is_harmless_in_the_table_and_whole_in_the_record(tmp_path: Path) -> None:
    evil = Cell(scenario="=1+1", backend="@SUM(A1)", strategy='+HYPERLINK("http://x")', params={"k": "=2"})  # type: ignore[arg-type]
    run = back(tmp_path, row(evil, validity="broken", reasons=("line\none\r\n=two",)))
    assert run.rows[0].cell == evil
    assert run.rows[0].reason == "line one =two"
    with (run.path / "trials.csv").open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_the_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    (line,) = read_table(recorded(tmp_path, row()).path / "trials.csv")
    assert tuple(line) == TRIAL_COLUMNS
    assert set(as_columns(row(figures=dict.fromkeys(FIGURES)))) == set(TRIAL_COLUMNS)


def test_a_column_more_is_no_harm(tmp_path: Path) -> None:
    raw = {name: "" if value is None else str(value) for name, value in as_columns(row()).items()}
    assert from_columns(tmp_path, 2, raw | {"added_later": "7"}) == row()


@pytest.mark.parametrize(
    "evidence", [EVIDENCE, replace(EVIDENCE, ledger=None), replace(EVIDENCE, ledger={}), Evidence()]
)
def test_evidence_is_read_back_as_it_was(tmp_path: Path, evidence: Evidence) -> None:
    recorder = recorded(tmp_path)
    recorder.evidence(12, evidence)
    assert load_run(recorder.path).evidence(12) == evidence
    assert load_run(recorder.path).evidence(13) is None


def test_the_manifest_is_read_back_as_it_was(tmp_path: Path) -> None:
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


def test_a_finding_stored_under_an_old_name_of_its_check_is_read_under_the_present_one(tmp_path: Path) -> None:
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


def samples(folder: Path, name: str = "samples.csv", count: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        Sample(
            n,
            "increment",
            "hot-0",
            "app-1",
            10 * n,
            10 * n,
            10 * n + 5,
            "ok",
            200,
            n + 1,
            "",
            "",
            "load-1",
            "measure",
            (),
        )
        for n in range(count)
    ]
    write(folder / name, rows)
    return folder


def test_lanes_are_moved_in_and_read_by_trial(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row(), row(order=2))
    recorder.lane(1, "main", samples(tmp_path / "a"))
    recorder.lane(1, "long", samples(tmp_path / "b", "samples.csv.gz"))
    recorder.lane(11, "main", samples(tmp_path / "c"))
    run = load_run(recorder.path)
    assert {lane: list(s.value) for lane, s in run.lanes(1).items()} == {"main": [1, 2], "long": [1, 2]}
    assert [sorted(m.lanes) for m in run.measured()] == [["long", "main"], []]
    assert not (tmp_path / "a" / "samples.csv").exists()


def keys(folder: Path, text: str = "op,key,outcome,requests\nincrement,hot-0,ok,5\n") -> Path:
    """A lane's results without samples."""
    folder.mkdir()
    (folder / "keys.csv").write_text(text)
    return folder


def test_a_lane_without_samples_is_read_as_counts_by_key(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    recorder.lane(1, "main", keys(tmp_path / "a"))
    recorder.lane(1, "long", samples(tmp_path / "b"))
    recorder.lane(11, "main", keys(tmp_path / "c"))
    (measured,) = load_run(recorder.path).measured()
    assert (list(measured.lanes), list(measured.outcome_counts)) == (["long"], ["main"])
    assert measured.requests == {("increment", "hot-0", "ok"): 5}


def test_damaged_counts_by_key_are_refused_and_links_not_followed(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    recorder.lane(1, "main", keys(tmp_path / "a", "op,key,outcome,requests\nincrement,hot-0,ok,many\n"))
    with pytest.raises(FormatError, match=r"001-main\.keys\.csv: near line 2: 'many'"):
        list(load_run(recorder.path).measured())
    file = recorder.path / "samples" / "001-main.keys.csv"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert load_run(recorder.path).outcome_counts(1) == {}


def test_a_trial_without_evidence_is_an_incomplete_folder(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    (recorder.path / "evidence" / "001.json").unlink()
    with pytest.raises(FormatError, match="trial 1 has no evidence"):
        list(load_run(recorder.path).measured())


# -- finding runs, and going on with one -----------------------------------------------------------------


def test_the_newest_run_is_found_and_any_other_by_name_or_folder(tmp_path: Path) -> None:
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
def test_a_run_that_is_not_there_is_said_with_those_that_are(tmp_path: Path, which: str) -> None:
    made = recorded(tmp_path)
    with pytest.raises(UsageError, match="no run at") as caught:
        find_run(which, tmp_path)
    assert made.path.name in caught.value.hint
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def test_a_resumed_run_drops_the_seconds_of_a_trial_that_was_cut_short(tmp_path: Path) -> None:
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
    assert [line["order"] for line in read_table(run.path / "telemetry.csv")] == ["0", "1"]
    again.append("timeline", [{"order": 2, "lane": "main", "second": 0, "ok": 6}])
    assert [line["ok"] for line in run.timeline()] == ["5", "6"]


def observed(path: Path, seconds: int) -> Run:
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


def test_telemetry_of_a_long_run_takes_no_more_memory_than_that_of_a_short_one(tmp_path: Path) -> None:
    def peak(seconds: int) -> int:
        run = observed(tmp_path / str(seconds), seconds)
        tracemalloc.start()
        try:
            (heard,) = run.heard().values()
            assert {one.seconds for one in heard.values()} == {float(seconds)}
            assert read(run).courses
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # imports and caches
    short, long = peak(400), peak(4000)
    assert long < 1.3 * short, f"{short:,} bytes became {long:,}"


def test_telemetry_has_no_length_at_which_a_run_of_ones_own_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = observed(tmp_path, 10)
    monkeypatch.setattr("harness.store.files.MAX_TABLE_BYTES", (run.path / "telemetry.csv").stat().st_size - 1)
    assert run.heard()[1]
    assert RunWriter.resume(run).path == run.path
    with pytest.raises(FormatError, match="larger than"):
        read_table(run.path / "telemetry.csv")


def test_telemetry_without_line_breaks_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    run = observed(tmp_path, 1)
    with (run.path / "telemetry.csv").open("wb") as file:
        file.truncate(2**31)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"telemetry\.csv"):
            run.heard()
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_a_resume_that_is_killed_loses_no_finished_trials_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_what_a_trial_that_was_cut_short_left_is_not_read_for_todays(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    for kind, text in (("samples.csv.gz", "then"), ("keys.csv", "then"), ("samples.csv", "today")):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / kind).write_text(text)
        recorder.lane(2, "main", folder)
    assert {path.name: path.read_text() for path in (recorder.path / "samples").glob("002-*")} == {
        "002-main.csv": "today"
    }


# -- deaths and full disks -------------------------------------------------------------------------------


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Every file of this process may grow to `size` bytes: writes beyond fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_old_manifest_and_says_what_is_kept(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    recorder.manifest.warnings.append("x" * 100_000)
    with files_of_at_most(50_000), pytest.raises(RigError, match=r"run\.yml: File too large") as caught:
        recorder.save("finished")
    assert caught.value.exit_code == 3
    assert "what was measured before is kept, go on with: bench --resume RUN" in caught.value.hint
    assert load_run(recorder.path).manifest.status == "started"
    assert not list(recorder.path.glob(".*"))


def test_a_full_disk_leaves_no_half_row(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    size = (recorder.path / "trials.csv").stat().st_size
    with files_of_at_most(size + 40), pytest.raises(RigError, match=r"trials\.csv: File too large"):
        recorder.append("trials", [as_columns(row(order=2))])
    assert [r.trial.order for r in load_run(recorder.path).rows] == [1]
    recorder.append("trials", [as_columns(row(order=2))])
    assert [r.trial.order for r in load_run(recorder.path).rows] == [1, 2]


def test_a_full_disk_while_evidence_or_samples_are_stored(tmp_path: Path) -> None:
    recorder = recorded(tmp_path, row())
    with files_of_at_most(1000), pytest.raises(RigError, match=r"002\.json"):
        recorder.evidence(2, replace(EVIDENCE, final={f"k{n}": n for n in range(1000)}))
    elsewhere = Path("/dev/shm") / f"pgcrucible-{os.getpid()}"
    try:
        folder = samples(elsewhere, count=1000)
        other_disk = folder.stat().st_dev != recorder.path.stat().st_dev
        with files_of_at_most(1000):
            if other_disk:
                with pytest.raises(RigError, match="File too large"):
                    recorder.lane(2, "main", folder)
            else:
                recorder.lane(2, "main", folder)
    finally:
        subprocess.run(["rm", "-rf", str(elsewhere)], check=True)
    assert [r.trial.order for r in load_run(recorder.path).rows] == [1]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="No such file or directory"):
        write_atomically(tmp_path / "gone" / "run.yml", "x")


def test_a_death_in_mid_write_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.store.files import write_atomically\n"
        "path, n = Path(sys.argv[1]), 0\n"
        "while True:\n    n += 1\n    write_atomically(path, f'{n}\\n' * 200_000)\n    print(n, flush=True)\n"
    )
    target = tmp_path / "run.yml"
    for turn in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(target)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.001 * turn)
            process.kill()
        lines = target.read_text().splitlines()
        assert len(lines) == 200_000
        assert len(set(lines)) == 1
    write_atomically(target, "and on")
    assert [path.name for path in tmp_path.iterdir()] == ["run.yml"]


def test_nothing_is_written_through_a_link_that_lies_in_the_folder(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".run.yml.part", "run.yml", "trials.csv"):
        (folder / name).symlink_to(precious)
    write_atomically(folder / "run.yml", "new")
    with pytest.raises(RigError, match="symbolic link"):
        append_rows(folder / "trials.csv", ("a",), [{"a": 1}])
    assert precious.read_text() == "keep me"
    assert (folder / "run.yml").read_text() == "new"


# -- folders from anywhere -------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound run of one trial, for a test to spoil."""
    recorder = recorded(tmp_path / "results", row(), row(order=2))
    recorder.lane(1, "main", samples(tmp_path / "a"))
    recorder.save("finished")
    load_run(recorder.path)
    return recorder.path


def refused(read: Callable[[], object], *said: str) -> CrucibleError:
    """`read` ends with a FormatError or UsageError that is one printable line, and soon."""
    started = time.process_time()
    with pytest.raises(UsageError) as caught:
        read()
    assert time.process_time() - started < 5  # not a measurement: what hangs or explodes takes minutes
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000
    for text in said:
        assert text in caught.value.message
    return caught.value


def manifest(path: Path, **changed: Any) -> str:
    data = yaml.safe_load((path / "run.yml").read_text())
    return yaml.safe_dump(data | changed)


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "!!python/object/apply:os.system ['touch /tmp/pgcrucible-owned']",
            "tag:yaml.org,2002:python/object/apply:os.system is not allowed",
        ),
        ("format: 1\nrun_id: !!python/name:os.system ''\n", "is not allowed"),
        ("format: 1\nrun_id: !!binary aGk=\n", "is not allowed"),
        ("format: 1\nsettings: !!set {a, b}\n", "is not allowed"),
        ("format: 0x" + "f" * 1_000_000, "format 0xffff"),
        ("format: 0b" + "1" * 1_000_000, "format 0b1111"),
        ("format: 1" + ":1" * 3_000_000, "format 1:1:1"),
        ("format: 1" + ":1" * 3_000_000 + ".0", "format 1:1:1"),
        ("format: 2001-99-99", "format 2001-99-99 is not 1"),
        ("a: [" + "1," * 5_000_000 + "]", "more than 500,000 values"),
        (BOMB, "aliases are not allowed"),
        ("a: &a\n  b: *a\n", "aliases are not allowed"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ("a: " + "[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("? " * 5000 + "x", "nested too deeply"),
        ("format: " + "9" * 5000, "is not 1"),
        ("format: " + "9" * 4000, "is not 1"),
        ("format: 1\nrun_id: [", "run.yml"),
        ("", "no `format`"),
        ("- format: 1", "no `format`"),
        ("just text", "no `format`"),
        ("\0\0\0\0", "run.yml"),
        ("format: 1\nformat\x1b[2J: 2", "run.yml"),
        ("format: 99\n", "format 99 is not 1"),
        ("format: 1\n", "run_id: Field required"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_a_manifest_that_is_none_of_ours_is_refused(path: Path, text: str, said: str) -> None:
    (path / "run.yml").write_text(text)
    refused(lambda: load_run(path), said)
    assert not Path("/tmp/pgcrucible-owned").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"run_id": "../../etc/passwd"}, {"run_id": "/etc/passwd"}, {"run_id": "a/b"}, {"run_id": ""}, {"run_id": 7},
        {"run_id": "x" * 100}, {"unknown_key": 1}, {"status": "great"}, {"verdict": True}, {"findings": "none"},
        {"stages": {"load": "long"}},
        {"code": {"commit": "a", "dirty": False, "command": "b", "seed": "9" * 4000}},
        {"findings": [{"check": "c"}]}, {"\x1b[2J": 1}, {"rig": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_with_a_wrong_field_is_refused(path: Path, changed: dict[str, Any]) -> None:
    (path / "run.yml").write_text(manifest(path, **changed))
    refused(lambda: load_run(path), "run.yml")


def test_a_manifest_that_is_no_text_or_no_file_is_refused(path: Path) -> None:
    (path / "run.yml").write_bytes(b"format: 1\nrun_id: \xff\xfe\n")
    refused(lambda: load_run(path), "run.yml")
    (path / "run.yml").unlink()
    refused(lambda: load_run(path), "no run.yml")
    (path / "run.yml").symlink_to("/dev/zero")
    refused(lambda: load_run(path), "not a regular file")
    (path / "run.yml").unlink()
    os.mkfifo(path / "run.yml")
    refused(lambda: load_run(path), "not a regular file")


def test_a_manifest_without_end_is_refused_before_it_is_read(path: Path) -> None:
    with (path / "run.yml").open("wb") as file:
        file.truncate(33 * 2**20)
    refused(lambda: load_run(path), "larger than")


def line_of(path: Path, **changed: str) -> None:
    """Doctors the first trial's row."""
    lines = read_table(path / "trials.csv")
    lines[0] |= changed
    (path / "trials.csv").unlink()
    append_rows(path / "trials.csv", TRIAL_COLUMNS, lines)


@pytest.mark.parametrize(
    "changed",
    [
        {"hosts": "9" * 5000}, {"hosts": "four"}, {"rps": "fast"}, {"rps": "nan"}, {"rps": "1e999"}, {"order": "2"},
        {"order": "-1"}, {"order": "../../x"},
        {"hosts": "9" * 4000}, {"clients": "-5"}, {"seed": "1" * 16}, {"pool": "1_0"},
        {"params": "[1]"}, {"params": "[" * 50_000}, {"params": "{"},
        {"params": "9" * 5000}, {"valid": "yes"}, {"valid": ""}, {"steady": "maybe"}, {"mode": "open", "rate": ""},
        {"mode": "wide"}, {"trial": "1e3"},
    ],
    ids=str,
)  # fmt: skip
def test_a_trial_that_cannot_be_is_refused_with_its_place(path: Path, changed: dict[str, str]) -> None:
    line_of(path, **{k: v[:60_000] for k, v in changed.items()})
    refused(lambda: load_run(path), "trials.csv")


def test_a_table_that_is_none_is_refused(path: Path) -> None:
    whole = (path / "trials.csv").read_text()
    for text in (whole.replace("scenario", "scene", 1), "order\n1\n", whole[: len(whole) - 30], '"' + "x" * 200_000):
        (path / "trials.csv").write_text(text)
        refused(lambda: load_run(path), "trials.csv")
    (path / "trials.csv").write_bytes(whole.encode() + b"\xff\xfe")
    refused(lambda: load_run(path), "trials.csv")


def test_a_table_of_too_many_columns_is_refused(path: Path) -> None:
    (path / "trials.csv").write_text(",".join(map(str, range(100_000))) + "\n1\n2\n")
    refused(lambda: load_run(path), "more than 200 columns")


def test_no_table_is_a_run_without_trials(path: Path) -> None:
    (path / "trials.csv").unlink()
    assert load_run(path).rows == ()


def test_tables_behind_a_link_are_not_read(path: Path) -> None:
    (path / "trials.csv").rename(path.parent / "elsewhere.csv")
    (path / "trials.csv").symlink_to(path.parent / "elsewhere.csv")
    assert load_run(path).rows == ()


@pytest.mark.parametrize(
    "text",
    [
        "[]", "null", "7", "{}", '"ledger"', "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "{", "\xff",
        '{"ledger": null, "notes": [], "strange": 1}', '{"ledger": {"i": 7}, "notes": []}',
        '{"ledger": {"i": ["a", "x"]}, "notes": []}', '{"ledger": [], "notes": []}', '{"ledger": null, "notes": null}',
        '{"ledger": {"i": ["a", ' + "9" * 5000 + ']}, "notes": []}', '{"ledger": null, "notes": [], "final": "x"}',
        '{"ledger": null, "notes": [], "counts": {"client": "7"}}', '{"ledger": null, "notes": [], "extra": [1]}',
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_evidence_that_is_none_is_refused(path: Path, text: str) -> None:
    (path / "evidence" / "001.json").write_text(text, encoding="latin-1")
    refused(lambda: load_run(path).evidence(1), "001.json")


def test_evidence_and_samples_behind_links_are_not_read(path: Path, tmp_path: Path) -> None:
    for name in ("evidence/001.json", "samples/001-main.csv"):
        (path / name).rename(tmp_path / "elsewhere")
        (path / name).symlink_to(tmp_path / "elsewhere")
    run = load_run(path)
    assert run.evidence(1) is None
    assert run.lanes(1) == {}
    for name in ("evidence", "samples"):
        (path / name).rename(path / f"real-{name}")
        (path / name).symlink_to(path / f"real-{name}")
    assert run.evidence(2) is None
    assert (run.lanes(1), run.summaries(1), run.histogram(1, "main", "latency")) == ({}, {}, {})


SAMPLE = "0,increment,hot-0,app-1,0,0,5,ok,200,1,,,load-1,measure"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SAMPLE, SAMPLE.replace(",ok,", ",fine,")),
        (SAMPLE, SAMPLE.replace(",200,", "," + "9" * 5000 + ",")),
        (SAMPLE, SAMPLE.replace(",200,", "," + "9" * 30 + ",")),
        (SAMPLE, SAMPLE + ",more"),
        (SAMPLE, SAMPLE[:20]),
        (SAMPLE, '"' + "x" * 200_000),
        ("seq,op", "seq,seq"),
        ("seq,op", '"' + "x" * 200_000),
        ("seq,op", "\xff\xfe"),
    ],
)
def test_samples_that_are_damaged_are_refused(path: Path, old: str, new: str) -> None:
    file = path / "samples" / "001-main.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="latin-1")
    refused(lambda: load_run(path).lanes(1), "001-main.csv")


def test_compressed_samples_that_are_damaged_are_refused(path: Path) -> None:
    file = path / "samples" / "001-main.csv.gz"
    (path / "samples" / "001-main.csv").unlink()
    whole = gzip.compress(b"seq,op\n" + os.urandom(10_000))
    for data in (b"no gzip at all", whole[:50], whole[:30] + b"\0" * 20 + whole[50:], whole):
        file.write_bytes(data)
        refused(lambda: load_run(path).lanes(1), "001-main.csv.gz")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(path: Path) -> None:
    (path / "samples" / "001-main.csv.gz").write_bytes(gzip.compress(b"x" * 50_000_000))
    tracemalloc.start()
    try:
        refused(lambda: load_run(path).lanes(1), "001-main.csv.gz")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_samples_that_unpack_to_a_thousand_times_their_size_are_refused(path: Path) -> None:
    head, line, *_ = (path / "samples" / "001-main.csv").read_text().splitlines()
    bomb = gzip.compress(f"{head}\n".encode() + f"{line}\n".encode() * 100_000)
    (path / "samples" / "001-main.csv").unlink()
    (path / "samples" / "001-main.csv.gz").write_bytes(bomb)
    refused(lambda: load_run(path).lanes(1), "001-main.csv.gz", "unpacks to more than 64 times its size")


def test_a_run_whose_folders_lead_elsewhere_is_not_written_to(path: Path, tmp_path: Path) -> None:
    """A link in a run from elsewhere must not turn `bench --resume` into a pen for other folders."""
    for name in ("samples", "evidence"):
        (tmp_path / "precious").mkdir(exist_ok=True)
        (path / name).rename(path / "aside")
        (path / name).symlink_to(tmp_path / "precious")
        refused(lambda: RunWriter.resume(load_run(path)), f"{name} is not a folder of the run itself")
        (path / name).unlink()
        (path / "aside").rename(path / name)
    assert list((tmp_path / "precious").iterdir()) == []
    RunWriter.resume(load_run(path))


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{", '{"rps": NaN', "[1]", "{}"])
def test_a_summary_that_is_damaged_is_refused(path: Path, text: str) -> None:
    (path / "samples" / "001-main.summary.json").write_text(text)
    refused(lambda: load_run(path).summaries(1), "001-main.summary.json")


def test_a_summary_field_of_a_wrong_type_is_refused_by_name(path: Path) -> None:
    text = json.dumps(lane_summary().to_json() | {"busy_us": "long \x1b[2J"})
    (path / "samples" / "001-main.summary.json").write_text(text)
    refused(lambda: load_run(path).summaries(1), "summary.busy_us: expected int, got")


def test_other_files_in_the_folder_are_no_lanes(path: Path) -> None:
    for name in ("001-..csv", "001-MAIN.csv", "001-main.csv.bak", "1-main.csv"):
        (path / "samples" / name).write_text(json.dumps([1]))
    run = load_run(path)
    assert list(run.lanes(1)) == ["main"]
    assert run.summaries(1) == {}


def test_what_held_a_trial_back_is_told_in_words_and_by_name() -> None:
    told = [(m.held_back.split(":")[0], m.saturated) for m in load_run(ROOT / "results/example").measured()]
    assert ("pool waiting", ("pool waiting",)) in told
    assert ("nothing was saturated", ()) in told
    assert ("not known, because it ran only 1.3 s", None) in told
