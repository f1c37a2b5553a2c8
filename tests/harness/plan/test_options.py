"""Options of bench: values that are not allowed give one error with a hint."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from harness.errors import UsageError
from harness.plan.options import OPTIONS, BenchRequest, Option
from harness.text import nearest

KNOWN = ["concurrent-writes", "deadlocks"]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("hosts", "0"), ("hosts", "abc"), ("hosts", "500"), ("hosts", "1.5"), ("hosts", ""),
        ("requests", "0"), ("clients", "-1"), ("clients", "0"), ("repeat", "0"), ("seed", "-1"),
        ("rate", "-5"), ("rate", "nan"), ("rate", "inf"), ("seconds", "0"), ("seconds", "x"),
        ("scenario", "nope"), ("scenario", ","), ("strategy", "nope"), ("backend", "oracle"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_the_option(option: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        BenchRequest.parse({option: text}, known_scenarios=KNOWN)
    assert f"--{option}" in caught.value.message
    assert caught.value.hint


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(UsageError) as caught:
        BenchRequest.parse({"scenario": "deadlock"}, known_scenarios=KNOWN)
    assert "'deadlocks'" in caught.value.hint
    assert nearest("zzz", KNOWN) == "known: concurrent-writes, deadlocks"


def test_defaults_and_lists() -> None:
    request = BenchRequest.parse({"strategy": "upsert, unsafe", "rate": "100"}, known_scenarios=KNOWN)
    assert request.scenarios == tuple(KNOWN)
    assert request.strategies == ("upsert", "unsafe")
    assert (request.mode, request.seed, request.hosts) == ("open", 1, None)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"rate": "10", "clients": "5"}, "mutually exclusive"),
        ({"base_url": "http://127.0.0.1", "aa": "5"}, "cannot be combined with --aa or --resume"),
        ({"base_url": "http://127.0.0.1", "resume": "RUN"}, "cannot be combined with --aa or --resume"),
        ({"dsn": "host=x"}, "--dsn needs --base-url"),
        ({"aa": "4"}, "--aa 4 is out of range"),
        ({"aa": "5", "resume": "RUN"}, "--aa cannot be combined with --resume"),
        ({"aa_between": "none"}, "--aa-between needs --aa"),
        ({"aa": "5", "aa_between": "restrat"}, "--aa-between: there is no 'restrat'"),
        ({"fail_if": "slower:5%"}, "--fail-if needs --vary or --variants"),
        ({"vary": "strategy=upsert,unsafe", "aa": "5"}, "--aa cannot be combined with --vary"),
        ({"variants": "f.yml", "aa": "5"}, "--aa cannot be combined with --variants"),
        ({"vary": "strategy=upsert,unsafe", "repeat": "1"}, "--repeat 1 with --vary: one block shows no difference"),
        ({"variants": "f.yml", "repeat": "1"}, "--repeat 1 with --variants"),
        ({"vary": "strategy=upsert,unsafe", "variants": "f.yml"}, "--vary and --variants exclude each other"),
        ({"hostz": "5"}, "bench has no option 'hostz'"),
    ],
)
def test_a_request_that_is_not_allowed_is_refused(texts: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BenchRequest.parse(texts, known_scenarios=KNOWN)


def test_every_field_but_the_stored_texts_is_an_option() -> None:
    assert [field.name for field in fields(BenchRequest)] == [*OPTIONS, "texts"]
    assert len({option.name for option in OPTIONS.values()}) == len(OPTIONS)


def test_run_yml_keeps_the_options_as_typed_and_no_secret() -> None:
    texts = {"hosts": "04", "quick": True, "base_url": "http://h", "dsn": "password=x", "dry_run": True, "rig": "r"}
    stored = BenchRequest.parse(texts, known_scenarios=KNOWN).texts
    assert {name: text for name, text in stored.items() if text} == {
        "hosts": "04", "quick": True, "base_url": "http://h",
    }  # fmt: skip
    assert (stored["scenario"], stored["quick"]) == (None, True)
    assert "aa" not in stored, "each run of --aa is an ordinary one"


def test_the_flag_of_an_older_run_is_not_given() -> None:
    """`bench --aa` had no value: run.yml of every run had `aa: false`."""
    assert BenchRequest.parse({"aa": False, "hosts": "2"}, known_scenarios=KNOWN).aa is None


def test_stored_options_give_the_same_request_again() -> None:
    request = BenchRequest.parse({"hosts": "4", "rate": "2.5", "scenario": "deadlocks"}, known_scenarios=KNOWN)
    assert BenchRequest.parse(request.texts, known_scenarios=KNOWN) == request


@pytest.mark.parametrize("option", [option for option in OPTIONS.values() if option.value], ids=lambda o: o.name)
@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_option_is_refused(option: Option, text: str) -> None:
    """An unset variable in a script must not select a default, or an oracle that is weaker."""
    with pytest.raises(UsageError, match=f"--{option.name} is empty"):
        BenchRequest.parse({option.keyword: text}, known_scenarios=("a",))


def with_faults(**texts: object) -> BenchRequest:
    return BenchRequest.parse(texts, known_scenarios=[*KNOWN, "faults", "list-append"])


def test_an_option_of_faults_chooses_their_scenario() -> None:
    for texts in ({"fault": "db-crash"}, {"retry": True}, {"control": "proxy-replay"}):
        assert with_faults(**texts).scenarios == ("faults",)
    assert with_faults(fault="db-crash", scenario="list-append").scenarios == ("list-append",)
    assert with_faults(fault="db-crash", scenario="deadlocks,faults").scenarios == ("deadlocks", "faults")
    assert with_faults(fault="mixed", shrink=True).shrink


@pytest.mark.parametrize(
    ("texts", "message", "hint"),
    [
        ({"fault": "db-crsh"}, "there is no 'db-crsh'", "did you mean 'db-crash'?"),
        ({"control": "proxy"}, "there is no 'proxy'", "did you mean 'proxy-replay'?"),
        ({"fault": "db-crash", "scenario": "deadlocks"}, "--fault needs the scenario faults", "leave out --scenario"),
        ({"retry": True, "scenario": "list-append"}, "--retry needs the scenario faults", "leave out --scenario"),
        ({"fault": "db-crash", "shrink": True}, "--shrink needs a schedule", "--fault mixed --shrink"),
        ({"shrink": True}, "--shrink needs a schedule", "--fault mixed --shrink"),
    ],
)
def test_options_of_faults_are_checked(texts: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        with_faults(**texts)
    assert caught.value.hint == hint
