"""The self-benchmark of foreign load: its figures, and the busy programs that it runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.analysis.foreign_load import ForeignLoad, MachineLoad
from harness.selfbench import foreign_load, local_stack
from harness.selfbench.analysis import Entry
from harness.selfbench.foreign_load import Verdicts, busy_programs
from harness.targets.local_machine import cpu_by_process, tree_cpu_s


def trials(*shares: float) -> tuple[ForeignLoad, ...]:
    machines = [MachineLoad(hosts=("controller",), foreign=share, stolen=0.0, pressure=None) for share in shares]
    return tuple(ForeignLoad(machines=(machine,)) for machine in machines)


def figures(monkeypatch: pytest.MonkeyPatch, verdicts: Verdicts) -> tuple[Entry, Entry]:
    monkeypatch.setattr(foreign_load, "_verdicts", lambda: verdicts)
    return foreign_load.foreign_load_caught(), foreign_load.foreign_load_false()


def test_the_figures_are_shares_of_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    caught, false = figures(monkeypatch, Verdicts(busy=trials(0.5, 0.6, 0.05, 0.7), quiet=trials(0.02, 0.2)))
    assert (caught["value"], caught["target"]) == (0.75, ">= 0.9")
    assert "4 trials, foreign CPU 5% to 70%, median 55%" in str(caught["detail"])
    assert (false["value"], false["target"]) == (0.5, "<= 0.1")


def test_trials_that_could_not_be_judged_give_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    unread = ForeignLoad(unread=("no readings of controller",))
    caught, _ = figures(monkeypatch, Verdicts(busy=(*trials(0.5), unread), quiet=trials(0.0)))
    assert caught["value"] is None


def test_without_a_server_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_stack, "SERVERS", tmp_path)
    for one in figures(monkeypatch, foreign_load.measure(tmp_path)):
        assert one["value"] is None
        assert str(one["detail"]).startswith("no PostgreSQL server is installed")


def test_busy_programs_are_foreign_and_end_with_the_block() -> None:
    with busy_programs(2) as pids:
        processes = cpu_by_process()
        assert len(pids) == 2
        assert set(pids) <= processes.keys()
        ours = {os.getpid()}
        assert tree_cpu_s(ours, processes) == tree_cpu_s(
            ours, {p: one for p, one in processes.items() if p not in pids}
        )
    deadline = time.monotonic() + 10
    while (alive := [pid for pid in pids if _runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive == []


def _runs(pid: int) -> bool:
    """Whether the process runs; one that nobody has waited for has ended as well."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
