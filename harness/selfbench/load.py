"""Compares the speed of the load engine with other load generators in one session: `./run selfbench load`.

Every generator gets one core and the server another (if there are two), 50 connections, and the same canned response
of HAProxy (of harness.selfbench.null_server if there is no haproxy). The generators take turns in each round, ratios
are formed within a round, and the median over the rounds is reported, because a busy machine slows a whole round
alike. The engine and aiohttp's client run in the interpreter of the load hosts. The engine records every sample and
classifies every response, aiohttp decodes every response; the others only count.

HAProxy needs about as much CPU per response as the engine and more than wrk, so a faster generator waits for it: rates
show throughput; requests per CPU-second show efficiency.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.load.job import Endpoint, Job
from harness.load.results import histogram
from harness.load.results.summary import LaneSummary
from harness.load.spec import LoadSpec, Operation
from harness.selfbench.analysis import Entry, analysis, entry
from harness.text import strict_json

ROUNDS = 9
SECONDS = 2
CONNECTIONS = 50
SLOW_MS = 40.0
_ROOT = Path(__file__).parents[2]
_HAPROXY = """
global
  nbthread 1
  maxconn 2000
defaults
  mode http
  timeout client 60s
  timeout connect 5s
  timeout server 60s
frontend null
  bind 127.0.0.1:{port}
  http-request return status 200 content-type application/json lf-string '{{"value": 1, "container": "null"}}'
