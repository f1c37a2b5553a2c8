"""The completion scripts in real shells, and the candidates for a line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import completion, configuration
from harness.rig.state import ROOT
from harness.scenarios import SCENARIOS

LINES = {
    "./run ben": {"bench"},
    "./run bench --strat": {"--strategy"},
    "./run bench --scenario isol": {"isolation"},
    "./run bench --scenario isolation,dead": {"isolation,deadlocks"},
    "./run completion fi": {"fish"},
    "./run rm exa": {"example"},
    "./run report --compare latest exa": {"example"},
}
"""A line up to the cursor -> what completes its last word."""
BASH = """
eval "$("$PROGRAM" completion bash)"
COMP_LINE=$LINE COMP_POINT=${#LINE}
read -ra COMP_WORDS <<< "$LINE"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_WORDS[0]=$PROGRAM
[ "$(complete -p run)" = "complete -o default -F _pgcrucible run" ] || exit 9
_pgcrucible && printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
autoload -Uz compinit && compinit -D -u
eval "$("$PROGRAM" completion zsh)"
[[ $_comps[run] == _pgcrucible ]] || exit 9
compadd() { shift; print -l -- ${(M)@:#${words[CURRENT]}*} }
words=(${(z)LINE}) CURRENT=${#words}
words[1]=$PROGRAM
_pgcrucible
"""
FISH = """
$PROGRAM completion fish | source
cd (dirname $PROGRAM)
complete --do-complete "$LINE" | string replace -r '\\t.*' ''
"""
SHELLS = {"bash": ["--norc", "-c", BASH], "zsh": ["-f", "-c", ZSH], "fish": ["--no-config", "-c", FISH]}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`run` in a folder with a blank: the checkout's, without the part that makes .venv."""
    path = tmp_path_factory.mktemp("with blank") / "run"
    path.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m harness "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_sourced_script_completes(shell: str, line: str, program: Path, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [shell, *SHELLS[shell]],
        env={**os.environ, "PROGRAM": str(program), "LINE": line, "HOME": str(tmp_path), "TERM": "dumb",
             "PGCRUCIBLE_RESULTS": str(ROOT / "results")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert set(done.stdout.split()) == LINES[line], done.stderr
    assert done.stderr == ""


def test_every_scenario_is_a_candidate_and_a_given_one_is_not_offered_again() -> None:
    assert completion.VALUES["--scenario"]() == list(SCENARIOS)
    offered = completion._values("--scenario", "faults,")
    assert set(offered) == {f"faults,{name}" for name in SCENARIOS if name != "faults"}


def test_runs_are_those_of_the_folder_that_the_configuration_names(tmp_path: Path, monkeypatch) -> None:
    run = tmp_path / "elsewhere" / "20260101-000000"
    run.mkdir(parents=True)
    (run / "run.yml").touch()
    (tmp_path / "pgcrucible.yml").write_text("results: elsewhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGCRUCIBLE_CWD", str(tmp_path))
    monkeypatch.delenv("PGCRUCIBLE_RESULTS", raising=False)
    configuration.load.cache_clear()
    assert completion.VALUES["--run"]() == [run.name]
    (tmp_path / "pgcrucible.yml").write_text("results: [\n")
    configuration.load.cache_clear()
    assert completion.VALUES["--run"]() == []
