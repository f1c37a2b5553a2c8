"""Two load hosts share a trial: released together, merged, and ended afterwards, even if one of them fails."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from harness.errors import RigError
from harness.load.job import Endpoint
from harness.load.results.samples import read_samples
from harness.load.spec import Keys, Warmup
from harness.measure import load_agent
from harness.measure.load_controller import LEAD_US, _release
from harness.rig.connection import RemoteProcess
from tests.support.local_target import LoadHost, exit_codes, remaining_folders
from tests.support.postgres_server import Database, free_port

from .conftest import FINITE, STEADY, TAG, Run


def value_of(database: Database, key: str) -> int:
    with psycopg.connect(database.dsn) as connection:
        row = connection.execute("SELECT value FROM counters WHERE key = %s", [key]).fetchone()
    return 0 if row is None else int(row[0])


def test_two_hosts_share_a_trial_and_run_a_second_lane(run: Run, database: Database) -> None:
    other = replace(FINITE, clients=1, requests=7, keys=Keys(prefix="other"))
    results = run.go({"main": FINITE, "other": other})
    assert results.failures == ()
    samples = read_samples(results.folders["main"] / "samples.csv")
    assert sorted(samples.seq) == list(range(101))
    assert sorted(v for v in samples.value if v is not None) == list(range(1, 102))
    assert {host: samples.load_host.count(host) for host in ("load-1", "load-2")} == {"load-1": 51, "load-2": 50}
    assert (value_of(database, "hot-0"), value_of(database, "other-0")) == (101, 7)
    assert results.summaries["main"].measure.ok == 101
    assert results.total is not None
    assert results.total.measure.ok == results.total.latency_ms.count == 108, "the figures of a trial: all lanes"
    assert results.summaries["other"].load_host == "load-1"  # one client cannot be shared by two
    assert exit_codes(run.hosts) == [0, 0, 0]


def test_every_host_uses_as_many_processes_as_its_clients_allow(run: Run, database: Database) -> None:
    other = replace(FINITE, clients=3, requests=7, keys=Keys(prefix="other"))
    results = run.go({"main": FINITE, "other": other}, processes=2)
    assert results.failures == ()
    watched = {lane: [process.load_host for process in summary.watch] for lane, summary in results.summaries.items()}
    assert watched == {"main": ["load-1", "load-1", "load-2", "load-2"], "other": ["load-1", "load-2"]}
    assert sorted(read_samples(results.folders["main"] / "samples.csv").seq) == list(range(101))
    assert (value_of(database, "hot-0"), value_of(database, "other-0")) == (101, 7)


def test_agents_that_share_a_clock_start_at_one_instant() -> None:
    def agent(boot_id: str, monotonic_us: int, ready_us: int) -> Any:
        return SimpleNamespace(clock={"boot_id": boot_id}, offset_us=ready_us - monotonic_us)

    now = time.monotonic_ns() // 1000
    lead_us, line = _release([agent("k", 7_000_000, now), agent("k", 6_000_000, now - 1_000_500)])
    assert lead_us == LEAD_US
    assert line.startswith("go @7")
    assert 7_000_500 <= int(line[4:]) - LEAD_US < 9_000_000
    assert _release([agent("k", 1, now), agent("other", 1, now)]) == (0, "go")
    assert _release([agent("", 1, now), agent("", 1, now)]) == (0, "go")
    assert _release([agent("k", 1, now)]) == (0, "go")


HOUR_US = 3_600_000_000


class OtherKernel(LoadHost):
    """A load host with another kernel, whose clock is an hour ahead."""

    def stream(self, command: Sequence[str]) -> RemoteProcess:
        stream = super().stream(command)
        lines = stream.lines

        def ahead() -> Iterator[str]:
            for line in lines():
                event = json.loads(line)
                if event["event"] == "ready":
                    event["clock"] = {"boot_id": "other", "monotonic_us": event["clock"]["monotonic_us"] + HOUR_US}
                yield json.dumps(event)

        stream.lines = ahead  # type: ignore[method-assign]
        return stream

    def fetch(self, folder: str, names: Any, into: Path) -> None:
        super().fetch(folder, names, into)
        summary = json.loads((into / "summary.json").read_text(encoding="utf-8"))
        ahead_us = summary["clock"]["t0_monotonic_us"] + HOUR_US
        summary["clock"] = {"boot_id": "other", "t0_monotonic_us": ahead_us}
        (into / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


@pytest.mark.parametrize("ahead", [0, 1])
def test_times_of_hosts_with_different_kernels_are_merged(run: Run, ahead: int) -> None:
    run.hosts[ahead] = OtherKernel(run.hosts[ahead].name)
    results = run.go({"main": FINITE})
    assert results.failures == ()
    summary = results.summaries["main"]
    assert (summary.clock_shared, summary.load_host) == (False, "load-1+load-2")
    assert summary.apart_us < HOUR_US / 10
    due_us = read_samples(results.folders["main"] / "samples.csv").due_us
    assert max(due_us) - min(due_us) < HOUR_US / 10
    exit_codes(run.hosts)


def test_a_host_that_dies_is_named_and_the_other_results_are_kept(run: Run, database: Database) -> None:
    def kill(lane: str, event: Any) -> None:
        if run.hosts[1].processes[0].poll() is None:
            run.hosts[1].processes[0].kill()

    results = run.go({"main": replace(STEADY, seconds=2.0)}, kill)
    (failure,) = results.failures
    assert failure.startswith("load-2: the load agent died")
    assert results.summaries["main"].load_host == "load-1"
    ok = results.summaries["main"].measure.ok
    assert 0 < ok < value_of(database, "hot-0")
    assert exit_codes(run.hosts) == [0, -signal.SIGKILL]


def test_a_host_that_dies_in_the_warmup_leaves_the_other_results(run: Run) -> None:
    def kill(lane: str, event: Any) -> None:
        if event["second"] >= 1 and run.hosts[1].processes[0].poll() is None:
            run.hosts[1].processes[0].kill()

    warmup = Warmup(seconds=1.0, max_seconds=2.0)
    results = run.go({"main": replace(STEADY, seconds=1.0, warmup=warmup)}, kill)
    assert [failure.split(":")[0] for failure in results.failures] == ["load-2"]
    assert results.summaries["main"].measure.ok > 0


def test_ctrl_c_ends_all_agents(run: Run) -> None:
    sent = threading.Event()

    def interrupt(lane: str, event: Any) -> None:
        if not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.go({"main": STEADY}, interrupt)
    assert len(exit_codes(run.hosts)) == 2


def test_a_bad_job_is_an_error_that_names_the_host(run: Run) -> None:
    change = """head -n 1 | sed 's/"timeout_s":30.0/"timeout_s":-1/'"""
    with pytest.raises(RigError, match="load-1: the load agent did not start: load job: timeout_s: must be above 0"):
        run.go({"main": FINITE}, command=["sh", "-c", f"{change} | {shlex.join(run.command)}"])
    exit_codes(run.hosts)


def test_a_refused_connection_is_an_error_that_names_the_host(run: Run) -> None:
    with pytest.raises(RigError, match=r"load-[12]: the load agent did not start: .*127\.0\.0\.1"):
        run.go({"main": FINITE}, endpoint=Endpoint(host="127.0.0.1", port=free_port()))
    exit_codes(run.hosts)


MUTE = """
import json, sys, time
job = json.loads(sys.stdin.readline())
print(json.dumps({"event": "ready", "clock": {"boot_id": "", "monotonic_us": 1}}), flush=True)
sys.stdin.readline()
for second in range(job["requests"]):
    print(json.dumps({"event": "progress", "second": second, "phase": "measure"}), flush=True)
    time.sleep(0.1)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ({"requests": 60, "timeout_s": 0.5}, "load-1: the load agent sent no event for 3 s"),
        ({"requests": 1, "seconds": 0.1, "timeout_s": 30.0}, "load-1: the load agent did not end within 0 s"),
    ],
)
def test_an_agent_has_as_long_as_it_sends_events(
    run: Run, monkeypatch: pytest.MonkeyPatch, load: dict[str, Any], message: str
) -> None:
    """A load with a number of requests has no deadline: it reports for 6 s here, and 3 s of silence are too long."""
    seconds = list[int]()
    monkeypatch.setattr(load_agent, "SILENT_S", 2.5)
    monkeypatch.setattr(load_agent, "GRACE_S", -30.0)
    run.hosts = run.hosts[:1]
    results = run.go(
        {"main": replace(FINITE, clients=1, **load)}, lambda _, event: seconds.append(event["second"]),
        command=[sys.executable, "-c", MUTE],
    )  # fmt: skip
    assert results.failures == (message,)
    assert len(seconds) == load["requests"]
    exit_codes(run.hosts)


