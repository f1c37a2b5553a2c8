"""The course of a bench on a terminal: trial n of m, time left, rate, percentiles, errors, each app host's share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

from harness.cli.live import bottom_lines, elapsed, live_console
from harness.measure.progress import PlainProgress, Progress, Second
from harness.model import Trial
from harness.plan.estimate import seconds_of
from harness.plan.planner import Plan
from harness.plan.scenario import Scenario


class LiveProgress:
    """Keeps what is shown; `lines` formats it for a terminal."""

    def __init__(
        self, plan: Plan, scenarios: Mapping[str, Scenario], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._estimates = {trial.order: seconds_of(trial, scenarios) for trial in plan.trials}
        self._clock = clock
        self._began_s = clock()
        self._started_s = 0.0
        """When the present trial began: after the first one, in seconds."""
        self._first: int | None = None
        self._trial: Trial | None = None
        self._total = plan.most_trials
        self._at_most = "at most " if plan.later else ""
        self._second: Second | None = None

    def trial(self, trial: Trial, total: int) -> None:
        """A trial begins."""
        if self._first is None:
            self._first, self._began_s = trial.order, self._clock()
        self._trial, self._total, self._second = trial, total, None
        self._started_s = self._clock() - self._began_s

    def second(self, second: Second) -> None:
        """A second of its load is complete."""
        self._second = second

    def left_s(self) -> float | None:
        """Returns about how long the trials still take; None before one has ended, or where a search decides.

        The estimate of the rest is scaled by how long the finished trials took.
        """
        if self._trial is None or self._at_most:
            return None
        order, first = self._trial.order, self._first or 0
        done = sum(seconds for number, seconds in self._estimates.items() if first <= number < order)
        rest = sum(seconds for number, seconds in self._estimates.items() if number >= order)
        if not done:
            return None
        spent = self._clock() - self._began_s
        running = spent - self._started_s
        return max(0.0, rest * self._started_s / done - running)

    def lines(self, _: int) -> list[str]:
        """Returns what to show now."""
        if self._trial is None:
            return [f"preparing  {elapsed(self._clock() - self._began_s)}"]
        left = self.left_s()
        rest = "" if left is None else f"  about {elapsed(left)} left"
        title = f"trial {self._trial.order} of {self._at_most}{self._total}"
        shown = [f"{title}  {elapsed(self._clock() - self._began_s)}{rest}", self._trial.cell.name]
        if self._second is not None:
            shown += [f"{self._second.second} s  {self._second.text()}", self._second.shares()]
        return [line for line in shown if line]


@contextlib.contextmanager
def bench_progress(plan: Plan, scenarios: Mapping[str, Scenario], echo: Callable[[str], None]) -> Iterator[Progress]:
    """Yields what shows the course of the bench: changing lines on a terminal, else plain lines to `echo`."""
    console = live_console()
    if console is None:
        yield PlainProgress(echo)
        return
    live = LiveProgress(plan, scenarios)
    with bottom_lines(console, live.lines):
        yield live
