"""Runs load: starts one agent per lane and load host, releases all at once, collects and merges their results.

harness/load/__init__.py describes the protocol: one line of JSON with the job goes in, events come out, `go` releases.
An agent whose standard input closes stops sending, so no load outlives a controller that is interrupted or dies.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import CrucibleError, RigError
from harness.load.job import Endpoint, Job
from harness.load.results.merge import FILES, merge, over_lanes
from harness.load.results.summary import LaneSummary, is_shared
from harness.load.spec import LoadSpec
from harness.measure.load_agent import Lane, LoadAgent, Progress
from harness.rig.connection import HostConnection, RemoteProcess, folder_prefix
from harness.rig.leftovers import TMP, url_prefix

READY_S = 60.0
GONE_S = 5.0
"""Time for an agent to end after its input is closed; it waits two seconds for requests in flight."""
CLEAN_S = 15.0
"""Longest wait for a load host that removes the agents' folder."""
LEAD_US = 100_000
"""From sending `go` to the instant of the release: enough for the line to reach the slowest host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResults:
    """The results of all agents: lane -> merged results folder, lane -> summary, and what failed.

    `total`: one summary of all lanes; None where no lane has results.
    """

    folders: Mapping[str, Path]
    summaries: Mapping[str, LaneSummary]
    failures: tuple[str, ...]
    total: LaneSummary | None = None


class LoadController:
    """Runs lanes of load against one endpoint, from all load hosts, with up to `processes` processes on each.

    `command` starts an agent. `rig`: the name of the hosts' rig, if they have one. Use as a context manager, which ends
    the prestarted agents.
    """

    def __init__(
        self,
        connections: Sequence[HostConnection],
        *,
        command: Sequence[str],
        endpoint: Endpoint,
        processes: int = 1,
        rig: str = "",
    ) -> None:
        self._connections = connections
        self._command = command
        self._endpoint = endpoint
        self._processes = processes
        self._rig = rig
        self._prestarted: dict[str, RemoteProcess] = {}

    def __enter__(self) -> LoadController:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._prestarted.values():
            process.end()
        self._prestarted.clear()

    def prestart(self) -> None:
        """Starts the next agent on each load host, so that no trial waits for a Python interpreter.

        That takes CPU of the load hosts: call it while nothing is measured.
        """
        for connection in self._connections:
            if connection.name not in self._prestarted:
                self._prestarted[connection.name] = connection.stream(self._command)

    def run(
        self,
        lanes: Mapping[str, LoadSpec],
        *,
        tag: str,
        seed: int,
        scratch: Path,
        began_s: float,
        progress: Progress = lambda *_: None,
        during: contextlib.AbstractContextManager[None] | None = None,
    ) -> LoadResults:
        """Runs all lanes on all load hosts to their end; their files land under `scratch`.

        `tag` is part of every Idempotency-Key. `began_s`: start of the run (seconds since 1970); the samples' times
        count from there. `during` is entered while the load runs, not while agents start and are collected.

        Raises RigError where an agent cannot start (bad job, host unreachable). An agent that dies later is one of the
        result's failures, because the results of the other agents are kept.
        """
        prefix = folder_prefix(self._rig) if self._rig else url_prefix()
        remote = str(TMP / f"{prefix}{tag}-{secrets.token_hex(4)}")
        started: list[LoadAgent] = []
        try:
            for name, spec in lanes.items():
                self._start_lane(name, spec, remote, started, tag=tag, seed=seed, progress=progress)
            _await_ready(started)
            with during or contextlib.nullcontext():
                lead_us, line = _release(started)
                since_us = round((time.time() - began_s) * 1e6) + lead_us
                for agent in started:
                    agent.send(line)
                failures = _await_end(started)
            return _collect(started, scratch, failures, since_us)
        finally:
            for agent in started:
                agent.process.close()
            deadline = time.monotonic() + GONE_S
            for agent in started:  # an agent that still starts or writes results would create the folder again
                if not agent.ended.wait(max(0.0, deadline - time.monotonic())):
                    agent.process.end()
            for connection in {agent.connection.name: agent.connection for agent in started}.values():
                with contextlib.suppress(RigError):
                    connection.run(["rm", "-rf", "--", remote], timeout_s=CLEAN_S, check=False)

    def _start_lane(
        self,
        name: str,
        spec: LoadSpec,
        remote: str,
        started: list[LoadAgent],
        *,
        tag: str,
        seed: int,
        progress: Progress,
    ) -> None:
        """Starts a lane's agents and sends them their jobs; adds each to `started` at once, for the cleanup."""
        connections = self._connections[: spec.clients]  # each host needs a client
        count = len(connections)
        lane = Lane(name, count, spec, progress)
        for number, connection in enumerate(connections):
            job = Job.of(
                spec,
                target=self._endpoint,
                load_host=connection.name,
                run_tag=f"{tag}-{name}",
                out=f"{remote}/{name}-{number}",
                seed=seed,
                host_index=number,
                host_count=count,
                processes=min(self._processes, spec.clients // count),  # each process needs a client
            )
            process = self._start_agent(connection)
            lane.agents.append(LoadAgent(lane=name, number=number, connection=connection, job=job, process=process))
            started.append(lane.agents[-1])
        for agent in lane.agents:
            threading.Thread(target=lane.listen, args=(agent,), daemon=True).start()
            agent.send(json.dumps(agent.job.to_dict(), separators=(",", ":")))

    def _start_agent(self, connection: HostConnection) -> RemoteProcess:
        """The prestarted agent of the host where there is one, else a new one."""
        process = self._prestarted.pop(connection.name, None)
        if process is not None:
            if not process.has_ended():
                return process
            process.end()
        return connection.stream(self._command)


def _release(agents: Sequence[LoadAgent]) -> tuple[int, str]:
    """The time until the release in µs, and the line that announces it: one instant for agents that share a clock.

    Hosts with different clocks start when the line arrives, which differs by some milliseconds.
    """
    if len(agents) == 1 or not is_shared([agent.clock["boot_id"] for agent in agents]):
        return 0, "go"
    now_us = time.monotonic_ns() // 1000
    latest_us = max(now_us - agent.offset_us for agent in agents)
    return LEAD_US, f"go @{latest_us + LEAD_US}"


def _await_ready(agents: Sequence[LoadAgent]) -> None:
    deadline = time.monotonic() + READY_S
    for agent in agents:
        if not agent.ready.wait(max(0.0, deadline - time.monotonic())):
            raise RigError(
                f"{agent.connection.name}: the load agent was not ready within {READY_S:g} s",
                hint="it opens all its connections first: check that the load balancer is up (./run status)",
            )
        if agent.ended.is_set():
            raise RigError(
                f"{agent.connection.name}: the load agent did not start: {agent.error}",
                hint="./run status shows which hosts answer",
            )


def _await_end(agents: Sequence[LoadAgent]) -> list[str]:
    """Waits for all agents; returns a message for each that ended without results."""
    released_s = time.monotonic()
    failures = []
    for agent in agents:
        if problem := agent.wait(released_s):
            agent.process.close()
            failures.append(f"{agent.connection.name}: {problem}")
        elif not agent.done:
            failures.append(f"{agent.connection.name}: the load agent died: {agent.error}")
    return failures


def _collect(agents: Sequence[LoadAgent], scratch: Path, failures: list[str], since_us: int) -> LoadResults:
    """Fetches and merges the agents' results. Missing results make the trial invalid; they do not end the bench."""
    parts: dict[str, list[tuple[Path, int]]] = {}
    for agent in agents:
        if not agent.done:
            continue
        folder = scratch / f"{agent.lane}-{agent.number}"
        folder.mkdir(parents=True)
        try:
            agent.connection.fetch(agent.job.out, FILES, folder)
        except (CrucibleError, OSError) as error:
            failures.append(f"{agent.connection.name}: cannot fetch the results: {error}")
        else:
            parts.setdefault(agent.lane, []).append((folder, agent.offset_us))
    merged, summaries = dict[str, Path](), dict[str, LaneSummary]()
    for lane, fetched in parts.items():
        folders, offsets_us = zip(*fetched, strict=True)
        try:
            summaries[lane] = merge(folders, scratch / lane, since_us=since_us, offsets_us=offsets_us)
        except (CrucibleError, OSError, ValueError, KeyError) as error:  # a missing or damaged file
            failures.append(f"lane {lane}: cannot merge the results: {type(error).__name__}: {error}")
        else:
            merged[lane] = scratch / lane
    total = over_lanes(list(merged.values()), list(summaries.values())) if summaries else None
    return LoadResults(folders=merged, summaries=summaries, failures=tuple(failures), total=total)
