"""What a host does, measured on it: sent as text to every host of a rig (`python3 -c`). Standard library only.

Prints one JSON line a second: {"order": n, "metrics": {name: number}}. Each line read from standard input is a trial's
order: it ends the interval under way at once, and the next ones carry that order, so an interval belongs to one trial
or to none. Ends with its standard input, that is with the SSH session.

host_seconds           length of the interval that the other figures of the host cover
cpu_used_cores         CPU seconds a second of the host (cgroup v2 cpu.stat, v1 cpuacct.usage, else /proc/stat)
cpu_cap_cores          the quota in force, else the number of cores
cpu_throttled_share    share of the quota's periods in which it was used up; absent without a quota
cpu_throttled_cores    seconds a second that threads were held back, summed over cores; absent without a quota
memory_used_bytes      without page cache that can be dropped (cgroup), or MemTotal - MemAvailable
psi_*_some             share of the time in which some task waited for cpu, memory or io (cgroup v2)
machine_psi_*_some     the same of the whole machine under the host, where there is no cgroup v2
machine_cpu_share      busy share of all cores of that machine, time stolen by a hypervisor included
network_*_bytes        received and sent a second, without loopback
pool_*                 total, idle and waiting of the app's pool; `.2` after it for worker 2, where there are several
haproxy_*              requests a second over `haproxy_seconds`, sessions now, queued now; of an app host where the
                       line has "server"

Pool and HAProxy answer when they can and in lines of their own, so a busy service never delays the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

CGROUP = "/sys/fs/cgroup"
ANSWER_S = 10.0
"""A service that does not answer for so long is asked anew."""

Totals = dict[str, float]


def text(path: str) -> str:
    try:
        with open(path) as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def pairs(path: str) -> Totals:
    """A file of `name number` lines."""
    return {name: float(number) for name, number in (line.split()[:2] for line in text(path).splitlines())}


def quota() -> tuple[float | None, float]:
    """(cores the cgroup allows or None, seconds of a quota's period)."""
    parts = text(CGROUP + "/cpu.max").split() or [
        text(CGROUP + "/cpu/cpu.cfs_quota_us").strip(),
        text(CGROUP + "/cpu/cpu.cfs_period_us").strip(),
    ]
    if parts[0].isdigit() and parts[1].isdigit():
        return int(parts[0]) / int(parts[1]), int(parts[1]) / 1e6
    return None, 0.1


def machine_cpu() -> tuple[float, float]:
    """(busy, all) CPU seconds of the machine since it started; waiting for a disk is not busy."""
    ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in text("/proc/stat").split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def memory() -> float:
    for used, stat, name in (
        ("/memory.current", "/memory.stat", "inactive_file"),
        ("/memory/memory.usage_in_bytes", "/memory/memory.stat", "total_inactive_file"),
    ):
        whole = text(CGROUP + used)
        if whole:
            return float(whole) - pairs(CGROUP + stat).get(name, 0.0)
    of = {line.split(":")[0]: float(line.split()[1]) * 1024 for line in text("/proc/meminfo").splitlines()}
    return of["MemTotal"] - of["MemAvailable"]


def totals() -> Totals:
    """Everything that only grows, by the name of its rate, in seconds, bytes and periods."""
    busy, whole = machine_cpu()
    found = {"machine_busy": busy, "machine_all": whole, "cpu_used_cores": busy}
    v2 = pairs(CGROUP + "/cpu.stat")
    v1 = pairs(CGROUP + "/cpu/cpu.stat")
    usage = text(CGROUP + "/cpuacct/cpuacct.usage") or text(CGROUP + "/cpu/cpuacct.usage")
    if "usage_usec" in v2:
        found["cpu_used_cores"] = v2["usage_usec"] / 1e6
    elif usage:
        found["cpu_used_cores"] = float(usage) / 1e9
    if quota()[0] is not None:
        found["throttled_periods"] = v2.get("nr_throttled", v1.get("nr_throttled", 0.0))
        held = v2["throttled_usec"] / 1e6 if "throttled_usec" in v2 else v1.get("throttled_time", 0.0) / 1e9
        found["cpu_throttled_cores"] = held
    for kind in ("cpu", "memory", "io"):
        for path, prefix in ((f"{CGROUP}/{kind}.pressure", ""), (f"/proc/pressure/{kind}", "machine_")):
            words = text(path).split()
            if words:
                found[f"{prefix}psi_{kind}_some"] = float(words[4].split("=")[1]) / 1e6
                break
    for line in text("/proc/net/dev").splitlines()[2:]:
        name, numbers = line.split(":")
        if name.strip() != "lo":
            for way, column in (("received", 0), ("sent", 8)):
                key = f"network_{way}_bytes"
                found[key] = found.get(key, 0.0) + float(numbers.split()[column])
    return found


def rates(before: Totals, after: Totals, seconds: float) -> Totals:
    """What `totals` grew by a second, and the levels of now."""
    found = {name: (after[name] - before[name]) / seconds for name in after if name in before}
    whole, busy = found.pop("machine_all"), found.pop("machine_busy")
    found["machine_cpu_share"] = busy / whole if whole else 0.0
    cap, period = quota()
    found["cpu_cap_cores"] = float(os.cpu_count() or 1) if cap is None else cap
    if "throttled_periods" in found:
        found["cpu_throttled_share"] = min(1.0, found.pop("throttled_periods") * period)
    found["memory_used_bytes"] = memory()
    found["host_seconds"] = seconds
    return {name: round(value, 4) for name, value in found.items()}


class Question:
    """A request to a service on this host, and its answer as far as it has come."""

    def __init__(self, address: Any, wish: bytes, order: int) -> None:
        self.order, self.asked, self.wish, self._answer = order, time.monotonic(), wish, b""
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        try:
            self.socket.settimeout(1.0)  # on this host: it connects at once, or there is nobody
            self.socket.connect(address)
            self.socket.sendall(wish)
            self.socket.setblocking(False)
        except OSError:
            self.socket.close()
            raise

    def read(self) -> str | None:
        """The answer once it is whole (the service then closes), else None. Raises OSError where it breaks."""
        try:
            block = self.socket.recv(1 << 16)
        except BlockingIOError:
            return None
        self._answer += block
        return None if block else self._answer.decode(errors="replace")


def pool(answer: str, suffix: str) -> Totals:
    """What the service's /metrics says of its pool."""
    found = json.loads(answer.partition("\r\n\r\n")[2])["pool"]
    return {f"pool_{name}{suffix}": float(found[name]) for name in ("total", "idle", "waiting")}


def haproxy(answer: str) -> dict[str, Totals]:
    """Totals and levels by app host, and of HAProxy's public frontend under the empty name."""
    head, *lines = answer.lstrip("# ").strip().splitlines()
    names = head.split(",")
    found: dict[str, Totals] = {}
    for line in lines:
        row = dict(zip(names, line.split(","), strict=False))
        frontend = row["type"] == "0" and row["pxname"] == "public"
        if frontend or row["type"] == "2":
            of = found.setdefault("" if frontend else row["svname"].split(".")[0], {})
            columns = {"requests": "req_tot" if frontend else "stot", "sessions": "scur", "queued": "qcur"}
            for name, column in columns.items():
                of["haproxy_" + name] = of.get("haproxy_" + name, 0.0) + float(row.get(column) or 0)
    return found


class Sampler:
    """`job`: `ports` of the app's workers, `haproxy` the path of its admin socket, `every` in seconds; all optional."""

    def __init__(self, job: dict[str, Any]) -> None:
        wish = b"GET /metrics?database=0 HTTP/1.1\r\nHost: sampler\r\nConnection: close\r\n\r\n"
        ports = job.get("ports", [])
        self._targets: dict[str, tuple[Any, bytes]] = {
            f".{number}" if len(ports) > 1 else "": (("127.0.0.1", port), wish) for number, port in enumerate(ports, 1)
        }
        if job.get("haproxy"):
            self._targets["haproxy"] = (job["haproxy"], b"show stat -1 5 -1\n")
        self._every = float(job.get("every", 1.0))
        self._open: dict[str, Question] = {}
        self._order = 0
        self._seen: tuple[Question, dict[str, Totals]] | None = None

    def run(self) -> None:
        """Until standard input ends."""
        since, before = time.monotonic(), totals()
        due = since + self._every
        self._ask(self._targets)
        while True:
            order = self._wait(due)
            now, after = time.monotonic(), totals()
            self._tell(self._order, rates(before, after, now - since))
            since, before = now, after
            if order is None:
                due = max(due + self._every, now + self._every / 2)
                self._ask(self._targets)
            else:
                self._order = order
                self._ask(["haproxy"])  # so that its interval ends here too

    def _wait(self, due: float) -> int | None:
        """Reads answers until `due`, or until a trial begins or ends: then its order. SystemExit at the end."""
        while (left := due - time.monotonic()) > 0:
            asked = {question.socket.fileno(): name for name, question in self._open.items()}
            for ready in select.select([0, *asked], [], [], left)[0]:
                if ready in asked:
                    self._hear(asked[ready])
                elif data := os.read(0, 4096):
                    return int(data.split()[-1])
                else:
                    raise SystemExit(0)
        return None

    def _ask(self, names: Iterable[str]) -> None:
        """Asks those services that owe no answer."""
        for name in names:
            if name in self._open and time.monotonic() - self._open[name].asked > ANSWER_S:
                self._open.pop(name).socket.close()
            if name in self._targets and name not in self._open:
                with contextlib.suppress(OSError):  # it restarts: no answer is no line
                    self._open[name] = Question(*self._targets[name], self._order)

    def _hear(self, name: str) -> None:
        question = self._open[name]
        try:
            answer = question.read()
            if answer is None:
                return
            if name == "haproxy":
                self._compare(question, haproxy(answer))
            else:
                order = question.order if question.order == self._order else 0
                self._tell(order, pool(answer, name))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # a broken answer is no line either
        question.socket.close()
        del self._open[name]

    def _compare(self, question: Question, seen: dict[str, Totals]) -> None:
        """Tells requests as a rate since the last answer; a HAProxy that was restarted counts anew, and is not told."""
        last, self._seen = self._seen, (question, seen)
        if last is None or not seen:
            return
        seconds = question.asked - last[0].asked
        for server, now in seen.items():
            grown = now["haproxy_requests"] - last[1].get(server, now)["haproxy_requests"]
            if grown >= 0 and seconds > 0:
                rate = {"haproxy_requests": round(grown / seconds, 3), "haproxy_seconds": round(seconds, 4)}
                self._tell(last[0].order, {**now, **rate}, server=server)

    @staticmethod
    def _tell(order: int, metrics: Totals, **more: str) -> None:
        sys.stdout.write(json.dumps({"order": order, "metrics": metrics, **more}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):  # nobody listens any more
        Sampler(json.loads(sys.argv[1])).run()
