"""Options: what cannot be is one clear error with a hint."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.plan.options import BenchRequest
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
    options = BenchRequest.parse({"strategy": "upsert, unsafe", "rate": "100"}, known_scenarios=KNOWN)
    assert options.scenarios == tuple(KNOWN)
    assert options.strategies == ("upsert", "unsafe")
    assert (options.mode, options.seed, options.hosts) == ("open", 1, None)


def test_the_load_cannot_be_said_twice() -> None:
    with pytest.raises(UsageError, match="mutually exclusive"):
        BenchRequest.parse({"rate": "10", "clients": "5"}, known_scenarios=KNOWN)
