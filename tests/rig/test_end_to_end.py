"""The whole tool as a user runs it, on the rig of containers that the tests share.

The tests are in the order in which a user works; each can run alone.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.rig.rig import Rig
from tests.conftest import HOSTS, Tool

ROOT = Path(__file__).parents[2]


def test_a_second_provision_changes_nothing(tool: Tool) -> None:
    done = tool("provision", "--rig", tool.rig)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout


def test_a_rig_is_looked_at_from_the_command_line(tool: Tool) -> None:
    status = json.loads(tool("status", "--rig", tool.rig, "--json").stdout)[tool.rig]
    assert set(status["hosts"].values()) == {"up"}
    assert all(service["ok"] for services in status["services"].values() for service in services)
    for host, part in (("db-1", "app=[unknown]"), ("app-1", '"event"'), ("lb-1", "haproxy"), ("load-1", "sshd")):
        done = tool("logs", host, "--rig", tool.rig)
        assert (done.returncode, part in done.stdout) == (0, True), done.stderr
    done = tool("ssh", "app-1", "--rig", tool.rig, "--", "sh", "-c", "hostname; exit 7")
    assert (done.returncode, done.stdout) == (7, "app-1\n")
    done = tool("psql", "--rig", tool.rig, "--", "-Atc", "SELECT 40 + 2")
    assert (done.returncode, done.stdout) == (0, "42\n")


def test_pgadmin_reaches_the_database_until_it_is_stopped(tool: Tool) -> None:
    """Its interface and its login page: tests/harness/provision/pgadmin/test_pgadmin.py."""
    done = tool("pgadmin", "--rig", tool.rig)
    assert (done.returncode, "warning" in done.stderr) == (0, False), done.stdout + done.stderr
    url = json.loads(tool("status", "--rig", tool.rig, "--json").stdout)[tool.rig]["pgadmin"]
    assert f"pgAdmin of rig '{tool.rig}' runs: {url}" in done.stdout
    again = tool("pgadmin", "--rig", tool.rig)
    assert f"pgAdmin of rig '{tool.rig}' runs already: {url}" in again.stdout
    assert "has ended" in tool("pgadmin", "--rig", tool.rig, "--stop").stdout
    assert json.loads(tool("status", "--rig", tool.rig, "--json").stdout)[tool.rig]["pgadmin"] == ""


def test_a_thousand_concurrent_writes_lose_nothing(tool: Tool) -> None:
    done = tool.bench("--scenario", "concurrent-writes", "--backend", "postgres")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tool.latest["verdict"] == "pass"
    details = {f["check"]: f["detail"] for f in tool.latest["findings"]}  # type: ignore[attr-defined]
    assert details["acknowledged"].endswith("1,000 of 1,000 acknowledged (100 %)")
    assert details["counts agree"].count("1,000") >= 4
    checked = tool("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "passed" in checked.stdout
    page = (tool.results / "latest/report.html").read_text()
    assert "1,000 of 1,000 acknowledged" in page
    assert not re.search(r"""(src|href)=["']?https?:""", page)


def test_a_forged_sample_is_detected(tool: Tool) -> None:
    tool.bench("--scenario", "concurrent-writes", "--backend", "postgres", "--requests", "50")
    run = (tool.results / "latest").resolve()
    file = next((run / "samples").glob("001-main.csv"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, lines[-1]]))  # one more acknowledged row
    done = tool("check", "--run", str(run))
    assert done.returncode == 1
    assert "error: " in done.stderr


def test_the_negative_control_exits_with_1_and_reports_lost_updates(tool: Tool) -> None:
    done = tool.bench("--scenario", "concurrent-writes", "--strategy", "unsafe", "--backend", "postgres")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"error: verdict fail: .*\d+ lost updates; .*both returned", done.stderr)


def test_other_scenarios_pass_on_both_backends(tool: Tool) -> None:
    done = tool.bench("--quick", "--scenario", "isolation,deadlocks,bulk-insert,connections")
    assert done.returncode == 0, done.stdout + done.stderr
    names = {f["scenario"] for f in tool.latest["findings"]}  # type: ignore[attr-defined]
    assert names == {"isolation", "deadlocks", "bulk-insert", "connections"}


def test_invalid_requests_are_refused_and_cause_no_database_error(hosts: Rig) -> None:
    script = """
import json, sys, urllib.request, urllib.error
base, found = sys.argv[1], {}
def post(name, path, body, **headers):
    request = urllib.request.Request(base + path, data=body, headers={"Content-Type": "application/json", **headers})
    try:
        answer = urllib.request.urlopen(request, timeout=20)
        found[name] = [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error: found[name] = [error.code, error.read().decode()]
post("sql", "/api/test-isolation", json.dumps({"level": "SERIALIZABLE; DROP TABLE counters"}).encode())
post("large", "/api/increment", json.dumps({"key": "x" * 2_000_000}).encode())
post("missing", "/api/increment", b"{}")
post("number", "/api/increment", b'{"key": 7}')
post("nul", "/api/increment", json.dumps({"key": "a\\u0000b"}).encode())
print(json.dumps(found))
"""
    base = f"http://{hosts.role('lb')[0].address}:8080"
    log = ["sh", "-c", "cat /var/log/postgresql/*.log | grep -c ERROR || true"]
    before = hosts.at("db-1").run(log).stdout
    answers = json.loads(hosts.at("load-1").run(["python3", "-", base], stdin=script).stdout)
    for name, (status, body) in answers.items():
        assert 400 <= status < 500, (name, status, body)
        assert json.loads(body)["outcome"] == "aborted", name
    assert len(answers) == 5
    assert hosts.at("db-1").run(log).stdout == before


def agents(hosts: Rig) -> str:
    return hosts.at("load-1").run(["sh", "-c", "ps -eo args | grep [h]arness.load.agent || true"]).stdout


def test_ctrl_c_keeps_results_and_stops_the_load_and_resume_completes_the_run(tool: Tool, hosts: Rig) -> None:
    command = [sys.executable, "-m", "harness", "bench", "--rig", tool.rig, "--scenario", "bulk-insert", "--seed", "7"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=tool.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("[3/"):
                break
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 130, error
    assert tool.latest["status"] == "aborted"
    deadline = time.monotonic() + 20
    while agents(hosts) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert agents(hosts) == ""
    rows = (tool.results / "latest/trials.csv").read_text().splitlines()
    assert len(rows) == 3  # the header and two trials
    done = tool("bench", "--resume", "latest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tool.results / "latest/trials.csv").read_text().splitlines()[:3] == rows
    assert (tool.latest["status"], tool.latest["verdict"]) == ("finished", "pass")


def test_status_and_watch_show_the_hosts(tool: Tool) -> None:
    status = tool("status", "--rig", tool.rig)
    assert status.returncode == 0
    assert "app-2" in status.stdout
    watched = tool("watch", "--rig", tool.rig, "--seconds", "3", "--interval", "1")
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert "app-1" in watched.stdout


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--hosts", "0"), 2, "--hosts 0 is out of range"),
        (("--hosts", "500"), 2, "--hosts 500 is out of range"),
        (("--hosts", "9"), 2, f"the rig has {HOSTS} app hosts"),
        (("--scenario", "concurent-writes"), 2, "did you mean 'concurrent-writes'?"),
    ],
)
def test_invalid_options_give_one_error_line(tool: Tool, options: tuple[str, ...], code: int, message: str) -> None:
    done = tool.bench(*options)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
