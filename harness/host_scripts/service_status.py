"""Asks the services of a host: sent as text to its `python3 -`, prints one JSON list. Standard library only.

The argument is a JSON list of questions: `name`, `units` (systemd units, globs allowed) and one of
  command  a program that ends with 0 if the service works
  url      an address that answers 200 if the service works
  socket   a Unix socket that answers `send` with text that contains `expect`
A service without units has a `path`: its program, which is as old as the service.
An answer has `name`, `ok`, `detail`, `running` (whether all units are active) and `since`: when the unit entered its
state, or the path was changed, in seconds since 1970, or null. systemd's times are converted from its monotonic clock,
which needs no recent systemd.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_S = 5.0
DETAIL = 200
"""Maximum length of a service's text."""


def unit_states(units: list[str]) -> list[dict[str, str]]:
    """Returns the properties of each unit, as `systemctl show` prints them."""
    if not units:
        return []
    properties = "Id,ActiveState,SubState,ActiveEnterTimestampMonotonic,InactiveEnterTimestampMonotonic"
    done = subprocess.run(
        ["systemctl", "show", "--property", properties, *units],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in done.stdout.split("\n\n")]
    return [block for block in blocks if "Id" in block]


def since(unit: dict[str, str]) -> float | None:
    """Returns when the unit became active, or when it stopped to be, in seconds since 1970; None if it never was."""
    entered = "ActiveEnterTimestampMonotonic" if unit["ActiveState"] == "active" else "InactiveEnterTimestampMonotonic"
    microseconds = int(unit.get(entered) or 0)
    return time.time() - time.monotonic() + microseconds / 1e6 if microseconds else None


def ask(question: dict[str, Any]) -> str:
    """Returns an empty string if the service works, else what is wrong. Raises OSError."""
    if "command" in question:
        done = subprocess.run(question["command"], capture_output=True, text=True, check=False, timeout=2 * TIMEOUT_S)
        return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"code {done.returncode}"
    if "url" in question:
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(question["url"], timeout=TIMEOUT_S) as response:
                return "" if response.status == 200 else f"answers {response.status}"
        except urllib.error.HTTPError as error:
            return f"answers {error.code} {error.read(DETAIL).decode(errors='replace')}"
    if "socket" in question:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(TIMEOUT_S)
            client.connect(question["socket"])
            client.sendall(question["send"].encode())
            answer = b""
            while question["expect"].encode() not in answer:
                part = client.recv(65536)
                if not part or len(answer) > 1 << 20:
                    return f"answers {answer[:DETAIL].decode(errors='replace')!r}"
                answer += part
            return ""
    return "nothing was asked"


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Returns the answer to one question."""
    try:
        problem = ask(question)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        problem = str(error) or type(error).__name__
    try:
        units = unit_states(question.get("units", []))
    except (OSError, ValueError, subprocess.SubprocessError):
        units = []
    times = [moment for unit in units if (moment := since(unit))]
    down = [
        f"{unit['Id']} is {unit['ActiveState']} ({unit['SubState']})"
        for unit in units
        if unit["ActiveState"] != "active"
    ]
    if "path" in question and not problem:
        times = [Path(question["path"]).stat().st_mtime]
    detail = "; ".join([part for part in (" ".join(problem.split())[:DETAIL], *down) if part])
    return {
        "name": question["name"],
        "ok": not problem,
        "detail": detail,
        "running": bool(units) and not down,
        "since": max(times) if times else None,
    }


if __name__ == "__main__":
    print(json.dumps([answer(question) for question in json.loads(sys.argv[1])]))
