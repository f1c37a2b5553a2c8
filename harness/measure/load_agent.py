"""One agent on a load host as the controller sees it, and the lane of agents that share one load.

harness/load/__init__.py describes the protocol: one line of JSON with the job goes in, events come out.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.load.coordinator import Coordinator
from harness.load.events import Event, HostClock
from harness.load.job import Job
from harness.load.spec import LoadSpec
from harness.rig.connection import HostConnection, RemoteProcess

GRACE_S = 30.0
SILENT_S = 60.0
"""Longest silence of an agent beyond a request's timeout. It reports every second, but not while it writes results."""
Progress = Callable[[str, Event], None]
"""Called with the lane's name and a progress event, from the thread of each agent."""


@dataclass(kw_only=True)
class LoadAgent:
    """One running agent: its host, its job and its latest state."""

    lane: str
    number: int
    connection: HostConnection
    job: Job
    process: RemoteProcess
    ready: threading.Event = field(default_factory=threading.Event)
    clock: HostClock = field(default_factory=lambda: HostClock(boot_id="", monotonic_us=0))
    """The clock of its host when it was ready; `ready_us` is the controller's clock when that event arrived."""
    ready_us: int = 0
    last_event_s: float = field(default_factory=time.monotonic)
    """When its last event arrived, by the controller's clock."""
    done: bool = False
    error: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def offset_us(self) -> int:
        """What to add to its host's clock to get the controller's; too large by the event's travel time."""
        return self.ready_us - self.clock["monotonic_us"]

    def send(self, line: str) -> None:
        """Sends a line; does nothing if the agent has died, because the other agents' results must be kept."""
        with contextlib.suppress(OSError, ValueError):
            self.process.send(line)

    def wait(self, released_s: float) -> str:
        """Waits until the agent ends; returns a message when it takes too long, else "".

        A closed load with a number of requests takes as long as the service needs, so there only silence is a problem.
        A load of known length has a deadline, counted from `released_s`.
        """
        job = self.job
        planned_s = job.seconds or (job.requests / job.rate if job.requests and job.rate else None)
        warmup_s = job.warmup.max_seconds if job.warmup else 0.0
        limit_s = planned_s and planned_s + warmup_s + job.timeout_s + GRACE_S
        while not self.ended.wait(min(1.0, SILENT_S)):
            now_s = time.monotonic()
            if limit_s and now_s - released_s > limit_s:
                return f"the load agent did not end within {limit_s:.0f} s"
            if now_s - self.last_event_s > SILENT_S + job.timeout_s:
                return f"the load agent sent no event for {SILENT_S + job.timeout_s:.0f} s"
        return ""


class Lane:
    """The agents that share one load. They end their warm-up in the same second."""

    def __init__(self, name: str, count: int, spec: LoadSpec, progress: Progress) -> None:
        self.name = name
        self.agents: list[LoadAgent] = []
        # a single agent ends its warm-up itself
        self._coordinator = Coordinator(count, spec.warmup if count > 1 else None)
        self._progress = progress
        self._lock = threading.Lock()

    def listen(self, agent: LoadAgent) -> None:
        """Reads one agent's events until it ends; runs in its own thread."""
        try:
            for line in agent.process.lines():
                self._handle(agent, json.loads(line))
        except (OSError, ValueError, EOFError) as error:
            agent.error = agent.error or f"{type(error).__name__}: {error}"
        finally:
            if not agent.done and not agent.error:
                with contextlib.suppress(Exception):
                    agent.error = (agent.process.error_output().strip().splitlines() or [""])[-1]
                agent.error = agent.error or "it exited without an error message"
            agent.ended.set()
            agent.ready.set()

    def _handle(self, agent: LoadAgent, event: Event) -> None:
        agent.last_event_s = time.monotonic()
        match event.get("event"):
            case "ready":
                agent.clock, agent.ready_us = event["clock"], time.monotonic_ns() // 1000
                agent.ready.set()
            case "progress":
                self._progress(self.name, event)
            case "done":
                agent.done = True
            case "error":
                agent.error = agent.error or str(event.get("message", ""))
        with self._lock:
            command = self._coordinator.handle(agent.number, event)
        for receiver in self.agents if command else ():
            receiver.send(command)
