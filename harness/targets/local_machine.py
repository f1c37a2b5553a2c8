"""The machine of the controller while a trial's load runs: its CPU, and the part that the harness itself used."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from harness.host_scripts import sampler


def boot_id() -> str:
    """Returns the id of the running kernel; empty where it cannot be read."""
    return sampler.text("/proc/sys/kernel/random/boot_id").strip()


def is_this_machine(ip: str) -> bool:
    """Returns whether the address is one of this machine: a socket can be bound to it."""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((ip, 0))
        except OSError:
            return False
        return True


class LocalMachine:
    """Reads counters at the begin and the end of a load. `hosts`: ids of processes that are hosts of the rig."""

    def __init__(self, hosts: Callable[[], Collection[int]] = tuple) -> None:
        self._hosts = hosts
        self.begin()

    def begin(self) -> None:
        """Begins the interval that `end` reports."""
        self._since, self._before, self._own_s = time.monotonic(), sampler.totals(), self._own()

    def end(self) -> dict[str, float]:
        """Returns the metrics of the sampler; `rig_cpu_cores` is what the harness and its hosts' processes used."""
        seconds, after, own_s = time.monotonic() - self._since, sampler.totals(), self._own()
        metrics = sampler.rates(self._before, after, max(seconds, 1e-6))
        return {**metrics, "rig_cpu_cores": max(0.0, own_s - self._own_s) / max(seconds, 1e-6)}

    def _own(self) -> float:
        return tree_cpu_s({os.getpid(), *self._hosts()}, cpu_by_process())


def cpu_by_process() -> dict[int, tuple[int, float]]:
    """Returns process id -> parent, and CPU seconds of it and of its children that have ended (proc(5), stat)."""
    tick, processes = os.sysconf("SC_CLK_TCK"), {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
            except (OSError, IndexError):
                continue  # it has ended
            processes[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15])) / tick
    return processes


def tree_cpu_s(roots: Collection[int], processes: Mapping[int, tuple[int, float]]) -> float:
    """Returns the CPU seconds of these processes and of all their descendants."""
    children: dict[int, list[int]] = {}
    for process, (parent, _) in processes.items():
        children.setdefault(parent, []).append(process)
    waiting, counted = list(roots), set[int]()
    while waiting:
        process = waiting.pop()
        if process in processes and process not in counted:
            counted.add(process)
            waiting += children.get(process, ())
    return sum(processes[process][1] for process in counted)
