"""Runs a workload that is not HTTP as a Python module on a host: a JSON job in, a JSON result out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import RigError, UsageError
from harness.rig.connection import HostConnection
from harness.text import printable

TIMEOUT_S = 600.0


def run_module(host: HostConnection, command: Sequence[str], job: Mapping[str, object], *, hint: str = "") -> Any:
    """Sends the job on standard input and returns `result` of the last line that the command prints.

    Raises RigError, or the UsageError that the module ended with, with the module's own message and hint where there
    is no result; `hint` is for those without one.
    """
    done = host.run(command, stdin=json.dumps(job) + "\n", timeout_s=TIMEOUT_S, check=False)
    line = (done.stdout.strip().splitlines() or [""])[-1]
    answer = json.loads(line) if line.startswith("{") else {}
    if "result" not in answer:
        reason = answer.get("message") or (done.stderr.strip().splitlines() or ["no output"])[-1]
        kind = UsageError if answer.get("exit_code") == UsageError.exit_code else RigError
        raise kind(f"{host.name}: {command[-1]}: {printable(reason)}", hint=printable(answer.get("hint", hint)))
    return answer["result"]
