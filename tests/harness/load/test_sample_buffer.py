from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import RigError
from harness.load import sample_buffer
from harness.load.counters import TextNumbers
from harness.load.job import decode_job
from harness.load.outcome import FAIL, OK, OUTCOMES, UNKNOWN, Answer
from harness.load.sample_buffer import MEASURE, SampleBuffer
from harness.model import OutcomeCounts
from tests.support.summaries import histogram_of

from .conftest import job_dict

T0 = 1_000_000_000


def request_at(seq: int, due: int, sent: int) -> Any:
    return SimpleNamespace(seq=seq, op=0, key=0, due_us=T0 + due, sent_us=T0 + sent)


def make(tmp_path: Path, seconds: list[dict[str, Any]], **changes: Any) -> SampleBuffer:
    buffer = SampleBuffer(decode_job(job_dict(80, tmp_path, **changes)), tmp_path, seconds.append)
    buffer.begin(T0)
    return buffer


def test_the_number_of_texts_is_bounded() -> None:
    table = TextNumbers()
    numbers = [table[f"text {i}"] for i in range(5000)]
    texts = list(table)
    assert len(texts) <= 1001
    assert [table[text] for text in texts] == list(range(len(texts)))
    assert texts[numbers[10]] == "text 10"
    assert {texts[n] for n in numbers[2000:]} == {"(others)"}
    assert texts[table[""]] == ""


def test_a_second_counts_the_requests_completed_in_it(tmp_path: Path) -> None:
    seconds: list[dict[str, Any]] = []
    buffer = make(tmp_path, seconds)
    for seq, (due, done) in enumerate([(0, 10_000), (500_000, 999_999), (600_000, 1_000_000), (0, 3_500_000)]):
        request = request_at(seq, due, due)
        buffer.phases[MEASURE].sent += 1
        buffer.record(request, T0 + done, buffer.pack(200, Answer(seq % 3)))
    buffer.finish(T0 + 3_600_000)
    assert [(row["second"], row["ok"], row["fail"], row["unknown"]) for row in seconds] == [
        (0, 1, 1, 0),
        (1, 0, 0, 1),
        (2, 0, 0, 0),
        (3, 1, 0, 0),
    ]
    assert buffer.phases[MEASURE].outcomes == [2, 1, 1]
    assert buffer.phases[MEASURE].latency == histogram_of([10_000, 499_999, 400_000, 3_500_000])


def test_a_second_has_its_app_hosts_and_errors_by_name(tmp_path: Path) -> None:
    seconds: list[dict[str, Any]] = []
    buffer = make(tmp_path, seconds)
    for seq, (done, answer) in enumerate([
        (10_000, Answer(OK, "", "app-1")), (20_000, Answer(FAIL, "HTTP 503", "app-2")),
        (30_000, Answer(OK, "", "app-1")), (1_200_000, Answer(UNKNOWN, "timeout")),
        (1_300_000, Answer(UNKNOWN, "timeout")),
    ]):  # fmt: skip
        buffer.record(request_at(seq, 0, 0), T0 + done, buffer.pack(200, answer))
    buffer.finish(T0 + 2_000_000)
    assert [(row["hosts"], row["errors"]) for row in seconds[:2]] == [
        ({"app-1": 2, "app-2": 1}, {"HTTP 503": 1}), ({}, {"timeout": 2}),
    ]  # fmt: skip
    assert "hosts" not in (tmp_path / "seconds.jsonl").read_text()  # the stored rows stay as they are


def test_time_in_flight_counts_within_the_window(tmp_path: Path) -> None:
    """The window is 1 s to 3 s; each request counts with the part of its time inside it."""
    buffer = make(tmp_path, [], warmup={"seconds": 1.0, "max_seconds": 1.0})
    buffer.measure_from_second(1)
    buffer.window.until_us = T0 + 3_000_000
    for sent, done in (
        (0, 900_000),
        (500_000, 1_200_000),
        (1_500_000, 1_600_000),
        (0, 9_000_000),
        (3_500_000, 4_000_000),
    ):
        buffer.record(request_at(0, 0, sent), T0 + done, buffer.pack(200, Answer(0)))
    buffer.finish(T0 + 9_000_000)
    assert buffer.window.busy_us == 200_000 + 100_000 + 2_000_000
    assert buffer.window.outcomes == [2, 0, 0]


