"""Stored runs compared and judged again as a user does it: from disk alone, by command line, with exit codes."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import shutil
from pathlib import Path

import pytest
import yaml

from harness.__main__ import CommandLine
from harness.checks import names
from harness.checks.evaluate import verdict_of
from harness.cli import runs
from harness.cli.report_pages import run_trend_page
from harness.compare import noise_floor_file
from harness.compare.cells import comparable_name
from harness.errors import InvalidMeasurement, UsageError
from harness.measure.judge import judge
from harness.rig import state
from harness.rig.state import ROOT
from harness.scenarios import SCENARIOS
from harness.store.manifest import FindingRecord
from harness.store.run_reader import load_run
from harness.store.run_writer import RunWriter
from tests.support.builders import RIG, SETTINGS
from tests.support.light_runs import light_run
from tests.support.run_commands import CASES, CELL, Ended, stored


def gated(folder: Path, slo: str) -> None:
    """Stores the concurrent writes of the example as a bench with --slo does."""
    shutil.copytree(ROOT / "results" / "example", folder)
    table = folder / "trials.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if "isolation" not in line and "deadlocks" not in line))
    for path in (*folder.glob("evidence/*"), *folder.glob("samples/*")):
        if path.name[:3] not in ("001", "002"):
            path.unlink()
    run = load_run(folder)
    run.manifest.options["slo"] = slo
    writer = RunWriter(folder.parent, run.manifest, folder)
    findings = judge(run, SCENARIOS)
    writer.findings(findings, verdict_of(findings, invalid_trials=0))
    writer.save()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results."""
    root = tmp_path_factory.mktemp("results")
    stored(root, "base")
    stored(root, "same")
    stored(root, "slower", slower=1.12)
    stored(root, "wrong", slower=0.8, verdict="fail")
    stored(root, "slightly", slower=1.02)
    for name, check, slower in (("lossy", names.FINAL_VALUE, 0.8), ("late", names.SLO, 1.12)):
        finding = FindingRecord(scenario=CELL.scenario, cell=CELL.name, check=check, verdict="fail", detail="")
        stored(root, name, slower=slower, verdict="fail", findings=[finding])
    stored(root, "both", other=True)
    stored(root, "noisy", slower=1.12, rig=RIG.model_copy(update={"name": "noisy"}))
    for name in ("slower-2", "slower-3"):
        stored(root, name, slower=1.12)
    for name in ("alone-1", "alone-2", "alone-3"):
        stored(root, name, noise_floor={})
    stored(root, "few", slower=2, trials=2)
    stored(root, "empty", trials=0)
    careless = copy.deepcopy(SETTINGS)
    careless["postgres"]["fsync"] = "off"  # type: ignore[index]
    stored(root, "elsewhere", settings=careless)
    for name in ("forced", "again", "archived", "running"):
        stored(root, name, settings=careless)
    (root / "archived" / ".run.yml.part").mkdir()  # like a read-only disk
    running = root / "running" / "run.yml"
    running.write_text(running.read_text().replace("status: finished", "status: started"))
    (root / "future").mkdir()
    (root / "future" / "run.yml").write_text("format: 99\n")
    shutil.copytree(root / "base", root / "base-copy")
    for name in ("example", "doctored"):
        shutil.copytree(ROOT / "results" / "example", root / name)
    gated(root / "held", "p99:5s")
    shutil.copytree(root / "held", root / "edited")
    table = root / "edited" / "trials.csv"
    table.write_text(table.read_text().replace(",1348.988798,", ",2348.988798,"))
    gated(root / "broken", "p99:5ms")
    samples = next((root / "doctored" / "samples").glob("001-main.csv"))
    lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join([*lines, lines[-1].replace("-load-1-", "-load-1-0")]))  # another request, by its id
    return root


@pytest.fixture(scope="module")
def answers(root: Path) -> dict[str, Ended]:
    """Runs every command once."""
    ended = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(runs, "RESULTS", root)
        patch.setattr(state, "RIGS", root / ".rigs")
        noise_floor_file.store_noise_floor(
            "noisy", RIG.model_dump(), {f"rps {comparable_name(CELL)}": 1.3, f"runs {comparable_name(CELL)}": 5.0}
        )
        for name, (arguments, *_) in CASES.items():
            out, err, code = io.StringIO(), io.StringIO(), 0
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    CommandLine(name="pgcrucible", binary="./run", binary_names=["./run"]).run(["./run", *arguments])
                except SystemExit as end:
                    code = int(end.code or 0)
            ended[name] = Ended(code=code, out=out.getvalue(), err=err.getvalue())
    return ended


@pytest.mark.parametrize("name", CASES)
def test_each_command_ends_as_expected(name: str, answers: dict[str, Ended]) -> None:
    done, (_, code, message) = answers[name], CASES[name]
    assert done.code == code, done.out + done.err
    if code == 0:
        assert done.err == ""
        assert message in done.out
        return
    lines = done.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"]
    assert message in lines[0]


def test_a_comparison_with_anyway_is_recorded_in_the_run(root: Path, answers: dict[str, Ended]) -> None:
    assert answers["elsewhere anyway"].code == 0
    forced = load_run(root / "forced")
    base = yaml.safe_load((root / "base" / "run.yml").read_text())["run_id"]
    warning = (
        f"compared with {base} although the environments differ (--anyway): settings.postgres.fsync: on against off"
    )
    assert forced.manifest.warnings == load_run(root / "again").manifest.warnings == [warning]
    assert load_run(root / "elsewhere").manifest.warnings == [], "a refused comparison leaves no trace"


