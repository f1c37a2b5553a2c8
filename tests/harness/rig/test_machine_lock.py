"""Locks of this machine: one holder, whatever its checkout; released by its death, or by that of its last child."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.rig import machine_lock, network, state

HOLD = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from harness.rig import machine_lock, state
with state.locked(sys.argv[2]):
    if len(sys.argv) > 3:
        child = subprocess.Popen(["sleep", "60"], pass_fds=machine_lock.descriptors(), stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
    else:
        print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def name() -> str:
    return f"t-{os.getpid()}-{secrets.token_hex(2)}"


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that holds a rig's lock, as another checkout in another folder does."""
    (tmp_path / "other").mkdir()
    with ExitStack() as stack:

        def start(name: str, *more: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", HOLD, str(state.ROOT), name, *more]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path / "other"
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def wait_until_free(name: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with state.locked(name):
                return
        except RigError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_rig_is_locked_by_one_process_at_a_time(name: str) -> None:
    with state.locked(name):
        with pytest.raises(RigError, match="another process"), state.locked(name):
            raise AssertionError
        with state.locked(f"{name}-b"):
            pass
    with state.locked(name):
        pass


def test_a_lock_of_another_checkout_is_refused_with_its_process_and_folder(
    name: str, hold: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    process = hold(name)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(RigError, match=f"process {process.pid} in {tmp_path}/other"), state.locked(name):
        raise AssertionError
    process.kill()
    wait_until_free(name)


def test_a_lock_is_held_until_the_last_process_that_got_it_has_ended(
    name: str, hold: Callable[..., subprocess.Popen[str]]
) -> None:
    process = hold(name, "with a child")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    with pytest.raises(RigError, match="another process"), state.locked(name):
        raise AssertionError
    os.kill(child, 9)
    wait_until_free(name)


def test_a_wait_for_a_lock_has_a_deadline(name: str) -> None:
    with machine_lock.held(name):
        began = time.monotonic()
        with pytest.raises(RigError, match=r"another process .* after 0\.3 s"), machine_lock.held(name, timeout_s=0.3):
            raise AssertionError
        assert time.monotonic() - began >= 0.3


def test_names_of_any_length_are_locked_and_told_apart(name: str) -> None:
    """A lock of a folder whose path is long counted as held for ever."""
    path = f"{name} in /{'folder/' * 40}"
    with machine_lock.held(f"{path}one"), machine_lock.held(f"{path}two"), machine_lock.held(path[:95]):
        assert machine_lock.acquire(f"{path}one") is None
        assert str(os.getpid()) in machine_lock.holder(f"{path}one")


def test_a_lock_that_cannot_be_taken_is_not_one_that_is_held(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_lock, "_address", lambda _: b"\0" + b"x" * 200)
    with pytest.raises(RigError, match="cannot be locked"):
        machine_lock.acquire(name)


def test_a_network_is_reserved_for_one_provision_of_the_machine() -> None:
    """Two checkouts see neither each other's states nor a network that is not created yet."""
    with ExitStack() as first, ExitStack() as second:
        one, two = network.reserve([], first), network.reserve([], second)
        assert one != two
        first.close()
        with ExitStack() as third:
            assert network.reserve([two], third) != two
