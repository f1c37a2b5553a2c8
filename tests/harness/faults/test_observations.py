"""What is observed of HAProxy's rotation and of PostgreSQL during a fault, from the states that were seen."""

from __future__ import annotations

import pytest

from harness.faults.observations import States, accepts, rotation

UP, DOWN, HALF = (
    {"app-1.1": True, "app-1.2": True},
    {"app-1.1": False, "app-1.2": False},
    {"app-1.1": True, "app-1.2": False},
)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([(0, UP)], {}, id="it never left"),
        pytest.param([], {}, id="nothing was seen"),
        pytest.param([(0, UP), (15, DOWN), (30, UP)], {"out-of-rotation": 15, "in-rotation": 30}, id="out and in"),
        pytest.param([(0, UP), (15, DOWN)], {"out-of-rotation": 15}, id="it did not come back"),
        pytest.param([(0, DOWN), (5, UP)], {}, id="before the fault"),
        pytest.param([(0, DOWN), (30, UP)], {"out-of-rotation": 10, "in-rotation": 30}, id="it was out at the fault"),
        pytest.param([(0, UP), (15, HALF), (30, UP)], {}, id="one worker still serves"),
        pytest.param(
            [(0, UP), (15, DOWN), (20, HALF), (30, UP)], {"out-of-rotation": 15, "in-rotation": 30}, id="one by one"
        ),
        pytest.param(
            [(0, UP), (15, DOWN), (20, UP), (25, DOWN), (40, UP)],
            {"out-of-rotation": 15, "in-rotation": 40, "out-again": 25},
            id="it flaps",
        ),
        pytest.param(
            [(0, UP), (15, DOWN), (20, UP), (25, HALF), (30, UP), (35, DOWN), (40, UP)],
            {"out-of-rotation": 15, "in-rotation": 40, "out-again": 25},
            id="it flaps twice, first one worker",
        ),
        pytest.param(
            [(0, UP), (15, DOWN), (20, UP), (25, DOWN)],
            {"out-of-rotation": 15, "out-again": 25},
            id="it is back and leaves for good",
        ),
        pytest.param(
            [(0, UP), (15, DOWN), (20, UP), (25, None), (30, UP)],
            {"out-of-rotation": 15, "in-rotation": 20},
            id="HAProxy did not answer after it was back",
        ),
        pytest.param([(0, UP), (15, None), (16, UP)], {}, id="HAProxy did not answer"),
        pytest.param([(0, UP), (15, DOWN), (60, UP)], {"out-of-rotation": 15}, id="a later fault begins at 50"),
    ],
)
def test_rotation(states: States, expected: dict[str, int]) -> None:
    assert rotation(states, "app-1", 10, 50) == expected


def test_another_host_with_the_same_start_of_its_name_is_not_meant() -> None:
    assert rotation([(0, {"app-1": True, "app-10": True}), (15, {"app-1": True, "app-10": False})], "app-1", 10) == {}


YES, NO = {"accepts": True}, {"accepts": False}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([(0, YES)], {"accepts": 10}, id="it accepted all the time"),
        pytest.param([(0, YES), (12, NO), (30, YES)], {"accepts": 30}, id="a restart"),
        pytest.param([(0, YES), (12, NO), (30, YES), (31, NO), (40, YES)], {"accepts": 40}, id="twice"),
        pytest.param([(0, YES), (12, NO)], {}, id="it did not come back"),
        pytest.param([], {}, id="nothing was seen"),
    ],
)
def test_accepts(states: States, expected: dict[str, int]) -> None:
    assert accepts(states, 10, None, 50) == expected


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([(0, YES), (12, NO), (20, YES), (40, NO), (41, YES)], {"accepts": 20}, id="slow later"),
        pytest.param([(0, YES), (12, NO), (35, YES), (40, NO), (41, YES)], {"accepts": 35}, id="slow after a late end"),
        pytest.param([(0, YES), (12, NO), (20, YES), (25, NO), (35, YES)], {"accepts": 35}, id="down at the heal"),
        pytest.param([(0, YES), (12, NO), (20, YES), (25, NO)], {}, id="down until the end"),
        pytest.param([(0, YES), (40, NO), (41, YES)], {"accepts": 10}, id="never down before the heal"),
    ],
)
def test_an_answer_that_is_late_after_the_heal_is_no_refusal(states: States, expected: dict[str, int]) -> None:
    """On a busy machine one question without an answer in 0.3 s, a minute later, moved the instant there."""
    assert accepts(states, 10, 30, 50) == expected