def lost(folder: str, names: Any, into: Path) -> None:
    raise RigError("load-2: the SSH connection broke")


def nothing(folder: str, names: Any, into: Path) -> None:
    """Fetches nothing, as from a host whose disk was cleared."""


def half(folder: str, names: Any, into: Path) -> None:
    LoadHost("load-2").fetch(folder, names, into)
    (into / "summary.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("fetch", "message", "kept"),
    [
        (lost, "load-2: cannot fetch the results: load-2: the SSH connection broke", ["load-1"]),
        (nothing, "lane main: cannot merge the results: ", []),
        (half, "lane main: cannot merge the results: ", []),
    ],
)
def test_results_that_cannot_be_fetched_or_merged_are_failures(
    run: Run, fetch: Callable[..., None], message: str, kept: list[str]
) -> None:
    run.hosts[1].fetch = fetch  # type: ignore[method-assign]
    results = run.go({"main": FINITE})
    (failure,) = results.failures
    assert failure.startswith(message)
    assert [summary.load_host for summary in results.summaries.values()] == kept
    assert list(results.folders) == list(results.summaries)
    exit_codes(run.hosts)


SLOW = """
import json, os, sys, time
job = json.loads(sys.stdin.readline())
if job["load_host"] == "load-1":
    sys.exit("cannot start")
time.sleep(0.5)
os.makedirs(job["out"])
"""


def test_a_slow_agent_leaves_no_folder_when_another_fails_to_start(run: Run) -> None:
    with pytest.raises(RigError, match="load-1: the load agent did not start: cannot start"):
        run.go({"main": FINITE}, command=[sys.executable, "-c", SLOW])
    exit_codes(run.hosts)
    assert remaining_folders(TAG) == []


def test_the_error_of_an_agent_that_cannot_start_is_reported(run: Run) -> None:
    with pytest.raises(RigError, match="the load agent did not start: no python here"):
        run.go({"main": FINITE}, command=["sh", "-c", "read line; echo 'no python here' >&2; exit 127"])
    exit_codes(run.hosts)
