"""Samples the resource use of a host: sent as text to every host of a rig (`python3 -c`). Standard library only.

Prints one JSON line per second: {"order": n, "metrics": {name: number}}. Each line read from standard input is the
order of a trial: it ends the current interval at once, and later lines carry that order, so an interval belongs to one
trial or to none. The sampler ends with its standard input, that is with the SSH session.

host_seconds           length of the interval that the other figures of the host cover
cpu_used_cores         CPU seconds per second of the host (cgroup v2 cpu.stat, v1 cpuacct.usage, else /proc/stat)
cpu_cap_cores          the CPU quota, else the number of cores
cpu_throttled_share    share of the quota's periods in which it was used up; absent without a quota
cpu_throttled_cores    seconds per second that threads were throttled, summed over cores; absent without a quota
memory_used_bytes      without page cache that can be dropped (cgroup), or MemTotal - MemAvailable
psi_*_some             share of the time in which some task waited for cpu, memory or io (cgroup v2)
machine_psi_*_some     the same for the machine that runs the host: cpu always, the others where there is no cgroup v2
machine_cpu_share      busy share of all cores of that machine, including time stolen by a hypervisor
machine_cores          number of its cores
machine_steal_cores    seconds per second that a hypervisor took from them
rig_cpu_cores          the part of cpu_used_cores that the rig used: all of it in a container, elsewhere that of the
                       control groups of its services ("units") and of this session, with the load agents; absent where
                       they are not known (a machine without cgroup v2)
network_*_bytes        received and sent per second, without loopback
pool_*                 total, idle and waiting of the app's pool; with several workers `.2` is appended for worker 2
haproxy_*              requests per second over `haproxy_seconds`, current sessions, current queue; of an app host if
                       the line has "server"

Pool and HAProxy metrics are printed on separate lines when they arrive, so a busy service does not delay the others.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

CGROUP = "/sys/fs/cgroup"
CONTAINER = "/run/systemd/container"
"""Written by systemd in a container."""
RESPONSE_S = 10.0
"""A request without a response for this long is repeated."""

Totals = dict[str, float]


def text(path: str) -> str:
    try:
        with open(path) as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def pairs(path: str) -> Totals:
    """Reads a file of `name number` lines."""
    return {name: float(number) for name, number in (line.split()[:2] for line in text(path).splitlines())}


def quota() -> tuple[float | None, float]:
    """Returns the cgroup's limit in cores (None: no limit) and the seconds of a quota period."""
    parts = text(CGROUP + "/cpu.max").split() or [
        text(CGROUP + "/cpu/cpu.cfs_quota_us").strip(),
        text(CGROUP + "/cpu/cpu.cfs_period_us").strip(),
    ]
    if parts[0].isdigit() and parts[1].isdigit():
        return int(parts[0]) / int(parts[1]), int(parts[1]) / 1e6
    return None, 0.1


def machine_cpu() -> tuple[float, float, float]:
    """Returns the machine's busy, total and stolen CPU seconds since it started; I/O wait is not busy."""
    ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in text("/proc/stat").split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks), ticks[7]


def rig_groups(units: Iterable[str]) -> Totals:
    """Returns the CPU seconds of the control groups of these systemd units and of this session, by folder."""
    session = [line[3:] for line in text("/proc/self/cgroup").splitlines() if line.startswith("0::") and len(line) > 4]
    folders = {CGROUP + path for path in session}
    for unit in units:
        for pattern in (f"{CGROUP}/system.slice/{unit}", f"{CGROUP}/system.slice/*/{unit}"):
            folders.update(glob.glob(pattern))  # noqa: PTH207
    usages = {folder: pairs(folder + "/cpu.stat").get("usage_usec") for folder in folders}
    return {folder: usage / 1e6 for folder, usage in usages.items() if usage is not None}


def memory() -> float:
    for used, stat, name in (
        ("/memory.current", "/memory.stat", "inactive_file"),
        ("/memory/memory.usage_in_bytes", "/memory/memory.stat", "total_inactive_file"),
    ):
        total = text(CGROUP + used)
        if total:
            return float(total) - pairs(CGROUP + stat).get(name, 0.0)
    sizes = {line.split(":")[0]: float(line.split()[1]) * 1024 for line in text("/proc/meminfo").splitlines()}
    return sizes["MemTotal"] - sizes["MemAvailable"]


