"""The matrix of stored results and the findings about it: changed results fail, damaged ones are rejected."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checks.isolation import findings_deadlocks, findings_isolation
from harness.errors import FormatError
from harness.isolation.__main__ import parse, work
from harness.isolation.matrix import matrix, read, render

SILENT = ("G0", "G1b", "G1c", "OTV", "PMP", "P4", "G-single", "G2-item", "G2")
SILENT += ("PMP-write", "G-single-pred", "G-single-del", "read-only")
CHECKS = ["documented guarantees hold", "requested isolation level"]


def cell(result: dict[str, Any], case: str, level: str) -> dict[str, Any]:
    match: dict[str, Any] = next(c for c in result["cells"] if (c["case"], c["level"]) == (case, level))
    return match


def by_check(result: dict[str, Any], level: str) -> dict[str, Any]:
    return {f.check: f for f in findings_isolation(result) if f.numbers["level"] == level}


def test_all_findings_pass_on_postgresql(stored) -> None:
    findings = findings_isolation(json.loads(json.dumps(stored)))
    assert [(f.check, f.verdict) for f in findings] == [(check, "pass") for _ in range(4) for check in CHECKS]
    assert "none of the 14 anomalies documented as prevented occurred" in findings[4].detail
    assert findings[4].numbers["occurred_as_documented"] == ["G2-item", "G2", "read-only"]
    assert findings[1].numbers["asserted"] == 36


def test_an_anomaly_under_a_false_level_fails_with_its_witness(stored) -> None:
    """A write skew recorded at REPEATABLE READ, relabelled as SERIALIZABLE."""
    doctored = deepcopy(stored)
    weak = json.dumps(cell(doctored, "G2-item", "REPEATABLE READ")["transcript"])
    relabelled = weak.replace("REPEATABLE READ", "SERIALIZABLE").replace("repeatable read", "serializable")
    cell(doctored, "G2-item", "SERIALIZABLE")["transcript"] = json.loads(relabelled)
    findings = by_check(doctored, "SERIALIZABLE")
    assert [findings[check].verdict for check in CHECKS] == ["fail", "pass"]
    assert "1 of 17 anomalies documented as prevented occurred: G2-item" in findings[CHECKS[0]].detail
    assert any("COMMIT" in line for line in findings[CHECKS[0]].numbers["witness"]["G2-item"])
    assert any(line.endswith("OCCURRED!!") for line in render(matrix(read(doctored)), 100))


def test_a_transaction_that_ran_at_another_level_fails(stored) -> None:
    doctored = deepcopy(stored)
    weak = cell(doctored, "G2-item", "READ COMMITTED")["transcript"]
    cell(doctored, "G2-item", "SERIALIZABLE")["transcript"] = {**weak, "level": "SERIALIZABLE"}
    findings = by_check(doctored, "SERIALIZABLE")
    assert [findings[check].verdict for check in CHECKS] == ["unknown", "fail"]
    assert "T1 requested SERIALIZABLE but ran at READ COMMITTED" in findings[CHECKS[1]].detail


def test_a_dirty_read_in_the_transcript_fails(stored) -> None:
    doctored = deepcopy(stored)
    read_event = next(
        e for e in cell(doctored, "G1a", "READ COMMITTED")["transcript"]["events"] if e["label"] == "T2 before"
    )
    read_event["rows"] = [[1, 101]]
    assert by_check(doctored, "READ COMMITTED")[CHECKS[0]].verdict == "fail"
    assert by_check(doctored, "SERIALIZABLE")[CHECKS[0]].verdict == "pass"


def test_a_case_that_did_not_run_is_unknown(stored) -> None:
    doctored = deepcopy(stored)
    doctored["cells"].remove(cell(doctored, "P4", "SERIALIZABLE"))
    finding = by_check(doctored, "SERIALIZABLE")[CHECKS[0]]
    assert (finding.verdict, finding.numbers["unknown"]) == ("unknown", ["P4"])


def test_no_reported_level_is_unknown(stored) -> None:
    assert by_check({**stored, "cells": []}, "SERIALIZABLE")[CHECKS[1]].verdict == "unknown"


SERIAL_LEVELS = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")


def one_after_the_other(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the events of one session after those of another, with times to match."""
    moved = sorted(events, key=lambda event: event["session"])
    return [{**event, "sent_ms": 2.0 * n, "done_ms": 2.0 * n + 1, "waited_for": []} for n, event in enumerate(moved)]


def test_sessions_that_ran_one_after_the_other_are_unknown(stored) -> None:
    doctored = deepcopy(stored)
    for each in doctored["cells"]:
        each["transcript"]["events"] = one_after_the_other(each["transcript"]["events"])
    rows = matrix(read(doctored))
    assert {row["verdict"] for row in rows} == {"unknown"}
    assert all("the sessions did not interleave: " in row["reason"] for row in rows)
    for level in SERIAL_LEVELS:
        assert by_check(doctored, level)[CHECKS[0]].verdict == "unknown"


def test_steps_that_ran_one_after_the_other_in_open_transactions_are_unknown(stored) -> None:
    doctored = deepcopy(stored)
    for each in doctored["cells"]:
        events = each["transcript"]["events"]
        sessions = sorted({event["session"] for event in events})
        opening = [[e for e in events if e["session"] == session][:2] for session in sessions]
        first = [event for pair in opening for event in pair]
        rest = one_after_the_other([event for event in events if event not in first])
        for n, event in enumerate(first):
            event.update(sent_ms=0.1 * n - 1, done_ms=0.1 * n - 0.95)
        each["transcript"]["events"] = [*first, *rest]
    assert {row["verdict"] for row in matrix(read(doctored))} == {"unknown"}


