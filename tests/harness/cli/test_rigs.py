"""Invalid input: one error line, one hint, the right exit code, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.cli import rigs
from harness.provision import provisioner
from harness.rig.state import ROOT
from harness.scenarios import SCENARIOS

NO_RIG = "no-such-rig-here"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `./run …` without the part that creates .venv."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


FUTURE, HOSTILE, ABSENT = "FUTURE", "HOSTILE", "/nowhere/at/all"
CASES: dict[tuple[str, ...], tuple[int, str, str]] = {
    ("benchh",): (2, "there is no task 'benchh'", "did you mean 'bench'?"),
    ("bench", "--hostz", "3"): (2, "bench has no option '--hostz'", "did you mean '--hosts'? (./run bench --help)"),
    ("bench", "--xyzzy"): (2, "bench has no option '--xyzzy'", "known: --aa, --aa-between, --backend"),
    ("bench", "--hosts"): (2, "--hosts needs a value", "./run bench --help"),
    ("selfbench",): (2, "selfbench needs WHAT", "./run selfbench --help"),
    ("compare",): (2, "compare needs A, B", "./run compare --help"),
    ("compare", "one"): (2, "compare needs B", "./run compare --help"),
    ("help",): (2, "there is no task 'help'", "did you mean './run --help'?"),
    ("list",): (2, "there is no task 'list'", "did you mean './run --list'?"),
    ("report", "results/example"): (2, "no task 'results/example'", "'./run report --run results/example'?"),
    ("bench", "throughput"): (2, "there is no task 'throughput'", "did you mean './run bench --scenario throughput'?"),
    ("ls", "extra"): (2, "there is no task 'extra'", "values follow their options: ./run ls --help"),
    ("ls", "benchh"): (2, "there is no task 'benchh'", "values follow their options: ./run ls --help"),
    ("selfbench", "lode"): (2, "there is no selfbench 'lode'", "did you mean 'load'?"),
    ("selfbench", "load", "--cold"): (2, "selfbench load has no option --cold", "./run selfbench provision --cold"),
    ("selfbench", "provision", "--json", f"{ABSENT}/x"): (2, "does not exist", "create it first"),
    ("--help", "benchh"): (2, "there is no task 'benchh'", "did you mean 'bench'?"),
    ("-T", "soon", "doctor"): (2, "'soon'", "./run --help"),
    ("--list", "nope"): (2, "'nope' not found", "./run --list"),
    ("bench", "--hosts", "0"): (2, "--hosts 0 is out of range", "give 1 to 64"),
    ("bench", "--hosts", "abc"): (2, "--hosts 'abc' is not a whole number", "give 1 to 64"),
    ("bench", "--hosts", "500"): (2, "--hosts 500 is out of range", "give 1 to 64"),
    ("bench", "--hosts", "9" * 5000): (2, "--hosts", "give 1 to 64"),
    ("provision", "--hosts", "0", "--rig", NO_RIG): (2, "--hosts 0 is out of range", "give 1 to 64"),
    ("bench", "--scenario", "nope"): (2, "there is no 'nope'", "known: "),
    ("bench", "--scenario", "concurent-writes"): (2, "no 'concurent-writes'", "did you mean 'concurrent-writes'?"),
    ("bench", "--strategy", "nope"): (2, "--strategy: there is no 'nope'", "known: "),
    ("bench", "--strategy", "upserts"): (2, "--strategy: there is no 'upserts'", "did you mean 'upsert'?"),
    ("bench", "--backend", "mysql"): (2, "--backend: there is no 'mysql'", "sqlite-naive"),
    ("bench", "--rate", "-5"): (2, "--rate -5 is out of range", "above 0"),
    ("bench", "--rate", "5", "--clients", "3"): (2, "--rate (open model) and --clients", "open model: --rate with"),
    ("bench", "--clients", "0"): (2, "--clients 0 is out of range", "give 1 to"),
    ("bench", "--requests", "-1"): (2, "--requests -1 is out of range", "give 1 to"),
    ("bench", "--seconds", "0"): (2, "--seconds 0 is out of range", "above 0"),
    ("bench", "--rate", "nan"): (2, "--rate nan is out of range", "above 0"),
    ("bench", "--rig", NO_RIG): (3, f"there is no rig '{NO_RIG}'", f"./run provision --rig {NO_RIG}"),
    ("heal", "--rig", NO_RIG): (3, f"there is no rig '{NO_RIG}'", f"./run provision --rig {NO_RIG}"),
    ("heal", "--rig", "../../etc"): (2, "is not a valid name", "1 to 20"),
    ("bench", "--rig", "../../etc"): (2, "is not a valid name", "1 to 20"),
    ("bench", "--resume", ABSENT): (2, f"no run at '{ABSENT}'", ""),
    ("check", "--run", FUTURE): (2, "format 99; this version reads format 1", "update pgcrucible"),
    ("report", "--run", FUTURE): (2, "format 99; this version reads format 1", "update pgcrucible"),
    ("check", "--recheck", FUTURE): (2, "format 99; this version reads format 1", "update pgcrucible"),
    ("bench", "--resume", FUTURE): (2, "format 99; this version reads format 1", "update pgcrucible"),
    ("compare", FUTURE, FUTURE): (2, "format 99; this version reads format 1", "update pgcrucible"),
    ("report", "--run", HOSTILE): (2, "os.mkdir is not allowed", "not written by pgcrucible"),
    ("check", "--run", ABSENT): (2, f"no run at '{ABSENT}'", ""),
    ("report", "--run", "9" * 5000): (2, "no run at '999", ""),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], subprocess.CompletedProcess[str]]:
    """The output of each command; two commands run at a time."""
    folder = tmp_path_factory.mktemp("runs")
    owned = folder / "owned"
    for name, text in ((FUTURE, "format: 99\n"), (HOSTILE, f"!!python/object/apply:os.mkdir ['{owned}']\n")):
        (folder / name).mkdir()
        (folder / name / "run.yml").write_text(text)
    commands = [tuple(str(folder / a) if a in (FUTURE, HOSTILE) else a for a in case) for case in CASES]
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(CASES, pool.map(lambda command: run(*command), commands), strict=True))
    assert not owned.exists()
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case)[:60])
def test_bad_input_is_one_line_a_hint_and_the_right_code(
    case: tuple[str, ...], answers: dict[tuple[str, ...], subprocess.CompletedProcess[str]]
) -> None:
    done, (code, message, hint) = answers[case], CASES[case]
    lines = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert [line.split(":")[0] for line in lines] == ["error", "hint"]
    assert message in lines[0]
    assert hint in lines[1]
    assert max(map(len, lines)) < 6000


def test_nothing_was_made_for_a_rig_that_was_refused(answers: object) -> None:
    assert not (ROOT / ".rigs" / NO_RIG).exists()


def test_the_scenarios_are_listed_with_their_criteria() -> None:
    done = run("scenarios")
    assert (done.returncode, done.stderr) == (0, "")
    for name, scenario in SCENARIOS.items():
        assert name in done.stdout
        assert all(criterion in done.stdout for criterion in scenario.criteria)


@pytest.mark.parametrize(
    ("removed", "line"), [(("state",), "rig 'paper' is destroyed"), ((), "no rig 'paper': nothing was removed")]
)
def test_destroy_of_a_rig_that_is_not_there_does_not_say_destroyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], removed: tuple[str, ...], line: str
) -> None:
    monkeypatch.setattr(provisioner, "destroy", lambda name, **_: provisioner.DestroyReport(rig=name, removed=removed))
    rigs.run_destroy("paper", yes=True, purge=False, take_over=False, forget=False)
    assert line in capsys.readouterr().out


def test_help_lists_and_the_version_are_no_errors() -> None:
    for arguments in (("--list",), ("--version",), ("bench", "--help")):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
