"""Checks a host (run by verify.yml): its units are active, and no fault of a bench is left on it.

Standard library only. Reads the expected state as JSON from standard input. Prints all failed checks in one line and
exits with 1.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

WANTED: dict[str, Any] = json.load(sys.stdin)
CHAIN = "PGCRUCIBLE"
"""Firewall rules of a fault are in chains whose names begin so."""
DATA = "/var/lib/postgresql"
SERVICES = re.compile(r"/(?:pgcrucible-app@|postgresql@|haproxy\.service)")


def output(*command: str) -> str:
    """Returns what a program prints; without the program or the right to run it, nothing."""
    if shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout


def inactive_units() -> list[str]:
    """Returns the role's units that are not active; a pattern that matches no unit counts as one."""
    failures = []
    for pattern in WANTED["units"]:
        shown = output("systemctl", "show", "--property", "Id,ActiveState,SubState", pattern)
        units = [
            dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n") if block
        ]
        failures += [
            f"{u['Id']} is {u['ActiveState']} ({u['SubState']})" for u in units if u["ActiveState"] != "active"
        ]
        failures += [] if units else [f"there is no unit {pattern}"]
    return failures


def firewall_chains() -> list[str]:
    """Returns the chains of faults. Without NET_ADMIN no rule can be read, and none can be set from inside the host."""
    tables = [(program, table) for program in ("iptables", "ip6tables") for table in ("filter", "nat")]
    lines = "".join(output(program, "-w", "5", "-t", table, "-S") for program, table in tables).splitlines()
    names = sorted({line.split()[1] for line in lines if line.startswith(f"-N {CHAIN}")})
    return [f"the firewall chain {name} is left" for name in names]


def stopped_processes(proc: Path = Path("/proc")) -> list[str]:
    """Returns the processes of the service, PostgreSQL and HAProxy that are stopped (proc(5), state T)."""
    failures = []
    for folder in proc.iterdir():
        try:
            if folder.name.isdecimal() and SERVICES.search((folder / "cgroup").read_text()):
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
                if rest.split()[0] == "T":
                    failures.append(f"process {folder.name} ({name}) is stopped")
        except (OSError, IndexError):  # it has ended
            continue
    return sorted(failures)


def mounts_over_data(mounts: Path = Path("/proc/self/mounts")) -> list[str]:
    """Returns the file systems in memory that are mounted at or below PostgreSQL's directory."""
    fields = [line.split() for line in mounts.read_text().splitlines()]
    places = [place for _, place, kind, *_ in fields if kind == "tmpfs" and f"{place}/".startswith(f"{DATA}/")]
    return [f"a tmpfs is mounted on {place}" for place in places]


def main() -> int:
    failures = [*inactive_units(), *firewall_chains(), *stopped_processes(), *mounts_over_data()]
    print("; ".join(failures), file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
