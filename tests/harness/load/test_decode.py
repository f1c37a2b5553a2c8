from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from harness.load.decode import decode


@dataclass(frozen=True, kw_only=True)
class Inner:
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    number: int
    share: float
    text: str
    flag: bool
    limit: float | None
    inner: Inner
    pair: tuple[int, float | None]
    inners: tuple[Inner, ...] = ()
    kind: Literal["a", "b"] = "a"
    anything: Any = None
    counts: Mapping[str, int] = field(default_factory=dict)


VALUES: dict[str, Any] = {
    "number": 1, "share": 2, "text": "t", "flag": True, "limit": None, "inner": {"number": 3}, "pair": [1, None],
    "inners": [{"number": 4}, {"number": 5}], "counts": {"a": 6}, "kind": "b", "anything": [{}],
}  # fmt: skip


def test_an_object_becomes_a_dataclass() -> None:
    assert decode(Outer, json.loads(json.dumps(VALUES)), "it") == Outer(
        number=1, share=2.0, text="t", flag=True, limit=None, inner=Inner(number=3), pair=(1, None),
        inners=(Inner(number=4), Inner(number=5)), counts={"a": 6}, kind="b", anything=[{}],
    )  # fmt: skip


def test_unknown_keys_are_ignored_and_absent_ones_get_their_default() -> None:
    values = {name: value for name, value in VALUES.items() if name not in ("inners", "counts")}
    made = decode(Outer, values | {"other": 1}, "it")
    assert (made.inners, made.counts) == ((), {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": True}, "it.number: expected int, got True"),
        ({"number": 1.5}, "it.number: expected int, got 1.5"),
        ({"number": 2**63}, "it.number: expected int, got 9223372036854775808"),
        ({"share": math.nan}, "it.share: expected float, got nan"),
        ({"share": math.inf}, "it.share: expected float, got inf"),
        ({"share": 10**400}, f"it.share: expected float, got {'1' + '0' * 59}"),
        ({"share": False}, "it.share: expected float, got False"),
        ({"text": None}, "it.text: expected str, got None"),
        ({"flag": 1}, "it.flag: expected bool, got 1"),
        ({"limit": "x"}, "it.limit: expected float, got 'x'"),
        ({"inner": [3]}, "it.inner: expected an object, got [3]"),
        ({"inner": {}}, "it.inner: number is missing"),
        ({"kind": "c"}, "it.kind: expected one of a, b, got 'c'"),
        ({"pair": [1]}, "it.pair: expected tuple[int, float | None], got [1]"),
        ({"inners": [{"number": 4}, {"number": "5"}]}, "it.inners[1].number: expected int, got '5'"),
        ({"counts": {"a": "6"}}, "it.counts.a: expected int, got '6'"),
        ({"counts": []}, "it.counts: expected collections.abc.Mapping[str, int], got []"),
    ],
)
def test_a_field_of_a_wrong_type_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"expected|missing") as caught:
        decode(Outer, VALUES | change, "it")
    assert str(caught.value) == message


def test_unknown_keys_can_be_refused() -> None:
    assert decode(Outer, VALUES, "it", strict=True).number == 1
    with pytest.raises(ValueError, match=r"it.inner: unknown key 'other' \(known: number\)"):
        decode(Outer, VALUES | {"inner": {"number": 3, "other": 1}}, "it", strict=True)


@pytest.mark.parametrize("data", [None, [], "x", 1])
def test_only_an_object_is_decoded(data: object) -> None:
    with pytest.raises(ValueError, match="expected an object"):
        decode(Outer, data, "it")