"""


def main(json_path: str | None = None) -> None:
    """Measures, prints one line per figure, and writes `{name: {value, unit, target, detail}}` to `json_path`."""
    entries: dict[str, Entry] = {}
    with tempfile.TemporaryDirectory(prefix="pgcrucible-selfbench-") as folder:
        entries |= _comparison(Path(folder))
        entries |= _open_model(Path(folder))
        entries |= analysis(Path(folder))
    for name, figure in entries.items():
        value = "not measured" if figure["value"] is None else f"{figure['value']:.2f} {figure['unit']}"
        print(f"{name:32} {value:>16}   target {figure['target']:10} {figure['detail']}")
    if json_path:
        Path(json_path).write_text(strict_json(entries, indent=1) + "\n", encoding="utf-8")


# -- processes and cores


@functools.cache
def _python() -> tuple[str, dict[str, str]]:
    """Returns the interpreter of the load hosts, and an environment with the packages of the current one.

    Load hosts run the distribution's /usr/bin/python3, which is built with profile-guided optimisation; a custom build,
    as controllers often have, runs the engine 5 % slower. If the versions differ, it is the current interpreter.
    """
    distribution = "/usr/bin/python{}.{}".format(*sys.version_info)
    if not shutil.which(distribution):
        return sys.executable, dict(os.environ)
    return distribution, os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}


def _cores() -> tuple[list[str], list[str]]:
    """Returns command prefixes that pin generator and server to a core each; empty with a single core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or not shutil.which("taskset"):
        return [], []
    return ["taskset", "-c", str(cores[0])], ["taskset", "-c", str(cores[1])]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _null_server(folder: Path) -> Iterator[tuple[int, str]]:
    """Starts a server of canned responses; yields its port and its name."""
    if not shutil.which("haproxy"):
        with _python_server() as (port, _):
            yield port, "harness.selfbench.null_server"
        return
    port = _free_port()
    config = folder / "haproxy.cfg"
    config.write_text(_HAPROXY.format(port=port))
    process = subprocess.Popen([*_cores()[1], "haproxy", "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port, "HAProxy"
    finally:
        process.kill()
        process.wait()


def _module(core: Sequence[str], *arguments: str) -> subprocess.Popen[str]:
    """Starts a Python module pinned to a core, with pipes to its standard input and output."""
    python, env = _python()
    pipe = subprocess.PIPE
    return subprocess.Popen([*core, python, "-m", *arguments], stdin=pipe, stdout=pipe, text=True, cwd=_ROOT, env=env)


@contextlib.contextmanager
def _python_server(*options: str) -> Iterator[tuple[int, Callable[[], histogram.Counts]]]:
    """Starts null_server; yields its port, and a function that ends it and returns the actual delays."""
    with _module(_cores()[1], "harness.selfbench.null_server", *options) as process:
        assert process.stdout
        port = int(process.stdout.readline())

        def actual_delays() -> histogram.Counts:
            stdout, _ = process.communicate(timeout=30)
            return {int(slot): count for slot, count in json.loads(stdout).items()}

        try:
            yield port, actual_delays
        finally:
            process.kill()


# -- the generators: each returns requests per second, and requests per CPU-second


CLOSED = LoadSpec(
    mode="closed",
    clients=CONNECTIONS,
    seconds=SECONDS,
    operations=(Operation(name="null", method="GET", path="/null", value="value"),),
)


def _run_agent(port: int, out: Path, spec: LoadSpec = CLOSED) -> LaneSummary:
    """Runs a load agent against the null endpoint and returns its summary."""
    endpoint = Endpoint(host="127.0.0.1", port=port)
    job = Job.of(spec, target=endpoint, load_host="selfbench", run_tag="selfbench", out=str(out))
    with _module(_cores()[0], "harness.load.agent") as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(job.to_dict()) + "\ngo\n")
        process.stdin.flush()
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "done":
                return LaneSummary.from_json(event["summary"])
    raise RuntimeError("the load agent returned no result")


def _engine(port: int, out: Path) -> tuple[float, float]:
    summary = _run_agent(port, out)
    rps, cpu = summary.rps, summary.watch[0].cpu
    assert rps
    assert cpu
    return rps, rps / cpu


def _tool(command: Sequence[str]) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    full = [*_cores()[0], *command]
    done = subprocess.run(full, capture_output=True, text=True, check=True, timeout=60, cwd=_ROOT, env=_python()[1])
    match = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    if not match:
        raise RuntimeError(f"{command[0]} printed no rate: {done.stdout[-300:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(match[1]), float(match[1]) * SECONDS / cpu


async def _aiohttp(url: str) -> float:
    """Requests per second of aiohttp's client: one task per connection, responses decoded, nothing recorded."""
    import aiohttp  # noqa: PLC0415 - only this function of the module needs it

    done = 0
    end = time.monotonic() + SECONDS
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client() -> None:
            nonlocal done
            while time.monotonic() < end:
                async with session.get(url) as response:
                    await response.json()
                    done += 1

        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return done / SECONDS


def _comparison(folder: Path) -> dict[str, Entry]:
    """Compares the closed model with wrk, hey and an aiohttp client."""
    rates: dict[str, list[float]] = {}
    per_cpu_second: dict[str, list[float]] = {}
    seconds, connections = f"{SECONDS}s", str(CONNECTIONS)
    with _null_server(folder) as (port, server):
        url = f"http://127.0.0.1:{port}/null"
        runs: dict[str, Callable[[], tuple[float, float]]] = {
            "engine": lambda: _engine(port, folder / "engine"),
            "wrk": lambda: _tool(["wrk", "-t1", f"-c{connections}", f"-d{seconds}", url]),
            "hey": lambda: _tool(["hey", "-cpus", "1", "-z", seconds, "-c", connections, url]),
            "aiohttp": lambda: _tool([_python()[0], "-m", "harness.selfbench.load", "aiohttp", url]),
        }
        present = [name for name in runs if name in ("engine", "aiohttp") or shutil.which(name)]
        for number in range(ROUNDS):
            turn = number % len(present)
            for name in present[turn:] + present[:turn]:
                rate, efficiency = runs[name]()
                rates.setdefault(name, []).append(rate)
                per_cpu_second.setdefault(name, []).append(efficiency)
    entries = {}
    for name, target in (("wrk", 0.9), ("hey", 2.0), ("aiohttp", 5.0)):
        key, bound = f"load.closed_vs_{name}", f">= {target:g}"
        if name not in rates:
            entries[key] = entry(None, "x", bound, f"not measured: {name} is not installed (apt install {name})")
            continue
        ratios = [ours / other for ours, other in zip(rates["engine"], rates[name], strict=True)]
        detail = (
            f"{statistics.median(rates['engine']):,.0f} against {statistics.median(rates[name]):,.0f} requests/s, "
            f"{ROUNDS} rounds {min(ratios):.2f} to {max(ratios):.2f}, one core each, {server}, {_python()[0]}; "
            f"per CPU-second {statistics.median(per_cpu_second['engine']):,.0f} "
            f"against {statistics.median(per_cpu_second[name]):,.0f}"
        )
        entries[key] = entry(statistics.median(ratios), "x", bound, detail)
    return entries


def _open_model(folder: Path) -> dict[str, Entry]:
    """Compares the reported p99, at half the ceiling, with the actual p99 of a server with known delays."""
    with _python_server() as (port, _):
        ceiling = _engine(port, folder / "ceiling")[0]
    rate = ceiling / 2
    clients = min(1000, round(rate * 0.1))  # mean delay 2.6 ms: enough connections that no request waits
    open_spec = replace(CLOSED, mode="open", rate=rate, arrivals="poisson", clients=clients)
    with _python_server("--slow-ms", str(SLOW_MS)) as (port, actual_delays):
        summary = _run_agent(port, folder / "open", open_spec)
        p99_us = histogram.quantiles_us(actual_delays(), [0.99])[0] or 0
    reported_ms, actual_ms = summary.latency_ms.p99_ms or 0.0, p99_us / 1000
    detail = (
        f"p99 {reported_ms:.1f} ms reported, {actual_ms:.1f} ms actual, at {rate:,.0f} of {ceiling:,.0f} requests/s"
    )
    return {"load.open_p99_vs_truth": entry(reported_ms / actual_ms, "x", "0.9 to 1.1", detail)}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["aiohttp", address]:
            print(f"Requests/sec: {asyncio.run(_aiohttp(address)):.1f}")
        case arguments:
            main(arguments[0] if arguments else None)
