"""Seconds of a load, added up over load hosts and phases, and the lines that are printed of them."""

from __future__ import annotations

from typing import Any

from harness.measure.progress import PlainProgress, Second, SecondMeter


def meter() -> tuple[SecondMeter, list[Second]]:
    taken: list[Second] = []
    return SecondMeter(taken.append), taken


def report(meter: SecondMeter, second: int, ok: int, *, fail: int = 0, lane: str = "main", **more: Any) -> None:
    event = {"second": second, "phase": "measure", "ok": ok, "fail": fail, "unknown": fail, **more}
    meter(lane, event)


def test_a_second_of_two_phases_is_passed_on_once_with_both() -> None:
    receive, taken = meter()
    for second in range(8):
        if second == 4:
            report(receive, 4, 64, phase="warmup")
        report(receive, second, 1000, fail=3)
    assert [(each.second, each.ok, each.fail, each.unknown) for each in taken] == [
        (0, 1000, 3, 3), (1, 1000, 3, 3), (2, 1000, 3, 3), (3, 1000, 3, 3), (4, 1064, 3, 3), (5, 1000, 3, 3),
    ]  # fmt: skip


def test_a_second_includes_a_load_host_that_reports_late_and_no_other_lane() -> None:
    receive, taken = meter()
    for second in range(5):
        report(receive, second, 1000, p50_ms=2.0, p99_ms=9.0, hosts={"app-1": 600, "app-2": 400})
        if second:
            report(receive, second - 1, 500, p50_ms=3.0, p99_ms=None, hosts={"app-2": 500}, errors={"timeout": 2})
        report(receive, second, 7, lane="long")
    assert taken[1] == Second(
        second=1, ok=1500, fail=0, unknown=0, p50_ms=3.0, p99_ms=9.0, errors={"timeout": 2},
        hosts={"app-1": 600, "app-2": 900},
    )  # fmt: skip


def test_old_seconds_are_dropped() -> None:
    receive, taken = meter()
    for second in range(1000):
        report(receive, second, 1)
    assert len(taken) == 998
    assert len(receive._seconds) == 2


def test_a_second_as_text() -> None:
    second = Second(
        second=3, ok=1234, fail=2, unknown=1, p50_ms=4.123, p99_ms=18.0,
        errors={"HTTP 503": 1, "timeout": 2}, hosts={"app-2": 1, "app-1": 3},
    )  # fmt: skip
    assert second.text() == "1,234 ok/s  p50 ≤4.12 ms  p99 ≤18 ms  3 not ok: 2 timeout, 1 HTTP 503"
    assert second.shares() == "app-1 75%  app-2 25%"
    assert Second(second=1, ok=1, fail=0, unknown=0).text() == "1 ok/s  0 not ok"
    assert Second(second=1, ok=1, fail=0, unknown=0).shares() == ""


def test_plain_lines_come_at_intervals() -> None:
    now, lines = [100.0], list[str]()
    progress = PlainProgress(lines.append, clock=lambda: now[0])
    for second in range(7):
        now[0] = 100.0 + second
        progress.second(Second(second=second, ok=10, fail=0, unknown=0, hosts={"app-1": 10}))
    assert [line.split()[:4] for line in lines] == [[str(s), "s", "10", "ok/s"] for s in (2, 4, 6)]
    assert lines[0].endswith("app-1 100%")