def totals(units: Iterable[str] = ()) -> Totals:
    """Reads all monotonic counters, in seconds, bytes and periods, by the name of their rate."""
    busy, total, stolen = machine_cpu()
    counters = {"machine_busy": busy, "machine_all": total, "machine_steal_cores": stolen, "cpu_used_cores": busy}
    v2 = pairs(CGROUP + "/cpu.stat")
    v1 = pairs(CGROUP + "/cpu/cpu.stat")
    usage = text(CGROUP + "/cpuacct/cpuacct.usage") or text(CGROUP + "/cpu/cpuacct.usage")
    if "usage_usec" in v2:
        counters["cpu_used_cores"] = v2["usage_usec"] / 1e6
    elif usage:
        counters["cpu_used_cores"] = float(usage) / 1e9
    if os.path.exists(CONTAINER):  # noqa: PTH110
        counters["rig:"] = counters["cpu_used_cores"]
    else:
        counters |= {f"rig:{folder}": used for folder, used in rig_groups(units).items()}
    if quota()[0] is not None:
        counters["throttled_periods"] = v2.get("nr_throttled", v1.get("nr_throttled", 0.0))
        throttled_s = v2["throttled_usec"] / 1e6 if "throttled_usec" in v2 else v1.get("throttled_time", 0.0) / 1e9
        counters["cpu_throttled_cores"] = throttled_s
    for kind in ("cpu", "memory", "io"):
        for path, prefix in ((f"{CGROUP}/{kind}.pressure", ""), (f"/proc/pressure/{kind}", "machine_")):
            words = text(path).split()
            if words:
                counters[f"{prefix}psi_{kind}_some"] = float(words[4].split("=")[1]) / 1e6
                if kind != "cpu":
                    break
    for line in text("/proc/net/dev").splitlines()[2:]:
        name, numbers = line.split(":")
        if name.strip() != "lo":
            for direction, column in (("received", 0), ("sent", 8)):
                key = f"network_{direction}_bytes"
                counters[key] = counters.get(key, 0.0) + float(numbers.split()[column])
    return counters


def rates(before: Totals, after: Totals, seconds: float) -> Totals:
    """Returns the growth of `totals` per second, and current levels."""
    metrics = {name: (after[name] - before[name]) / seconds for name in after if name in before}
    own = [metrics.pop(name) for name in list(metrics) if name.startswith("rig:")]
    # a group that is not in `before` was made since; one that is made again begins at 0
    own += [used / seconds for name, used in after.items() if name.startswith("rig:") and name not in before]
    if own:
        metrics["rig_cpu_cores"] = sum(max(0.0, cores) for cores in own)
    total, busy = metrics.pop("machine_all"), metrics.pop("machine_busy")
    metrics["machine_cores"] = os.cpu_count() or 1
    metrics["machine_cpu_share"] = busy / total if total else 0.0
    limit, period = quota()
    metrics["cpu_cap_cores"] = float(os.cpu_count() or 1) if limit is None else limit
    if "throttled_periods" in metrics:
        metrics["cpu_throttled_share"] = min(1.0, metrics.pop("throttled_periods") * period)
    metrics["memory_used_bytes"] = memory()
    metrics["host_seconds"] = seconds
    return {name: round(value, 4) for name, value in metrics.items()}


class Request:
    """A request to a service on this host, and the part of its response that has arrived."""

    def __init__(self, address: Any, data: bytes, order: int) -> None:
        self.order, self.sent_at, self._response = order, time.monotonic(), b""
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        try:
            self.socket.settimeout(1.0)  # a local connect succeeds or fails at once
            self.socket.connect(address)
            self.socket.sendall(data)
            self.socket.setblocking(False)
        except OSError:
            self.socket.close()
            raise

    def read(self) -> str | None:
        """Returns the response once it is complete (the service closes then), else None. Raises OSError."""
        try:
            block = self.socket.recv(1 << 16)
        except BlockingIOError:
            return None
        self._response += block
        return None if block else self._response.decode(errors="replace")


def pool(response: str, suffix: str) -> Totals:
    """Returns the pool metrics of a response of the service's /metrics."""
    counts = json.loads(response.partition("\r\n\r\n")[2])["pool"]
    return {f"pool_{name}{suffix}": float(counts[name]) for name in ("total", "idle", "waiting")}


