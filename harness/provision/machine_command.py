"""The command that starts a virtual machine, stored in the machine's folder: it starts again without its inventory."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.errors import RigError
from harness.rig import state

FILE = "command.json"
START_S = 60.0


def store(folder: Path, command: Sequence[str]) -> None:
    """Writes the command line, which has no secret, into the machine's folder."""
    state.write_private(folder / FILE, json.dumps(list(command)))


def start(folder: Path) -> None:
    """Starts the machine in the background with its disk. Raises RigError."""
    name = folder.name
    try:
        command = json.loads((folder / FILE).read_text())
    except (OSError, ValueError) as error:
        raise RigError(f"{name}: its command is not stored: {error}", hint="./run provision stores it") from None
    # A machine outlives the process that starts it: it must not be taken for a part of a play.
    environ = {key: value for key, value in os.environ.items() if key != "PGCRUCIBLE_PLAY"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=START_S, env=environ
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"{name}: the machine does not start: {error}") from None
    if done.returncode != 0:
        raise RigError(f"{name}: the machine does not start: {done.stderr.strip()[-400:] or 'no output'}")
