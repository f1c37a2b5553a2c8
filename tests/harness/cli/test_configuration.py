"""The configuration: which layer wins, where a value comes from, and what a wrong key or value is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import CommandLine
from harness.cli import bench, configuration, configured, show_config
from harness.errors import UsageError
from harness.plan.options import OPTIONS
from harness.rig.state import ROOT

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes pgcrucible.yml into the present folder, which has none otherwise; the environment has no setting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(configured, "ROOT", tmp_path / "checkout")
    monkeypatch.setattr(configured, "applied", [])
    for name in (*configured.variables(), configured.CONFIG):
        monkeypatch.delenv(name, raising=False)
    configuration.load.cache_clear()

    def write(text: str) -> Path:
        path = tmp_path / "pgcrucible.yml"
        path.write_text(text)
        configuration.load.cache_clear()
        return path

    yield write
    configuration.load.cache_clear()


def origins() -> dict[str, tuple[Any, str]]:
    configuration.load.cache_clear()
    return {setting.name: (setting.text, setting.origin) for setting in configuration.load()}


def test_each_layer_wins_over_the_one_below(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert origins()["bench.seconds"] == (None, "default")
    path = write("rig: mine\nbench:\n  seconds: 20\n  quick: true\n  scenario: [scaling, throughput]\n")
    known = origins()
    assert known["rig"] == ("mine", f"{path}:1")
    assert known["bench.seconds"] == ("20", f"{path}:3")
    assert known["bench.quick"] == (True, f"{path}:4")
    assert known["bench.scenario"] == ("scaling,throughput", f"{path}:5")
    assert known["bench.rate"] == (None, "default")
    monkeypatch.setenv("PGCRUCIBLE_BENCH_SECONDS", "30")
    monkeypatch.setenv("PGCRUCIBLE_BENCH_BASE_URL", "http://127.0.0.1:1")
    known = origins()
    assert known["bench.seconds"] == ("30", "PGCRUCIBLE_BENCH_SECONDS")
    assert known["bench.base_url"] == ("http://127.0.0.1:1", "PGCRUCIBLE_BENCH_BASE_URL")
    assert known["bench.quick"] == (True, f"{path}:4")
    options = ["rig", "seconds", "quick", "rate"]
    given = {"rig": None, "seconds": "40", "quick": False, "rate": None}
    assert configured.configured("bench", given, options) == {
        "rig": "mine", "seconds": "40", "quick": True, "rate": None,
    }  # fmt: skip
    assert configured.applied == ["--rig=mine", "--quick"]


def test_without_a_file_and_variables_the_tasks_have_their_defaults(write: Write) -> None:
    assert configured.configured("watch", {"rig": None}, ["rig"]) == {"rig": "local"}
    assert configured.configured("bench", {"rig": None}, ["rig"]) == {"rig": None}
    assert configured.configured("status", {"rig": None}, ["rig"]) == {"rig": None}


def test_the_rig_is_filled_in_for_a_trend_alone(write: Write) -> None:
    """`report --rig` without --trend is refused, and a rig that is only configured must not be."""
    write("rig: mine\n")
    given = {"rig": None, "trend": None}
    assert configured.configured("report", given, list(given)) == given
    assert configured.configured("report", given | {"trend": "bank"}, list(given)) == {"rig": "mine", "trend": "bank"}
    assert configured.configured("report", given | {"rig": "typed"}, list(given)) == given | {"rig": "typed"}


def test_a_task_gets_only_what_is_its_own(write: Write) -> None:
    write("rig: mine\nprovision: {hosts: 3, provider: podman}\nbench: {hosts: 2, clients: 5}\n")
    known = ["rig", "hosts", "provider"]
    assert configured.configured("provision", dict.fromkeys(known), known) == {
        "rig": "mine", "hosts": "3", "provider": "podman",
    }  # fmt: skip
    assert configured.configured("quickstart", {"rig": "other", "hosts": None}, ["rig", "hosts"]) == {
        "rig": "other", "hosts": "3",
    }  # fmt: skip
    assert configured.configured("status", {"rig": None}, ["rig"]) == {"rig": None}
    assert configured.configured("doctor", {"hosts": None}, ["hosts"]) == {"hosts": None}


@pytest.mark.parametrize(
    ("given", "left_out"),
    [({"rate": "5"}, "clients"), ({"base_url": "http://x"}, "rig"), ({"resume": "RUN"}, "seconds")],
    ids=str,
)
def test_a_typed_option_leaves_out_what_excludes_it(write: Write, given: dict[str, str], left_out: str) -> None:
    write("rig: mine\nbench: {clients: 5, seconds: 9}\n")
    known = ["rig", "clients", "seconds", "rate", "base_url", "resume"]
    assert configured.configured("bench", given, known).get(left_out) is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("rigg: x\n", ":1: unknown key 'rigg' in the file", "did you mean 'rig'?"),
        ("rig: x\nbench:\n  quick: true\n  second: 5\n", ":4: unknown key 'second' in bench", "mean 'seconds'?"),
        ("bench: {yes_this_is_mine: true}\n", ":1: unknown key 'yes_this_is_mine' in bench", "known: "),
        ("bench: {dsn: x}\n", ":1: unknown key 'dsn' in bench", ""),
        ("bench:\n  seconds: soon\n", ":2: bench.seconds: --seconds 'soon' is not a number", "above 0"),
        ("bench:\n  scenario: scalin\n", ":2: bench.scenario: --scenario: there is no 'scalin'", "'scaling'?"),
        ("\nrig: ../etc\n", ":2: rig: --rig '../etc' is not a valid name", "1 to 20"),
        ("provision: {hosts: 99}\n", ":1: provision.hosts: ", "--schema"),
        ("provision: {provider: podmann}\n", ":1: provision.provider: there is no provider", "did you mean 'podman'?"),
        ("bench: 3\n", ":1: bench must be a mapping", ""),
        ("bench: {quick: [1]}\n", ":1: bench.quick: ", ""),
        ("bench:\n  seconds: yes\n", ":2: bench.seconds: ", "--schema"),
        ("bench: {requests: [5, true]}\n", ":1: bench.requests: ", "--schema"),
        ("provision: {hosts: true}\n", ":1: provision.hosts: ", "--schema"),
        ("rig: [\n", ":", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_and_line(write: Write, text: str, message: str, hint: str) -> None:
    path = write(text)
    with pytest.raises(UsageError) as error:
        configuration.load()
    assert error.value.message.startswith(f"{path}{message}")
    assert hint in error.value.hint


def test_a_wrong_variable_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCRUCIBLE_BENCH_SECOND", "5")
    with pytest.raises(UsageError, match="PGCRUCIBLE_BENCH_SECOND: there is no such setting") as error:
        configuration.load()
    assert error.value.hint == "did you mean 'PGCRUCIBLE_BENCH_SECONDS'?"
    monkeypatch.delenv("PGCRUCIBLE_BENCH_SECOND")
    monkeypatch.setenv("PGCRUCIBLE_BENCH_RATE", "-1")
    with pytest.raises(UsageError, match=r"PGCRUCIBLE_BENCH_RATE: bench.rate: --rate -1 is out of range"):
        configuration.load()
    monkeypatch.setenv("PGCRUCIBLE_BENCH_RATE", "")  # as an empty variable of a script: not set
    configuration.load()


def test_a_variable_in_lower_case_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("pgcrucible_bench_seconds", "5")
    with pytest.raises(UsageError, match="pgcrucible_bench_seconds: there is no such setting"):
        configuration.load()


def test_a_variable_switches_a_configured_flag_off(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("bench: {quick: true}\n")
    monkeypatch.setenv("PGCRUCIBLE_BENCH_QUICK", "false")
    assert origins()["bench.quick"] == (False, "PGCRUCIBLE_BENCH_QUICK")
    assert configured.configured("bench", {"quick": False}, ["quick"]) == {"quick": False}


def test_the_file_may_be_elsewhere(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCRUCIBLE_CONFIG", str(tmp_path / "other.yml"))
    with pytest.raises(UsageError, match=r"other\.yml: cannot be read"):
        configuration.load()
    (tmp_path / "other.yml").write_text("results: /srv/results\n")
    assert origins()["results"] == ("/srv/results", f"{tmp_path}/other.yml:1")
    assert configuration.results_folder() == Path("/srv/results")


def test_the_configuration_is_printed_with_its_origins(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("bench: {repeat: 7}\n")
    show_config.run_config(schema=False, as_json=False)
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["bench.repeat"] == ["bench.repeat", "7", f"{path}:1"]
    assert lines["rig"] == ["rig", "local", "default"]
    show_config.run_config(schema=False, as_json=True)
    printed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert printed["bench.repeat"] == {"name": "bench.repeat", "value": 7, "origin": f"{path}:1"}


def test_the_schema_has_every_key_and_refuses_others(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    show_config.run_config(schema=True, as_json=False)
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == {"rig", "results", "provision", "bench"}
    assert schema["additionalProperties"] is False
    bench = schema["$defs"]["Bench"]
    assert set(bench["properties"]) == set(configuration.BENCH)
    assert bench["additionalProperties"] is False
    assert bench["properties"]["seconds"]["description"] == OPTIONS["seconds"].help


def test_no_configuration_of_this_checkout_reaches_the_tests() -> None:
    assert not (ROOT / "pgcrucible.yml").exists()


@pytest.mark.parametrize(("options", "rig"), [((), "mine"), (("--rig", "typed"), "typed")])
def test_a_task_runs_with_what_is_configured(
    write: Write, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], rig: str
) -> None:
    write("rig: mine\n")
    CommandLine(name="pgcrucible", binary="./run", binary_names=["./run"]).run(["./run", "watch", *options], exit=False)
    assert f"there is no rig '{rig}'" in capsys.readouterr().err


def test_every_task_refuses_a_wrong_file(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("bench: {secnds: 2}\n")
    with pytest.raises(SystemExit) as end:
        CommandLine(name="pgcrucible", binary="./run", binary_names=["./run"]).run(["./run", "scenarios"])
    assert end.value.code == 2
    assert f"error: {path}:1: unknown key 'secnds' in bench" in capsys.readouterr().err


def test_the_stored_command_has_what_is_configured(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("bench: {seconds: 20, scenario: [scaling, throughput]}\n")
    monkeypatch.setattr("sys.argv", ["./run", "bench", "--quick"])
    configured.configured("bench", {"quick": True}, ["quick", "seconds", "scenario"])
    monkeypatch.setattr(bench, "applied", configured.applied)
    assert bench.code_record(1).command == "./run bench --quick --scenario=scaling,throughput --seconds=20"