def haproxy(response: str) -> dict[str, Totals]:
    """Returns totals and levels by app host, and those of HAProxy's public frontend under the empty name."""
    head, *lines = response.lstrip("# ").strip().splitlines()
    names = head.split(",")
    servers: dict[str, Totals] = {}
    for line in lines:
        row = dict(zip(names, line.split(","), strict=False))
        frontend = row["type"] == "0" and row["pxname"] == "public"
        if frontend or row["type"] == "2":
            values = servers.setdefault("" if frontend else row["svname"].split(".")[0], {})
            columns = {"requests": "req_tot" if frontend else "stot", "sessions": "scur", "queued": "qcur"}
            for name, column in columns.items():
                values["haproxy_" + name] = values.get("haproxy_" + name, 0.0) + float(row.get(column) or 0)
    return servers


class Sampler:
    """Samples as `job` says: `ports` of the app's workers, `haproxy` admin socket, `units`, `every`; all optional."""

    def __init__(self, job: dict[str, Any]) -> None:
        get_metrics = b"GET /metrics?database=0 HTTP/1.1\r\nHost: sampler\r\nConnection: close\r\n\r\n"
        ports = job.get("ports", [])
        self._targets: dict[str, tuple[Any, bytes]] = {
            f".{number}" if len(ports) > 1 else "": (("127.0.0.1", port), get_metrics)
            for number, port in enumerate(ports, 1)
        }
        if job.get("haproxy"):
            self._targets["haproxy"] = (job["haproxy"], b"show stat -1 5 -1\n")
        self._every, self._units = float(job.get("every", 1.0)), job.get("units", [])
        self._pending: dict[str, Request] = {}
        self._order = 0
        self._last_haproxy: tuple[Request, dict[str, Totals]] | None = None

    def run(self) -> None:
        """Samples until standard input ends."""
        since, before = time.monotonic(), totals(self._units)
        due = since + self._every
        self._send(self._targets)
        while True:
            order = self._wait(due)
            now, after = time.monotonic(), totals(self._units)
            self._print(self._order, rates(before, after, now - since))
            since, before = now, after
            if order is None:
                due = max(due + self._every, now + self._every / 2)
                self._send(self._targets)
            else:
                self._order = order
                self._send(["haproxy"])  # its interval ends here as well

    def _wait(self, due: float) -> int | None:
        """Reads responses until `due`; returns early with the order of a trial that begins. SystemExit at the end."""
        while (remaining := due - time.monotonic()) > 0:
            pending = {request.socket.fileno(): name for name, request in self._pending.items()}
            for ready in select.select([0, *pending], [], [], remaining)[0]:
                if ready in pending:
                    self._receive(pending[ready])
                elif data := os.read(0, 4096):
                    return int(data.split()[-1])
                else:
                    raise SystemExit(0)
        return None

    def _send(self, names: Iterable[str]) -> None:
        """Sends a request to each named service that has none pending."""
        for name in names:
            if name in self._pending and time.monotonic() - self._pending[name].sent_at > RESPONSE_S:
                self._pending.pop(name).socket.close()
            if name in self._targets and name not in self._pending:
                with contextlib.suppress(OSError):  # the service restarts: no line for this interval
                    self._pending[name] = Request(*self._targets[name], self._order)

    def _receive(self, name: str) -> None:
        request = self._pending[name]
        try:
            response = request.read()
            if response is None:
                return
            if name == "haproxy":
                self._print_haproxy(request, haproxy(response))
            else:
                order = request.order if request.order == self._order else 0
                self._print(order, pool(response, name))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # an invalid response gives no line
        request.socket.close()
        del self._pending[name]

    def _print_haproxy(self, request: Request, servers: dict[str, Totals]) -> None:
        """Prints the request rate since the last response, unless HAProxy restarted and its counters began at 0."""
        last, self._last_haproxy = self._last_haproxy, (request, servers)
        if last is None or not servers:
            return
        seconds = request.sent_at - last[0].sent_at
        for server, now in servers.items():
            grown = now["haproxy_requests"] - last[1].get(server, now)["haproxy_requests"]
            if grown >= 0 and seconds > 0:
                rate = {"haproxy_requests": round(grown / seconds, 3), "haproxy_seconds": round(seconds, 4)}
                self._print(last[0].order, {**now, **rate}, server=server)

    @staticmethod
    def _print(order: int, metrics: Totals, **more: str) -> None:
        sys.stdout.write(json.dumps({"order": order, "metrics": metrics, **more}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):  # the reader is gone
        Sampler(json.loads(sys.argv[1])).run()
