"""Facts of a host: sent as text to every host of a rig (`python3 -`), prints one JSON object. Standard library only.

cpus: the CPU limit (cgroup quota), else the number of cores. memory: bytes, the cgroup's limit or the machine's size.
boot_id: identifies the running kernel; hosts with the same one are containers of one machine.
"""

from __future__ import annotations

import glob
import json
import os
import platform
import subprocess


def text(path: str) -> str:
    try:
        with open(path) as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def cpu_limit() -> float | None:
    """Returns the cgroup's limit in cores, or None; cgroup version 2 first, then version 1."""
    quota, period = [*text("/sys/fs/cgroup/cpu.max").split(), "", ""][:2]
    if not period:
        quota, period = text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), text("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def version(package: str) -> str:
    done = subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def facts() -> dict[str, object]:
    servers = [path.split("/")[4] for path in glob.glob("/usr/lib/postgresql/*/bin/postgres")]  # noqa: PTH207
    packages = ["haproxy", "python3", "openssh-server", *("postgresql-" + server for server in servers)]
    limits = [text("/sys/fs/cgroup/memory.max"), text("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    total = next(int(line.split()[1]) * 1024 for line in text("/proc/meminfo").splitlines() if "MemTotal" in line)
    models = [line.split(":", 1)[1].strip() for line in text("/proc/cpuinfo").splitlines() if "model name" in line]
    cores = float(os.cpu_count() or 1)
    return {
        "cpus": min(cores, cpu_limit() or cores),
        "memory": min([total, *(int(limit) for limit in limits if limit.isdigit())]),
        "kernel": platform.release(),
        "boot_id": text("/proc/sys/kernel/random/boot_id"),
        "cpu_model": (models or [platform.machine()])[0],
        "versions": {package: version(package) for package in packages if version(package)},
    }


if __name__ == "__main__":
    print(json.dumps(facts()))
