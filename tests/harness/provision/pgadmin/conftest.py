"""A small program replaces pgAdmin, and a script the ssh of its rig."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.provision import play_processes
from harness.provision.pgadmin import connection, packages, server
from harness.rig import state
from tests.support.pgadmin import paper_rig, program

SETUP = """
import os, pathlib, sys
import config_local
data = pathlib.Path(config_local.DATA_DIR)
data.mkdir(exist_ok=True)
(data / "environ").write_text(repr(dict(os.environ)))
with (data / "calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
print("Added 0 Server Group(s) and 1 Server(s).")
"""
SERVER = """
import http.server, os, pathlib, signal
import config_local

class Ping(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"PING")

http.server.HTTPServer((config_local.DEFAULT_SERVER, config_local.DEFAULT_SERVER_PORT), Ping).serve_forever()
"""
WAIT_S = 20.0


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the programs that replace pgAdmin's."""
    installed = tmp_path / "cache" / f"{packages.PREFIX}x"
    (installed / "bin").mkdir(parents=True)
    (installed / "bin/python").symlink_to(sys.executable)
    for name, text in (("setup.py", SETUP), ("pgAdmin4.py", SERVER)):
        program(packages.code(installed) / name, text)
    monkeypatch.setattr(packages, "install", lambda echo: installed)
    monkeypatch.setattr(packages, "environment", lambda: installed)
    monkeypatch.setattr(server, "SYSTEM_SETTINGS", tmp_path / "none")
    return packages.code(installed)


@pytest.fixture
def rig(tmp_path: Path, code: Path) -> Iterator[tuple[str, Path]]:
    """The name and the folder of a rig; its ssh waits."""
    with paper_rig(tmp_path, "#!/bin/sh\nexec sleep 1000\n") as made:
        yield made


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "problem", lambda options, log: "")


def running(name: str) -> list[int]:
    return play_processes.processes(state.folder(name) / "pgadmin", server.VARIABLE)


def listens(url: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))) == 0


def pid_of(name: str, word: str) -> int:
    """The one process of the rig's pgAdmin whose command line ends with that word."""
    (pid,) = [
        pid for pid in running(name) if Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").endswith(word.encode())
    ]
    return pid


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def pid_of_ssh(name: str) -> int:
    return pid_of(name, "sleep\x001000")
