"""Runs the sampler of host_scripts/sampler.py on every host of a rig, one stream per host.

A stream that ends, or gives no line for `SILENT_S`, is ended and started again: a restart of a host or a lost SSH
connection costs only the readings in between.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from harness.errors import RigError
from harness.host_scripts import source
from harness.model import Host
from harness.rig.connection import RemoteProcess
from harness.rig.rig import Rig
from harness.rig.ssh import SshConnection
from harness.rig.state import Variables
from harness.targets.haproxy import SOCKET

END_S = 10.0
"""The longest wait for the streams to end."""
CLOSE_S = 2.0
"""A stream whose input was closed ends within this time; the rest are ended."""
SILENT_S = 30.0
"""A stream without a line for so long is lost: a sampler prints one per second, or later on a busy host."""
WATCH_S = 1.0
RESTART_S, LONGEST_RESTART_S = 2.0, 60.0
"""Pause before a lost stream is started again; it doubles up to the longest until a stream lives that long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerLine:
    """Metrics of a host or a database at one moment. `order`: trial that contains the whole interval; 0 for none."""

    host: str
    order: int
    metrics: Mapping[str, float]


Take = Callable[[SamplerLine], None]
Lost = Callable[[str], None]


def read_line(line: str, host: str) -> SamplerLine:
    """Parses a line of the sampler on `host`; HAProxy's lines name an app host. Raises ValueError."""
    try:
        parsed = json.loads(line)
        metrics = {str(name): float(value) for name, value in parsed["metrics"].items()}
        return SamplerLine(host=parsed.get("server") or host, order=int(parsed["order"]), metrics=metrics)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a line of the sampler: {line[:80]!r}") from error


def job(host: Host, variables: Variables) -> dict[str, object]:
    """Returns the sampler's job on a host: the services that it asks, and the systemd units that are the rig's."""
    if host.role == "app":
        first, workers = int(variables["app_port"]), int(variables["app_workers"])
        units = [f"pgcrucible-app@{worker}.service" for worker in range(1, workers + 1)]
        return {"ports": list(range(first, first + workers)), "units": units}
    if host.role == "lb":
        return {"haproxy": SOCKET, "units": ["haproxy.service"]}
    return {"units": ["postgresql@*.service"]} if host.role == "db" else {}


class Samplers:
    """Runs the sampler on every host of a rig while the context lasts; calls `take` and `lost` from several threads."""

    def __init__(self, rig: Rig, take: Take, lost: Lost) -> None:
        self._rig, self._take, self._lost = rig, take, lost
        self._lock = threading.Lock()
        self._order = 0
        self._streams: dict[str, RemoteProcess] = {}
        self._heard_s: dict[str, float] = {}
        """When each running stream was started or gave its last line."""
        self._threads: list[threading.Thread] = []
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        first: dict[str, RemoteProcess] = {}

        def start(connection: SshConnection) -> None:
            try:
                first[connection.name] = self._start(connection)
            except RigError as error:
                self._lost(error.message)

        try:
            self._rig.each(self._rig.hosts, start)
            for host in self._rig.hosts:
                self._run(self._keep, self._rig.at(host), first.get(host.name))
            self._run(self._watch)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.close()
        self._join(CLOSE_S)
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.end()
        self._join(END_S)

    def _join(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def begin(self, order: int) -> None:
        """Assigns the readings from now on to trial `order` (0: to none)."""
        with self._lock:
            self._order = order
            streams = list(self._streams.values())
        for stream in streams:
            with contextlib.suppress(OSError, EOFError, RigError):  # its thread reports the loss
                stream.send(str(order))

    def _start(self, connection: SshConnection) -> RemoteProcess:
        work = json.dumps(job(connection.host, self._rig.variables))
        stream = connection.stream(["python3", "-I", "-S", "-u", "-c", source("sampler"), work])
        with self._lock:
            self._heard_s[connection.name] = time.monotonic()
            self._streams[connection.name] = stream
            order = self._order
        if order:
            with contextlib.suppress(OSError, EOFError, RigError):
                stream.send(str(order))
        return stream

    def _keep(self, connection: SshConnection, stream: RemoteProcess | None) -> None:
        """Reads a host's lines to the end, starting the stream again where it is lost; runs in its own thread."""
        pause_s, is_lost = RESTART_S, stream is None
        while not self._ending.is_set():
            started_s = time.monotonic()
            if stream is not None:
                reason = self._listen(connection.name, stream)
                if self._ending.is_set():
                    return
                if time.monotonic() - started_s >= LONGEST_RESTART_S:
                    pause_s, is_lost = RESTART_S, False
                if not is_lost:
                    self._lost(f"{connection.name}: {reason}")
                is_lost = True
            if self._ending.wait(pause_s):
                return
            pause_s = min(2 * pause_s, LONGEST_RESTART_S)
            try:
                stream = self._start(connection)
            except RigError:  # the loss is reported already
                stream = None
            if self._ending.is_set() and stream is not None:
                stream.end()

    def _listen(self, host: str, stream: RemoteProcess) -> str:
        """Passes a stream's lines on; returns why it ended."""
        reason = ""
        try:
            for line in stream.lines():
                with self._lock:
                    self._heard_s[host] = time.monotonic()
                self._take(read_line(line, host))
        except (OSError, EOFError, ValueError) as error:
            reason = str(error) or type(error).__name__
        with self._lock:
            self._streams.pop(host, None)
            silent = self._heard_s.pop(host, None) is None
        if silent:
            return f"the sampler gave no line for {SILENT_S:g} s"
        if not reason and not self._ending.is_set():
            with contextlib.suppress(OSError, EOFError):
                reason = (stream.error_output().strip().splitlines() or [""])[-1]
        stream.end()
        return reason or "the sampler ended"

    def _watch(self) -> None:
        """Ends streams that give no line: a host that is paused or unreachable does not end them; in its own thread."""
        while not self._ending.wait(WATCH_S):
            now = time.monotonic()
            with self._lock:
                silent = [self._streams[name] for name, at in self._heard_s.items() if now - at > SILENT_S]
                for name in [name for name, at in self._heard_s.items() if now - at > SILENT_S]:
                    del self._heard_s[name]
            for stream in silent:
                stream.end()
