"""The state of an app host, as read from it: revision, overrides, CPU cap, and the settings of its workers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

READ_STATE = """
for file in cpu.max cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us; do
  [ ! -r /sys/fs/cgroup/$file ] || echo "$file $(cat /sys/fs/cgroup/$file)"
done
[ ! -e "$2" ] || echo "revision $(sed -n '1s/^# //p' "$2")"
[ ! -e "$1" ] || { echo overrides; cat "$1"; }
"""
"""Prints the CPU limit of a host that is a container, then the revision that its drop-in selects and its overrides,
where it has any."""


WorkerSettings = Mapping[str, Any]
"""A worker's settings by name: values of its /metrics, or texts of its settings file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What an app host has now, as read from it.

    `revision`: which its drop-in selects ("": the provisioned code). `overrides`: the content of its file (None: no
    file). `cores`: its CPU cap, infinite without one, None where it cannot be read. `running`: the settings of each
    worker that answers, by worker.
    """

    revision: str
    overrides: Mapping[str, str] | None
    cores: float | None
    running: Mapping[str, WorkerSettings]

    @property
    def is_as_provisioned(self) -> bool:
        """Whether no bench left anything that the service reads at its start."""
        return self.overrides is None and not self.revision


def parse_state(text: str, running: Mapping[str, WorkerSettings]) -> AppState:
    """Parses the output of READ_STATE."""
    head, has_overrides, tail = text.partition("overrides\n")
    limits = {name: value.split() for name, _, value in (line.partition(" ") for line in head.splitlines())}
    revision = "".join(limits.get("revision", [])) or ("unknown" if "revision" in limits else "")
    quota = limits.get("cpu.max") or [
        *limits.get("cpu/cpu.cfs_quota_us", []), *limits.get("cpu/cpu.cfs_period_us", []),
    ]  # fmt: skip
    cores = None
    if len(quota) == 2:
        cores = math.inf if quota[0] in ("max", "-1") else int(quota[0]) / int(quota[1])
    overrides = {name: value for name, _, value in (line.partition("=") for line in tail.splitlines())}
    return AppState(revision=revision, overrides=overrides if has_overrides else None, cores=cores, running=running)


def plain(settings: WorkerSettings) -> dict[str, float | str]:
    """Returns settings by lower-case name, numbers as numbers: `POOL_SIZE=10` in a file is `pool_size: 10` in /metrics.

    A cell sets no setting of one worker only.
    """
    parsed: dict[str, float | str] = {}
    for name, value in settings.items():
        try:
            parsed[name.lower()] = float(value)
        except (TypeError, ValueError):
            parsed[name.lower()] = str(value)
    return parsed


def runs_with(state: AppState, name: str, value: str) -> bool:
    """Returns whether a worker of the host runs with this setting, or its file has it."""
    if (state.overrides or {}).get(name) == value:
        return True
    return any(settings.get(name.lower()) == value for settings in state.running.values())


def is_capped(cores: float | None, wanted: float) -> bool:
    """Returns whether a cap that was read is the wanted one; a machine without a cap has all its cores."""
    if cores is None:
        return False
    return math.isclose(min(cores, all_cores()), min(wanted, all_cores()), rel_tol=0.01)


def all_cores() -> float:
    return float(os.cpu_count() or 1)