@pytest.mark.parametrize(("name", "reason"), [("archived", "Is a directory"), ("running", "its status is started")])
def test_the_comparison_is_printed_even_if_anyway_cannot_be_recorded(
    name: str, reason: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "RESULTS", root)
    before = (root / name / "run.yml").read_bytes()
    with pytest.raises(InvalidMeasurement, match="were measured in different environments"):
        runs.run_compare("base", name, anyway=True, fail_if="slower:5%")
    output = capsys.readouterr()
    assert "this proves nothing" in output.out
    assert output.err.startswith("warning: --anyway is not recorded in run ")
    assert reason in output.err
    assert (root / name / "run.yml").read_bytes() == before


def test_json_has_the_whole_comparison(answers: dict[str, Ended]) -> None:
    parsed = json.loads(answers["as JSON"].out)
    assert [row["metric"] for row in parsed["rows"]] == ["rps", "p50_ms", "p95_ms", "p99_ms"]
    assert parsed["tested"] == 4
    assert json.loads(answers["report as JSON"].out) == parsed


def test_a_refused_side_is_in_the_list_with_the_reason(answers: dict[str, Ended]) -> None:
    refused, done = json.loads(answers["three as JSON, one refused"].out)
    assert set(refused) == {"run_b", "refused", "differences"}
    assert refused["run_b"] == "elsewhere"
    assert "different environments" in refused["refused"]
    assert [one["fact"] for one in refused["differences"] if one["forbids"]] == ["settings.postgres.fsync"]
    assert done["run_b"] == "slower"


def test_a_page_of_a_comparison_is_beside_the_runs_and_names_a_refusal(root: Path, answers: dict[str, Ended]) -> None:
    assert answers["report of two"].code == 0
    page = (root / "compare-base-slower.html").read_text()
    assert "SLOWER</span> B is slower than A in 4 of 4 rows" in page
    refused = (root / "compare-base-elsewhere-slower.html").read_text()
    assert "settings.postgres.fsync: on against off" in refused
    assert "C is slower than A in 4 of 4 rows" in refused, "the others are compared"
    assert answers["report of three, one elsewhere"].out.endswith("compare-base-elsewhere-slower.html\n")


def test_a_trend_marks_other_environments_and_names_what_it_cannot_read(root: Path, answers: dict[str, Ended]) -> None:
    assert answers["trend"].code == 0
    page = (root / "trend-local-throughput.html").read_text()
    assert "of environment b (◇) not compared with the newest" in page
    assert "run future could not be read: " in page
    assert "run noisy" not in page, "another rig"
    assert "base-copy is another copy of run base and does not count" in page
    placed = json.loads(answers["trend as JSON"].out)["runs"]
    parsed = json.loads(answers["trend as JSON"].out)
    assert any("run future could not be read: " in text for text in parsed["unreadable"])
    assert all(change["claimed"] is False or change["row"]["verdict"] in ("faster", "slower")
               for one in parsed["series"] for change in one["changes"])  # fmt: skip
    assert sum(run["run_id"] == "base" for run in placed) == 1, "a copy is no second observation"
    assert "did you mean 'throughput'?" in answers["trend of an unknown scenario"].err
    assert "rigs whose runs have it: local, noisy" in answers["trend of an unknown rig"].err


def test_a_trend_as_json_says_which_changes_are_claimed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    for number in range(12):
        slower = 1.0 if number < 6 else 1.25
        light_run(tmp_path, f"r{number:02}", slower=slower, started=f"2026-11-28T20:{number:02}:00Z")
    run_trend_page("throughput", "local", out=None, as_json=True)
    parsed = json.loads(capsys.readouterr().out)
    changes = {one["metric"]: one["changes"] for one in parsed["series"]}
    assert [(change["index"], change["claimed"]) for change in changes["rps"]] == [(6, True)]
    assert parsed["unreadable"] == []


@pytest.mark.parametrize(
    ("scenario", "hint"),
    [
        ("bank", "measure it: ./run bench --rig nosy --scenario bank"),
        ("througputt", "did you mean 'throughput'?"),
        ("throughput", "rigs whose runs have it: local (--rig)"),
    ],
)
def test_a_trend_without_runs_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scenario: str, hint: str
) -> None:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    light_run(tmp_path, "one")
    with pytest.raises(UsageError, match="no stored run") as raised:
        run_trend_page(scenario, "nosy", out=None)
    assert raised.value.hint == hint


def test_the_example_of_the_checkout_is_in_no_trend(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    shutil.copytree(ROOT / "results" / "example", tmp_path / "example")
    with pytest.raises(UsageError, match="no stored run of rig 'local'"):
        run_trend_page("throughput", "local", out=None, as_json=True)
    shutil.copytree(root / "base", tmp_path / "base")
    run_trend_page("throughput", "local", out=None, as_json=True)
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["base"]


def test_a_recheck_prints_changed_verdicts(answers: dict[str, Ended]) -> None:
    lines = answers["recheck of doctored samples"].out.splitlines()
    changed = [line for line in lines if line.endswith("(stored: pass)")]
    assert any(line.startswith("fail") and "final value" in line for line in changed)
    assert not any("(stored" in line for line in answers["recheck"].out.splitlines())


def test_the_source_of_the_noise_floor_is_printed(answers: dict[str, Ended]) -> None:
    assert "rps 30.0%, p50_ms 3.0%" in answers["below the rig's own noise floor"].out
    assert "(rig 'noisy', run " in answers["below the rig's own noise floor"].out
    assert "rig '" not in answers["below the noise floor"].out
