"""Signals while a measured trial is stored."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from harness.cli.signals import Interrupted, interruptible
from harness.measure.deferred_signals import DeferredSignals
from harness.rig.state import ROOT


def storing(steps: list[str], number: int, *, held: bool, released: bool = False) -> None:
    with interruptible(), DeferredSignals() as signals:
        if held:
            signals.hold()
        signal.raise_signal(number)
        signal.raise_signal(number)
        steps.append("stored")
        if released:
            signals.release()
            steps.append("not reached")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("released", [False, True])
def test_a_held_signal_waits_for_the_release_or_the_end(number: int, *, released: bool) -> None:
    steps: list[str] = []
    with pytest.raises(Interrupted):
        storing(steps, number, held=True, released=released)
    assert steps == ["stored"]


def test_a_signal_acts_at_once_where_none_is_held() -> None:
    steps: list[str] = []
    with pytest.raises(Interrupted):
        storing(steps, signal.SIGTERM, held=False)
    assert steps == []


def test_handlers_are_put_back_and_defaults_stay() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with DeferredSignals():
        assert signal.getsignal(signal.SIGTERM) == before[1] == signal.SIG_DFL
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_storing_that_does_not_end_can_be_ended() -> None:
    script = (
        "import os, signal\nfrom harness.cli.signals import interruptible\n"
        "from harness.measure.deferred_signals import DeferredSignals\n"
        "with interruptible(), DeferredSignals() as signals:\n"
        "    signals.hold()\n"
        "    for _ in range(3): signal.raise_signal(signal.SIGINT)\n"
        "    os._exit(77)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode in (1, 130)
    assert done.returncode != 77


def test_another_thread_changes_no_handler() -> None:
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with DeferredSignals() as signals:
            signals.hold()
            signals.release()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
