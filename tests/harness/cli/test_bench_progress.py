"""What a terminal shows of a bench: trial, time left, the newest second; and that it fits 40 and 120 columns."""

from __future__ import annotations

import re
import sys

import pytest

from harness.cli.bench_progress import LiveProgress
from harness.measure.progress import Second
from harness.plan.estimate import seconds_of
from harness.plan.options import BenchRequest
from harness.plan.planner import Plan, make_plan
from harness.plan.scenario import Site
from harness.rig.state import ROOT
from harness.scenarios import SCENARIOS
from tests.support.terminal import on_terminal

SECOND = Second(
    second=7, ok=3120, fail=1, unknown=2, p50_ms=4.1, p99_ms=18.0, errors={"timeout": 3}, hosts={"app-1": 1, "app-2": 1}
)


def plan(scenario: str = "throughput", **more: str) -> Plan:
    texts = {"scenario": scenario, "strategy": "upsert", "seconds": "10", "repeat": "3", **more}
    return make_plan(BenchRequest.parse(texts, known_scenarios=SCENARIOS), Site(hosts=2), SCENARIOS)


def test_the_lines_have_trial_time_left_rate_errors_and_shares() -> None:
    now, made = [0.0], plan()
    live = LiveProgress(made, SCENARIOS, clock=lambda: now[0])
    assert live.lines(80) == ["preparing  0:00"]
    first, second = made.trials[:2]
    live.trial(first, len(made.trials))
    live.second(SECOND)
    title, cell, rate, shares = live.lines(80)
    assert title == f"trial 1 of {len(made.trials)}  0:00"
    assert cell == first.cell.name
    assert rate == "7 s  3,120 ok/s  p50 ≤4.1 ms  p99 ≤18 ms  3 not ok: 3 timeout"
    assert shares == "app-1 50%  app-2 50%"
    now[0] = 2 * seconds_of(first, SCENARIOS)  # it took twice as long as estimated
    live.trial(second, len(made.trials))
    rest = sum(seconds_of(trial, SCENARIOS) for trial in made.trials[1:])
    assert live.left_s() == pytest.approx(2 * rest)
    assert len(live.lines(80)) == 2  # no second of this trial yet
    now[0] += 5
    assert live.left_s() == pytest.approx(2 * rest - 5)
    now[0] += 10_000
    assert live.left_s() == 0.0


def test_a_search_has_no_time_left() -> None:
    made = make_plan(
        BenchRequest.parse({"scenario": "capacity", "slo": "p99:50ms"}, known_scenarios=SCENARIOS),
        Site(hosts=2),
        SCENARIOS,
    )
    live = LiveProgress(made, SCENARIOS)
    live.trial(made.trials[0], made.most_trials)
    assert live.left_s() is None
    assert live.lines(80)[0].startswith(f"trial 1 of at most {made.most_trials}  ")


PROGRAM = """
import time
from harness.cli.bench_progress import bench_progress
from harness.cli.console import background_lines, protect_standard_files, say
from harness.scenarios import SCENARIOS
from tests.harness.cli.test_bench_progress import SECOND, plan
protect_standard_files()
made = plan()
with background_lines(), bench_progress(made, SCENARIOS, say) as progress:
    for trial in made.trials[:2]:
        say(f"[{trial.order}] {trial.cell.name}")
        progress.trial(trial, len(made.trials))
        progress.second(SECOND)
        time.sleep(0.6)
print("the summary")
"""


@pytest.mark.parametrize("columns", [40, 120])
def test_a_terminal_shows_them_in_place(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, text = on_terminal([sys.executable, "-c", PROGRAM], columns, {})
    assert code == 0, text
    lines = [re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", line) for line in re.split(r"\r?\n|\r|\x1b\[1A", text)]
    assert any(line.startswith("trial 2 of ") for line in lines)
    assert any(line.startswith("7 s  3,120 ok/s  p50 ≤4.1 ms") for line in lines)
    assert "app-1 50%  app-2 50%" in lines
    assert lines[-2:] == ["the summary", ""]
    shown = [line for line in lines if not line.startswith("[")]  # lines above them are wrapped by the terminal
    assert max(map(len, shown)) <= columns


@pytest.mark.parametrize("env", [{"CI": "1"}, {"TERM": "dumb"}], ids=str)
def test_elsewhere_they_are_plain_lines(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, text = on_terminal([sys.executable, "-c", PROGRAM], 80, env)
    assert code == 0, text
    assert "\x1b" not in text
    assert text.endswith("the summary\r\n")
