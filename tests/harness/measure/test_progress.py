from __future__ import annotations

from harness.measure.progress import ProgressPrinter


class Printer:
    """A progress printer with a clock that the test sets, and the lines that it printed."""

    def __init__(self) -> None:
        self.now, self.lines = 100.0, list[list[str]]()
        self.printer = ProgressPrinter(lambda text: self.lines.append(text.split()), clock=lambda: self.now)

    def report(self, second: int, ok: int, phase: str = "measure", fail: int = 0, lane: str = "main") -> None:
        self.printer(lane, {"second": second, "phase": phase, "ok": ok, "fail": fail, "unknown": fail})


def test_a_second_of_two_phases_is_printed_once_with_both() -> None:
    progress = Printer()
    for second in range(8):
        progress.now = 100 + second
        if second == 4:
            progress.report(4, 64, phase="warmup")
        progress.report(second, 1000, fail=3)
    assert [(line[0], line[2], line[4]) for line in progress.lines] == [
        ("0", "1,000", "6"),
        ("2", "1,000", "6"),
        ("4", "1,064", "6"),
    ]


def test_a_second_includes_a_load_host_that_reports_late() -> None:
    progress = Printer()
    for second in range(6):
        progress.now = 100 + second
        progress.report(second, 1000)
        if second:
            progress.report(second - 1, 500)
        progress.report(second, 7, lane="long")
    assert [(line[0], line[2]) for line in progress.lines] == [("0", "1,500"), ("2", "1,500")]


def test_a_short_trial_prints_nothing_and_old_seconds_are_dropped() -> None:
    progress = Printer()
    for second in range(1000):
        progress.report(second, 1)
    assert progress.lines == []
    assert len(progress.printer._seconds) == 2
