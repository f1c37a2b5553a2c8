"""A target for tests: this machine as two load hosts, and the real service on a real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.rig.connection import LocalConnection, RemoteProcess
from harness.rig.state import ROOT
from harness.targets.url import locate
from harness.targets.url_target import UrlTarget

END_S = 40.0


class LoadHost(LocalConnection):
    """This machine as a load host with a name; `processes`: the agents that were started on it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.processes: list[subprocess.Popen[str]] = []

    def stream(self, command: Sequence[str]) -> RemoteProcess:
        stream = super().stream(command)
        self.processes.append(stream._process)  # type: ignore[attr-defined]
        return stream


class LocalTarget(UrlTarget):
    """The service with two load hosts; counts the trials that were prepared and the calls of `restore`."""

    def __init__(self, url: str, dsn: str, *, tag: str) -> None:
        super().__init__(locate(url), dsn, tag=tag)
        self.hosts = [LoadHost("load-1"), LoadHost("load-2")]
        self.trials = self.restored = 0

    def load_hosts(self) -> Sequence[LoadHost]:
        return self.hosts

    def reset_database(self, cell: Any) -> Sequence[str]:
        self.trials += 1
        return super().reset_database(cell)

    def restore(self) -> None:
        self.restored += 1

    def canaries(self) -> dict[str, dict[str, float]]:
        return {"load-1": {"cpu_ms": 1.0}}


def exit_codes(hosts: Sequence[LoadHost]) -> list[int]:
    """The exit codes of all agents. Raises TimeoutExpired if one does not end."""
    return [process.wait(END_S) for host in hosts for process in host.processes]


def remaining_folders(tag: str) -> list[Path]:
    """The result folders of agents with this tag that stay on the machine.

    A run's id is the second of its start, so the bench of another test session may have the same: its folders go.
    """
    deadline = time.monotonic() + END_S
    while (folders := list(Path("/tmp").glob(f"pgcrucible-load+*+{tag}*"))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return folders


@contextmanager
def serving(environ: Mapping[str, str], log: Path, *, module: str = "app") -> Iterator[str]:
    """Runs `python -m app`, or another module, on a free port; yields its URL."""
    environ = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0", **environ}
    with log.open("wb") as stderr, subprocess.Popen(
        [sys.executable, "-m", module], cwd=ROOT, stderr=stderr, env=environ
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + END_S
            while not log.read_text().endswith("\n"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "the service does not listen"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{json.loads(log.read_text().splitlines()[0])['port']}"
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
