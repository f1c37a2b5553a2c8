"""Prints the systemd units that match the patterns in its arguments, and the processes of each, as JSON.

`started` is the start time of a process in clock ticks since the boot: with it a process id is not taken for that of
an earlier process (proc(5), stat, field 22). `state`: T is stopped, Z is a zombie.
"""

from __future__ import annotations

import fnmatch
import json
import pathlib
import re
import subprocess
import sys


def units(patterns: list[str]) -> list[dict[str, object]]:
    command = ["systemctl", "show", "--property=Id,ActiveState,SubState,MainPID", "--", *patterns]
    text = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=10).stdout
    found = []
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("Id"):
            found.append(
                {
                    "name": values["Id"],
                    "active": values["ActiveState"],
                    "sub": values["SubState"],
                    "main": int(values["MainPID"]),
                }
            )
    return found


def processes(patterns: list[str]) -> list[dict[str, object]]:
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            groups, stat = (folder / "cgroup").read_text(), (folder / "stat").read_text()
        except OSError:  # it has ended
            continue
        names = re.findall(r"/([^/\n]+\.service)(?=/|$)", groups, re.MULTILINE)
        if names and any(fnmatch.fnmatch(names[-1], pattern) for pattern in patterns):
            fields = stat.rpartition(")")[2].split()
            process = {"unit": names[-1], "pid": int(folder.name), "state": fields[0], "started": int(fields[19])}
            found.append(process)
    return found


if __name__ == "__main__":
    wanted = sys.argv[1:]
    print(json.dumps({"units": units(wanted), "processes": processes(wanted)}))