@pytest.mark.parametrize(
    ("case", "label", "rows", "levels"),
    [
        ("non-repeatable-read", "T1 second", [[1, 10]], SERIAL_LEVELS[:2]),
        ("P4", "T2 reads", [[1, 11]], SERIAL_LEVELS[:2]),
        ("G-single", "T1 two", [[2, 20]], SERIAL_LEVELS[:2]),
        ("phantom-read", "T1 second", [[2, 20]], SERIAL_LEVELS[:2]),
        ("PMP", "T1 second", [], SERIAL_LEVELS[:2]),
        ("G2-item", "T2 reads", [[1, 11], [2, 20]], SERIAL_LEVELS[:3]),
        ("G2", "T2 reads", [[3, 30]], SERIAL_LEVELS[:3]),
    ],
)
def test_what_postgresql_always_shows_is_unknown_if_it_was_not_observed(
    stored, case: str, label: str, rows: list[Any], levels: tuple[str, ...]
) -> None:
    for level in levels:
        doctored = deepcopy(stored)
        events = cell(doctored, case, level)["transcript"]["events"]
        next(e for e in events if e["label"] == label)["rows"] = rows
        finding = by_check(doctored, level)[CHECKS[0]]
        assert (finding.verdict, finding.numbers["unknown"]) == ("unknown", [case])
        assert "the sessions did not interleave" in finding.detail


def test_possible_but_not_observed_is_marked(stored) -> None:
    doctored = deepcopy(stored)
    events = cell(doctored, "P4", "READ COMMITTED")["transcript"]["events"]
    next(e for e in events if e["label"] == "T2 reads")["rows"] = [[1, 11]]
    finding = by_check(doctored, "READ COMMITTED")[CHECKS[0]]
    assert (finding.verdict, finding.numbers["possible_not_observed"]) == ("unknown", ["P4"])
    assert "may may wait " in next(line for line in render(matrix(read(doctored)), 100) if line.startswith("P4"))
    assert any(line.startswith("P4") and " ms -" in line for line in render(matrix(read(doctored)), 100))


def test_rendered_matrix(stored) -> None:
    lines = render(matrix(read(stored)), 100)
    assert lines[0].split()[:2] == stored["version"].split()[:2]
    names = [line.split()[0] for line in lines[2:19]]
    assert names == [case.removesuffix("-read") + "*" * (case in SILENT) for case in stored["cases"]]
    (skew,) = [line for line in lines if line.startswith("G2-item*")]
    assert skew.split()[1:] == [*("may may OCCURRED " * 2 + "no may OCCURRED no no abort 40001").split()]
    assert max(map(len, lines)) <= 100


def test_a_narrow_terminal_splits_the_levels_into_two_tables(stored) -> None:
    lines = render(matrix(read(stored)), 80)
    assert max(map(len, lines)) <= 80
    skews = [line.split()[1:] for line in lines if line.startswith("G2-item*")]
    assert [cell for line in skews for cell in line] == [
        *("may may OCCURRED " * 2 + "no may OCCURRED no no abort 40001").split()
    ]


def test_the_worst_of_several_runs_is_shown(stored) -> None:
    good = matrix(read(stored))
    bad = [{**row, "observed": "OCCURRED", "kind": "occurred", "verdict": "fail"} for row in good]
    for rows in ([*good, *bad], [*bad, *good]):
        (skew,) = [line for line in render(rows, 100) if line.startswith("G2-item*")]
        assert skew.endswith("OCCURRED!!")


def test_each_sqlite_profile_has_a_column(tmp_path: Path) -> None:
    profiles = ("tuned", "naive")  # trials run in random order
    jobs = [{"what": "isolation", "sqlite": {"path": str(tmp_path / p), "profile": p}} for p in profiles]
    results = [work(parse(json.dumps(job)), lambda *_: None) for job in jobs]
    lines = render([row for result in results for row in matrix(read(result))], 80)
    assert lines[0].split()[2:] == ["sqlite-naive", "sqlite-tuned"]
    (lost_update,) = [line for line in lines if line.startswith("P4")]
    assert lost_update.split()[1:5] == ["no", "no", "abort", "SQLITE_BUSY"]
    assert any("SQLite has only SERIALIZABLE" in line for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "change",
    [
        {"cases": ["G9"]}, {"levels": ["CHAOS"]}, {"backend": "oracle"}, {"cells": 3}, {"cells": [{}]}, {"cases": []},
        {"levels": []}, {"cases": [[]]},
    ],
)  # fmt: skip
def test_a_damaged_result_is_rejected(stored, change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        findings_isolation({**stored, **change})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
EVENT_KEYS = ["session", "sql", "label", "sent_ms", "done_ms", "waited_for", "rows", "code", "message"]
EVENTS = st.lists(st.fixed_dictionaries(dict.fromkeys(EVENT_KEYS, JSON)), max_size=2) | JSON
TRANSCRIPTS = st.fixed_dictionaries({"level": JSON, "events": EVENTS, "final": JSON, "trouble": JSON, "pids": JSON})


@given(transcript=TRANSCRIPTS | JSON)
def test_no_stored_transcript_crashes_the_evaluation(transcript: Any) -> None:
    common = {"backend": "postgres", "version": "x", "deadlock_timeout_ms": 1}
    asked = {"cases": ["G0"], "levels": ["SERIALIZABLE"]}
    cells = [{"case": "G0", "level": "SERIALIZABLE", "transcript": transcript}]
    rounds = [{"pairs": 1, "counted_before": 0, "counted_after": 1, "transcript": transcript}]
    for evaluate, result in (
        (findings_isolation, {**common, **asked, "cells": cells}),
        (findings_deadlocks, {**common, "rounds": rounds}),
    ):
        with suppress(FormatError):
            assert {finding.verdict for finding in evaluate(result)} <= {"unknown", "fail"}