def test_more_rows_than_one_block(tmp_path: Path) -> None:
    buffer = make(tmp_path, [])
    number = 70_000
    for seq in range(number):
        buffer.record(request_at(seq, seq, seq + 1), T0 + seq + 9, buffer.pack(200, Answer(0, "", "app-1", seq)))
    buffer.finish(T0 + number)
    rows = list(buffer.rows())
    assert [row.seq for row in rows] == list(range(number))
    assert rows[-1][:10] == (69_999, "increment", "hot-0", "app-1", 69_999, 70_000, 70_008, "ok", 200, 69_999)
    assert buffer.phases[MEASURE].service == histogram_of([8] * number)


def test_without_samples_no_rows_are_kept(tmp_path: Path) -> None:
    buffer = make(tmp_path, [], samples=False)
    for seq in range(1000):
        buffer.record(request_at(seq, seq, seq), T0 + seq + 9, buffer.pack(200, Answer(0)))
    buffer.finish(T0 + 2000)
    assert list(buffer.rows()) == []
    assert buffer.phases[MEASURE].outcomes == [1000, 0, 0]


def test_without_samples_outcomes_are_counted_by_key_in_both_phases(tmp_path: Path) -> None:
    """The number of entries depends on operations, keys and outcomes, not on the number of requests."""
    operations = [{"name": name, "path": "/", "body": {"key": "{key}"}} for name in ("increment", "hold")]
    changes = {"operations": operations, "keys": {"kind": "cycle", "prefix": "k", "count": 5}}
    buffer = make(tmp_path, [], samples=False, warmup={"seconds": 1.0, "max_seconds": 1.0}, **changes)
    buffer.measure_from_second(1)
    for seq in range(3000):
        request = request_at(seq, seq * 1000, seq * 1000)
        request.op, request.key = seq % 2, seq % 5
        buffer.record(request, request.due_us + 9, buffer.pack(200, Answer(seq % 3)))
    buffer.finish(T0 + 3_100_000)
    assert [sum(phase.outcomes) for phase in buffer.phases] == [1000, 2000]
    names = [(op, f"k-{key}", outcome) for op in ("increment", "hold") for key in range(5) for outcome in OUTCOMES]
    assert buffer.outcome_counts() == OutcomeCounts(dict.fromkeys(names, 100))


@pytest.mark.parametrize("samples", [True, False])
def test_captured_numbers_of_the_measured_phase_are_totalled(tmp_path: Path, samples: bool) -> None:
    operations = [{"name": "increment", "path": "/", "capture": ["retries", "ids"]},
                  {"name": "hold", "path": "/", "capture": ["wait_ms", "retries"]}]  # fmt: skip
    changes = {"operations": operations, "samples": samples, "warmup": {"seconds": 1.0, "max_seconds": 1.0}}
    buffer = make(tmp_path, [], **changes)
    buffer.measure_from_second(1)
    answers = [(0, 0, OK, (90, [1])), (1_000_000, 0, OK, (1, [1])), (1_100_000, 0, UNKNOWN, (70, None)),
               (1_200_000, 1, OK, (0.5, 2)), (1_300_000, 1, OK, (None, "x")), (1_400_000, 0, FAIL, ())]  # fmt: skip
    for seq, (due, op, outcome, captured) in enumerate(answers):
        request = request_at(seq, due, due)
        request.op = op
        buffer.record(request, T0 + due + 9, buffer.pack(200, Answer(outcome, "", "", None, captured)))
    buffer.finish(T0 + 2_000_000)
    assert buffer.captured_totals() == {"retries": (73.0, 3), "ids": (0.0, 0), "wait_ms": (0.5, 1)}
    kept = [(0, {"ids": [1]}), (1, {"ids": [1]}), (4, {"retries": "x"})]
    assert buffer.lists == (kept if samples else [])
    rows = [dict(zip(("retries", "ids", "wait_ms"), row.captured, strict=True)) for row in buffer.rows()]
    numbers = [{name: number for name, number in row.items() if not math.isnan(number)} for row in rows]
    expected = [{"retries": 90}, {"retries": 1}, {"retries": 70}, {"retries": 2, "wait_ms": 0.5}, {}, {}]
    assert numbers == (expected if samples else [])


