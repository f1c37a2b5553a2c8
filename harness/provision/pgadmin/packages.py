"""Installs pgAdmin into a virtual environment in .cache/, pinned with hashes by requirements-pgadmin.lock.

pgAdmin pins more than a hundred packages, some of them in other versions than the harness needs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness.errors import RigError
from harness.provision.bundle import lines_for
from harness.provision.play_events import Echo
from harness.rig import machine_lock, state

LOCK = state.ROOT / "requirements-pgadmin.lock"
PREFIX, PARTIAL = "pgadmin-", ".partial"
BUILDER = "setuptools"
"""Builds the packages that have no wheel; it is in the lock as well, and installed first."""
VENV_S = 120.0
PIP_S = 1800.0
"""Longest time for pip to download and unpack the packages, 130 MB and 500 MB."""
POLL_S, ECHO_S = 0.2, 5.0
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def environment() -> Path:
    """Returns the path of the virtual environment for the lock as it is now; it may not exist."""
    digest = hashlib.sha256(f"1 {VERSION} {platform.machine()} ".encode() + LOCK.read_bytes())
    return state.CACHE / f"{PREFIX}{digest.hexdigest()[:16]}"


def code(installed: Path) -> Path:
    """Returns the folder of pgAdmin's programs (`pgAdmin4.py`, `setup.py`) in the environment."""
    return installed / "lib" / f"python{VERSION}" / "site-packages" / "pgadmin4"


def install(echo: Echo) -> Path:
    """Returns the environment; makes it, whole or not at all, unless it exists. Raises RigError with pip's message."""
    target = environment()
    if target.exists():
        return target
    state.CACHE.mkdir(exist_ok=True)
    with machine_lock.held(_lock(), timeout_s=PIP_S):
        if not target.exists():
            partial = target.with_name(f"{target.name}{PARTIAL}")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                _make(partial, echo)
                partial.rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return target


@contextlib.contextmanager
def unfinished() -> Iterator[set[Path]]:
    """Yields the installations that another process makes; none begins meanwhile. One that was given up is not."""
    lock = machine_lock.acquire(_lock())
    with lock or contextlib.nullcontext():
        yield set() if lock else set(state.CACHE.glob(f"{PREFIX}*{PARTIAL}"))


def _lock() -> str:
    return f"pgAdmin's packages in {state.CACHE}"


def _make(partial: Path, echo: Echo) -> None:
    venv = [sys.executable, "-m", "venv", "--without-pip", str(partial)]
    done = subprocess.run(venv, capture_output=True, text=True, check=False, timeout=VENV_S)
    if done.returncode:
        raise RigError(f"{partial}: the virtual environment was not made", output=(done.stderr or done.stdout)[-2000:])
    packages = lines_for(LOCK.read_text(encoding="utf-8"), VERSION, platform.machine())
    log, total = partial / "pip.log", packages.count("==")
    echo(f"pgAdmin is installed once, into {state.CACHE}: {total} packages, 130 MB")
    builder = [entry for entry in re.split(r"\n(?=\S)", packages) if entry.startswith(f"{BUILDER}==")]
    for name, text in (("builder", "\n".join(builder)), ("all", packages)):
        requirements = partial / f"{name}.lock"
        requirements.write_text(text, encoding="utf-8")
        _pip(partial, requirements, log, total, echo)
    if not (code(partial) / "pgAdmin4.py").exists():
        raise RigError(
            f"pip did not install pgAdmin into {partial}", hint="see 'pip config list' for target, prefix, root or user"
        )


def _pip(partial: Path, requirements: Path, log: Path, total: int, echo: Echo) -> None:
    """Installs what a file pins. Packages without a wheel are built with what is installed, which has a hash too."""
    command = [
        *(sys.executable, "-P", "-m", "pip", "--python", str(partial / "bin/python"), "install", "--no-user"),
        *("--no-compile", "--no-input", "--disable-pip-version-check", "--progress-bar=off", "--require-hashes"),
        *("--no-deps", "--no-build-isolation", "--requirement", str(requirements)),
    ]
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            _follow(process, log, total, echo)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # pip and the builds that it started
            raise
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no message"]
        raise RigError(
            f"pip could not install pgAdmin: {errors[-1]}",
            hint="check that the package index can be reached (pip config list), and that the disk has 1 GB free",
            output="\n".join(lines)[-2000:],
        )


def _follow(process: subprocess.Popen[bytes], log: Path, total: int, echo: Echo) -> None:
    """Shows how far pip is until it ends. Raises RigError at its limit."""
    began = last = time.monotonic()
    while process.poll() is None:
        now = time.monotonic()
        if now - began > PIP_S:
            raise RigError(f"pip did not install pgAdmin within {PIP_S:g} s", hint="run ./run pgadmin again")
        if now - last >= ECHO_S:
            last = now
            text = log.read_text(encoding="utf-8", errors="replace")
            unpacks = "\nInstalling collected packages" in text
            step = f"unpack {total}" if unpacks else f"fetch {text.count('Collecting ')} of {total}"
            echo(f"task pgAdmin: {step} packages")
        time.sleep(POLL_S)
