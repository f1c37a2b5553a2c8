"""The answers of a host's services: works, refuses, hangs, is down; and since when."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.host_scripts import service_status, source

SYSTEMCTL = """\
#!/bin/sh
entered=ENTERED stopped=STOPPED
case "$*" in
  *lively*) printf 'Id=lively.service\\nActiveState=active\\nSubState=running\\n' ;;
  *dead*) printf 'Id=dead.service\\nActiveState=failed\\nSubState=failed\\n' ;;
  *never*) printf 'Id=never.service\\nActiveState=inactive\\nSubState=dead\\n'; entered=0; stopped=0 ;;
  *) exit 0 ;;
esac
printf 'ActiveEnterTimestampMonotonic=%s\\nInactiveEnterTimestampMonotonic=%s\\n' "$entered" "$stopped"
"""


@pytest.fixture(autouse=True)
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A systemctl whose unit lively has run for 90 s, and dead has been down for 30 s."""
    path = tmp_path / "bin/systemctl"
    path.parent.mkdir()
    entered, stopped = (str(round((time.monotonic() - age) * 1e6)) for age in (90, 30))
    path.write_text(SYSTEMCTL.replace("ENTERED", entered).replace("STOPPED", stopped))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def run(*questions: dict[str, Any]) -> list[dict[str, Any]]:
    """Asks as status does: the script comes through standard input."""
    command = [sys.executable, "-", json.dumps(questions)]
    done = subprocess.run(
        command, input=source("service_status"), capture_output=True, text=True, check=True, timeout=60
    )
    return list(json.loads(done.stdout))


def test_a_service_is_up_or_down_since_a_time() -> None:
    up, down, never, unknown = run(
        {"name": "a", "units": ["lively.service"], "command": ["true"]},
        {"name": "b", "units": ["dead.service"], "command": ["sh", "-c", "echo no response; exit 2"]},
        {"name": "c", "units": ["never.service"], "command": ["false"]},
        {"name": "d", "units": ["missing@*"], "command": ["no-such-program"]},
    )
    assert (up["ok"], up["detail"], round(time.time() - up["since"], -1)) == (True, "", 90)
    assert (down["ok"], down["detail"]) == (False, "no response; dead.service is failed (failed)")
    assert round(time.time() - down["since"], -1) == 30
    assert (never["ok"], never["since"]) == (False, None)
    assert never["detail"] == "code 1; never.service is inactive (dead)"
    assert unknown["ok"] is False
    assert "no-such-program" in unknown["detail"]


@pytest.fixture
def web() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/good" else 503)
            self.end_headers()
            self.wfile.write(b"the database does not answer\n")

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_an_app_that_runs_but_cannot_serve_is_down(web: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # the question is for the service, not for a proxy
    good, bad, refused = run(
        {"name": "app", "units": ["lively"], "url": f"http://127.0.0.1:{web}/good"},
        {"name": "app", "units": ["lively"], "url": f"http://127.0.0.1:{web}/bad"},
        {"name": "app", "units": ["dead"], "url": "http://127.0.0.1:1/health"},
    )
    assert (good["ok"], good["detail"]) == (True, "")
    assert (bad["ok"], bad["detail"]) == (False, "answers 503 the database does not answer")
    assert (bad["running"], refused["running"]) == (True, False)
    assert refused["ok"] is False
    assert "refused" in refused["detail"]


@pytest.mark.parametrize(
    ("answers", "ok", "detail"),
    [([b"Name: HAProxy\nUpti", b"me_sec: 9\n"], True, ""), ([b"Unknown command"], False, "Unknown command")],
)
def test_a_runtime_socket_is_asked(tmp_path: Path, answers: list[bytes], *, ok: bool, detail: str) -> None:
    path = str(tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(100)
                for part in answers:
                    client.sendall(part)
                    time.sleep(0.05)

        thread = threading.Thread(target=serve)
        thread.start()
        answer = run({"name": "HAProxy", "socket": path, "send": "show info\n", "expect": "Uptime_sec:"})[0]
        thread.join()
    assert answer["ok"] is ok
    assert detail in answer["detail"]


def test_a_service_that_hangs_is_down_within_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_status, "TIMEOUT_S", 0.2)
    path = str(tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as server, socket.create_server(("127.0.0.1", 0)) as deaf:
        server.bind(path)
        server.listen()
        questions: list[dict[str, Any]] = [
            {"name": "x", "socket": path, "send": "show info\n", "expect": "Uptime_sec:"},
            {"name": "x", "url": f"http://127.0.0.1:{deaf.getsockname()[1]}/"},
            {"name": "x", "command": ["sleep", "60"]},
        ]
        for question in questions:
            answer = service_status.answer(question)
            assert answer["ok"] is False
            assert "timed out" in answer["detail"]


def test_a_service_without_unit_is_as_old_as_its_program(tmp_path: Path) -> None:
    (tmp_path / "stamp").touch()
    os.utime(tmp_path / "stamp", (1_000_000, 1_000_000))
    there, missing = run(
        {"name": "load agent", "command": ["true"], "path": str(tmp_path / "stamp")},
        {"name": "load agent", "command": ["false"], "path": str(tmp_path / "none")},
    )
    assert (there["ok"], there["since"]) == (True, 1_000_000)
    assert (missing["ok"], missing["since"]) == (False, None)