@pytest.mark.parametrize("samples", [True, False])
def test_numbers_out_of_range_are_not_totalled(tmp_path: Path, samples: bool) -> None:
    operations = [{"name": "increment", "path": "/", "capture": ["retries"]}]
    buffer = make(tmp_path, [], operations=operations, samples=samples)
    for seq, value in enumerate([1, 10**400, -(10**400), math.inf, -math.inf, math.nan, True]):
        buffer.record(request_at(seq, seq, seq), T0 + seq + 9, buffer.pack(200, Answer(OK, "", "", None, (value,))))
    buffer.finish(T0 + 100)
    assert buffer.captured_totals() == {"retries": (2.0, 2)}
    assert len(list(buffer.rows())) == (7 if samples else 0)


def test_the_window_counts_requests_completed_in_it(tmp_path: Path) -> None:
    buffer = make(tmp_path, [], warmup={"seconds": 1.0, "max_seconds": 1.0})
    buffer.measure_from_second(1)
    buffer.window.until_us = T0 + 2_000_000
    for due, done in [(0, 900_000), (900_000, 1_000_000), (1_900_000, 1_999_999), (1_900_000, 2_000_000)]:
        buffer.record(request_at(0, due, due), T0 + done, buffer.pack(200, Answer(0)))
    buffer.finish(T0 + 2_100_000)
    assert buffer.window.outcomes == [2, 0, 0]
    assert [phase.outcomes[0] for phase in buffer.phases] == [2, 2]


def test_each_column_holds_what_was_recorded(tmp_path: Path) -> None:
    buffer = make(tmp_path, [])
    for seq in range(3):
        request = SimpleNamespace(seq=seq, op=0, key=7 + seq, due_us=10 + seq, sent_us=20 + seq)
        buffer.record(request, 30 + seq, buffer.pack(500 + seq, Answer(seq, f"e{seq}", f"h{seq}", -seq)))
    buffer.close()
    columns = {
        name: buffer._column(name, slice(0, buffer._offset)).tolist()
        for name in sample_buffer._COLUMNS
        if name != "padding"
    }
    assert columns == {
        "seq": [0, 1, 2], "due_us": [10, 11, 12], "sent_us": [20, 21, 22], "done_us": [30, 31, 32],
        "key": [7, 8, 9], "op": [0, 0, 0], "host": [1, 2, 3], "error": [1, 2, 3], "status": [500, 501, 502],
        "outcome": [0, 1, 2], "has_value": [1, 1, 1], "value": [0, -1, -2],
    }  # fmt: skip


@pytest.mark.parametrize("value", [list(range(1000)), "x" * 4000, {"deep": [[[1]]] * 1000}])
def test_captured_fields_that_are_no_numbers_are_bounded_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.setattr(sample_buffer, "_MAX_LISTS_BYTES", 1_000_000)
    operation = {"name": "bulk", "path": "/x", "capture": ["ids"]}
    buffer = make(tmp_path, [], operations=[operation], requests=100)
    packed = buffer.pack(200, Answer(OK, captured=(value,)))

    def record_all() -> None:
        for seq in range(100):
            buffer.record(request_at(seq, 0, 0), T0 + 1, packed)

    with pytest.raises(RigError, match=r"load-1: the captured fields .* too much memory"):
        record_all()
    assert 5 < len(buffer.lists) < 30
    buffer.close()
