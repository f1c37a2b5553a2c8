"""A cancelled job (SIGTERM, SIGHUP) leaves what Ctrl-C leaves: an aborted run and none of our objects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import yaml

from harness.rig.state import ROOT
from tests.support.local_target import serving
from tests.support.postgres_server import Database

WAIT_S = 60.0
OURS = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgcrucible%'"


def schemas(database: Database) -> int:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        row = connection.execute(OURS).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_ends_a_bench_as_ctrl_c_does(database: Database, tmp_path: Path, number: int, code: int) -> None:
    results = tmp_path / "results"
    environ = {**os.environ, "PGCRUCIBLE_RESULTS": str(results)}
    with serving(database.environ, tmp_path / "log") as url:
        command = [sys.executable, "-m", "harness", "bench", "--base-url", url, "--dsn", database.dsn]
        command += ["--scenario", "isolation", "--yes-this-is-mine"]
        with subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                deadline = time.monotonic() + WAIT_S
                while not schemas(database):
                    assert process.poll() is None, process.stdout and process.stdout.read()
                    assert time.monotonic() < deadline, "the workload did not start"
                    time.sleep(0.02)
                process.send_signal(number)
                output, _ = process.communicate(timeout=WAIT_S)
            finally:
                process.kill()
    assert process.returncode == code, output
    assert schemas(database) == 0
    (run,) = results.glob("2*/run.yml")
    manifest = yaml.safe_load(run.read_text())
    assert manifest["status"] == "aborted"
    assert f"aborted: interrupted by {signal.Signals(number).name}" in manifest["warnings"]


SLOW_CLEANUP = """
import sys
import time
from harness.cli.signals import interruptible
with interruptible():
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        print("cleaning", flush=True)
        time.sleep(float(sys.argv[1]))
        print("clean", flush=True)
"""


@pytest.mark.parametrize(
    ("first", "second", "pause_s", "code"),
    [
        ("SIGINT", "SIGINT", 0.0, 130),
        ("SIGTERM", "SIGTERM", 1.1, 143),
        ("SIGHUP", "SIGHUP", 1.1, 129),
        ("SIGINT", "SIGHUP", 1.1, 129),
    ],
)
def test_a_deliberate_second_signal_ends_the_process_at_once(
    first: str, second: str, pause_s: float, code: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_CLEANUP, "30"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.Signals[first])
            assert process.stdout.readline() == "cleaning\n"
            time.sleep(pause_s)
            process.send_signal(signal.Signals[second])
            assert process.wait(10) == code
            assert process.stdout.read() == ""
        finally:
            process.kill()


@pytest.mark.parametrize(("first", "second"), [("SIGHUP", "SIGHUP"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGTERM")])
def test_a_repeat_of_the_same_request_lets_the_cleanup_end(first: str, second: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_CLEANUP, "0.3"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.Signals[first])
            assert process.stdout.readline() == "cleaning\n"
            process.send_signal(signal.Signals[second])
            assert process.stdout.read() == "clean\n"
        finally:
            process.kill()


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    """As under nohup."""
    script = "import signal\nfrom harness.cli.signals import interruptible\n"
    script += "with interruptible(): print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    command = ["sh", "-c", 'trap "" HUP; exec "$0" -c "$1"', sys.executable, script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert done.stdout == "True\n"


IN_FORK = """
import os
import signal
import time
from harness.cli.signals import Interrupted, interruptible
once = iter([True])
os.register_at_fork(after_in_parent=lambda: next(once, False) and signal.raise_signal(signal.SIGTERM))
try:
    with interruptible():
        if not os.fork():
            os._exit(0)
        time.sleep(20)
        print("not interrupted")
except Interrupted as error:
    print(error)
"""


def test_a_signal_in_a_place_where_python_ignores_exceptions_is_not_lost() -> None:
    """A SIGHUP during the fork of a command was printed and ignored: the bench went on to its end."""
    done = subprocess.run(
        [sys.executable, "-c", IN_FORK], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("SIGTERM\n", "")
