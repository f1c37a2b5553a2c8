"""Charts that other processes draw are those that this one draws."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.report.charts import converter

SPECS = [
    json.dumps({"data": {"values": [{"a": n, "b": "\N{LATIN SMALL LETTER O WITH DIAERESIS}"}]},
                "mark": "bar", "encoding": {"x": {"field": "a"}, "y": {"field": "b"}}})
    for n in range(1, 4)
]  # fmt: skip


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with converter.converters() as number:
        assert number == 2
        yield


def test_the_drawings_of_processes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    here = list(map(converter.convert, SPECS))
    with converter.converters() as number, ThreadPoolExecutor(max_workers=number) as threads:
        there = list(threads.map(converter.convert, SPECS))
    assert there == here
    assert len(set(here)) == len(SPECS)


@pytest.mark.usefixtures("two_processes")
def test_a_chart_that_cannot_be_drawn_is_an_error_and_the_next_one_is_drawn() -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match=r"."):
            converter.convert('{"mark": 3}')
    assert converter.convert(SPECS[0]).startswith("<svg")


@pytest.mark.usefixtures("two_processes")
def test_a_process_that_ended_is_an_error_and_no_endless_wait() -> None:
    assert converter._idle is not None
    process = converter._idle.get()
    process.kill()
    process.wait()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the process that draws charts ended"):
            converter._ask(process, SPECS[0])


def test_one_core_draws_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with converter.converters() as number:
        assert number == 0
        assert converter.convert(SPECS[0]).startswith("<svg")
