from __future__ import annotations

from harness.measure.progress import ProgressPrinter


class Watched:
    """A ticker at a clock that is set by hand, and what it said."""

    def __init__(self) -> None:
        self.now, self.said = 100.0, []
        self.ticker = ProgressPrinter(lambda text: self.said.append(text.split()), clock=lambda: self.now)

    def tell(self, second: int, ok: int, phase: str = "measure", fail: int = 0, lane: str = "main") -> None:
        self.ticker(lane, {"second": second, "phase": phase, "ok": ok, "fail": fail, "unknown": fail})


def test_a_second_that_a_warm_up_and_its_trial_share_is_said_whole() -> None:
    watched = Watched()
    for second in range(8):
        watched.now = 100 + second
        if second == 4:
            watched.tell(4, 64, phase="warmup")
        watched.tell(second, 1000, fail=3)
    assert [(line[0], line[2], line[4]) for line in watched.said] == [
        ("0", "1,000", "6"),
        ("2", "1,000", "6"),
        ("4", "1,064", "6"),
    ]


def test_all_load_hosts_are_in_it_though_one_speaks_later() -> None:
    watched = Watched()
    for second in range(6):
        watched.now = 100 + second
        watched.tell(second, 1000)
        if second:
            watched.tell(second - 1, 500)
        watched.tell(second, 7, lane="long")
    assert [(line[0], line[2]) for line in watched.said] == [("0", "1,500"), ("2", "1,500")]


def test_a_short_trial_is_not_spoken_of_and_nothing_is_kept() -> None:
    watched = Watched()
    for second in range(1000):
        watched.tell(second, 1)
    assert watched.said == []
    assert len(watched.ticker._seconds) == 2
