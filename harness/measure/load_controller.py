"""Drives the agents on the load hosts: one per lane and host, ready together, released together, collected.

The protocol is harness/load/agent.py's: a job in one JSON line, then events out; `go` releases. An agent whose
input closes stops sending, so a controller that is interrupted or dies leaves no load behind.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import CrucibleError, RigError
from harness.load.coordinator import Coordinator
from harness.load.job import Endpoint, Job
from harness.load.results.merge import FILES, merge
from harness.load.results.summary import LaneSummary, is_shared
from harness.load.spec import LoadSpec
from harness.rig.connection import HostConnection, RemoteProcess

READY_S = 60.0
GRACE_S = 30.0
SILENT_S = 60.0
"""Agents report each second; so long (and a request's time-out) one may say nothing: while it writes its results."""
GONE_S = 5.0
"""For agents to end once their input is closed: requests in flight are given two seconds."""
LEAD_US = 100_000
"""From telling the agents when to start to that instant: time for the slowest to hear of it."""
Progress = Callable[[str, Mapping[str, Any]], None]


@dataclass(kw_only=True)
class Agent:
    """One agent at work: where it runs, what it was given, what it said."""

    lane: str
    number: int
    station: HostConnection
    job: Job
    stream: RemoteProcess
    crew: Coordinator
    others: list[Agent]
    """All agents of the lane, itself included."""
    ready: threading.Event = field(default_factory=threading.Event)
    clock: Mapping[str, Any] = field(default_factory=dict)
    """Its host's clock as it said that it is ready, which was heard at `heard_us` of our own clock."""
    heard_us: int = 0
    spoke_s: float = field(default_factory=time.monotonic)
    """When it last said anything, by our own clock."""
    done: bool = False
    error: str = ""
    finished: threading.Event = field(default_factory=threading.Event)

    @property
    def offset_us(self) -> int:
        """What to add to its host's clock to get ours, too much by the time that the word was on its way."""
        return int(self.heard_us - self.clock["monotonic_us"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What the agents of one trial left: lane -> merged results folder and summary, and what went wrong."""

    folders: Mapping[str, Path]
    summaries: Mapping[str, LaneSummary]
    failures: tuple[str, ...]


def run_lanes(
    lanes: Mapping[str, LoadSpec],
    stations: Sequence[HostConnection],
    *,
    processes: int = 1,
    endpoint: Endpoint,
    command: Sequence[str],
    tag: str,
    seed: int,
    scratch: Path,
    began_s: float,
    progress: Progress,
    during: contextlib.AbstractContextManager[None],
) -> Collected:
    """Runs all lanes on all stations, in `processes` processes on each, to their end. `endpoint`: the job's `target`.
    Files land under `scratch`.

    `began_s`: when the run began (seconds since 1970): the samples' times count from there. `during` is entered
    while the load runs, not while agents start and are collected.

    Raises RigError where an agent cannot start (bad job, host unreachable); one that dies later is a failure
    in the answer, because what the others measured is kept.
    """
    remote = f"/tmp/pgcrucible-{tag}-{secrets.token_hex(4)}"  # noqa: S108  # the agent's, mode 0700, removed below
    agents: list[Agent] = []
    try:
        for lane, spec in lanes.items():
            at = stations[: spec.clients]  # one client cannot be shared by two hosts
            warmup = spec.warmup if len(at) > 1 else None  # one leads itself
            crew, mates = Coordinator(len(at), warmup), list[Agent]()
            for number, station in enumerate(at):
                job = Job.of(
                    spec,
                    target=endpoint,
                    load_host=station.name,
                    run_tag=f"{tag}-{lane}",
                    out=f"{remote}/{lane}-{number}",
                    seed=seed,
                    host_index=number,
                    host_count=len(at),
                    processes=min(processes, spec.clients // len(at)),  # each has a client at least
                )
                agent = Agent(
                    lane=lane, number=number, station=station, job=job, stream=station.stream(command),
                    crew=crew, others=mates,
                )  # fmt: skip
                mates.append(agent)
                agents.append(agent)
        for agent in agents:
            threading.Thread(target=_listen, args=(agent, progress), daemon=True).start()
            agent.stream.send(json.dumps(agent.job.to_dict(), separators=(",", ":")))
        _await_ready(agents)
        with during:
            lead_us, line = _release(agents)
            since_us = round((time.time() - began_s) * 1e6) + lead_us
            for agent in agents:
                agent.stream.send(line)
            failures = _await_end(agents)
        return _collect(agents, scratch, failures, since_us)
    finally:
        for agent in agents:
            agent.stream.close()
        deadline = time.monotonic() + GONE_S
        for agent in agents:  # one that still starts, or writes its results, would make the folder anew
            agent.finished.wait(max(0.0, deadline - time.monotonic()))
        for station in {agent.station.name: agent.station for agent in agents}.values():
            with contextlib.suppress(RigError):
                station.run(["rm", "-rf", "--", remote], check=False)


def _release(agents: Sequence[Agent]) -> tuple[int, str]:
    """How long until the release in µs, and the line that tells of it: one instant for all that share a clock.

    Hosts with clocks of their own (machines) start as they hear of it, which is some milliseconds apart.
    """
    if len(agents) == 1 or not is_shared([agent.clock["boot_id"] for agent in agents]):
        return 0, "go"
    here = time.monotonic_ns() // 1000
    there = max(here - agent.offset_us for agent in agents)
    return LEAD_US, f"go @{there + LEAD_US}"


def _listen(agent: Agent, progress: Progress) -> None:
    """Reads one agent's events to their end; runs in a thread of its own."""
    try:
        for line in agent.stream.lines():
            event = json.loads(line)
            agent.spoke_s = time.monotonic()
            if event.get("event") == "ready":
                agent.clock, agent.heard_us = event["clock"], time.monotonic_ns() // 1000
                agent.ready.set()
                continue  # all lanes are released together, so `go` is not the conductor's here
            if event.get("event") == "progress":
                progress(agent.lane, event)
            agent.done = agent.done or event.get("event") == "done"
            agent.error = agent.error or str(event.get("message", "")) * (event.get("event") == "error")
            for command in agent.crew.handle(agent.number, event):
                for mate in agent.others:
                    with contextlib.suppress(OSError, ValueError):  # one that died must not cost this one's results
                        mate.stream.send(command)
    except (OSError, ValueError, EOFError) as error:
        agent.error = agent.error or f"{type(error).__name__}: {error}"
    finally:
        if not agent.done and not agent.error:
            with contextlib.suppress(Exception):
                agent.error = (agent.stream.error_output().strip().splitlines() or [""])[-1]
            agent.error = agent.error or "it ended without a word"
        agent.finished.set()
        agent.ready.set()


def _await_ready(agents: Sequence[Agent]) -> None:
    deadline = time.monotonic() + READY_S
    for agent in agents:
        if not agent.ready.wait(max(0.0, deadline - time.monotonic())):
            raise RigError(
                f"{agent.station.name}: the load agent was not ready within {READY_S:g} s",
                hint="it opens all connections first; is the load balancer up? see ./run status",
            )
        if agent.finished.is_set():
            raise RigError(
                f"{agent.station.name}: the load agent did not start: {agent.error}", hint="see ./run status"
            )


def _await_end(agents: Sequence[Agent]) -> list[str]:
    """Waits for all agents, and says which of them brought no results."""
    released = time.monotonic()
    failures = []
    for agent in agents:
        if why := _overdue(agent, released):
            agent.stream.close()
            failures.append(f"{agent.station.name}: {why}")
        elif not agent.done:
            failures.append(f"{agent.station.name}: the load agent died: {agent.error}")
    return failures


def _overdue(agent: Agent, released: float) -> str:
    """Waits for the agent's end; why it was not waited for any longer, else nothing.

    A closed load of so many requests takes as long as the service needs, which nobody knows beforehand: there the
    agent only must not fall silent. Where the length is known, it is an end.
    """
    job = agent.job
    timeout, warmup = job.timeout_s, job.warmup.max_seconds if job.warmup else 0.0
    planned = job.seconds or (job.requests / job.rate if job.requests and job.rate else None)
    limit = planned and planned + warmup + timeout + GRACE_S
    while not agent.finished.wait(min(1.0, SILENT_S)):
        now = time.monotonic()
        if limit and now - released > limit:
            return f"no end within {limit:.0f} s"
        if now - agent.spoke_s > SILENT_S + timeout:
            return f"the load agent has said nothing for {SILENT_S + timeout:.0f} s"
    return ""


def _collect(agents: Sequence[Agent], scratch: Path, failures: list[str], since_us: int) -> Collected:
    """Fetches and merges what the agents left. What cannot be had makes the trial invalid, not the bench fail."""
    parts: dict[str, list[tuple[Path, int]]] = {}
    for agent in agents:
        if not agent.done:
            continue
        folder = scratch / f"{agent.lane}-{agent.number}"
        folder.mkdir(parents=True)
        try:
            agent.station.fetch(agent.job.out, FILES, folder)
        except (CrucibleError, OSError) as error:
            failures.append(f"{agent.station.name}: its results could not be fetched: {error}")
        else:
            parts.setdefault(agent.lane, []).append((folder, agent.offset_us))
    merged, summaries = dict[str, Path](), dict[str, LaneSummary]()
    for lane, left in parts.items():
        folders, offsets_us = zip(*left, strict=True)
        try:
            summaries[lane] = merge(folders, scratch / lane, since_us=since_us, offsets_us=offsets_us)
        except (CrucibleError, OSError, ValueError, KeyError) as error:  # a file that is missing, or damaged
            failures.append(f"lane {lane}: its results cannot be used: {type(error).__name__}: {error}")
        else:
            merged[lane] = scratch / lane
    return Collected(folders=merged, summaries=summaries, failures=tuple(failures))
