"""The lines of the sampler, with cgroup files, services and pipes like those of a host."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.host_scripts import sampler

METRICS = b'HTTP/1.1 200 OK\r\nContent-Length: 52\r\n\r\n{"pool": {"total": 5, "idle": 2, "waiting": 7}, "a":1}'
STAT = """\
# pxname,svname,qcur,scur,stot,type,req_tot,
public,FRONTEND,,12,3,0,{all},
statistics,FRONTEND,,1,9,0,9,
app,app-1.1,1,2,{one},2,,
app,app-1.2,2,3,{two},2,,
app-1,app-1.1,0,0,5,2,,
app,BACKEND,3,5,70,1,,

"""


@contextmanager
def sampling(**job: Any) -> Iterator[subprocess.Popen[str]]:
    """Runs the sampler as a host does: its text on the command line, no site packages."""
    text = Path(sampler.__file__).read_text(encoding="utf-8")
    command = [sys.executable, "-I", "-S", "-u", "-c", text, json.dumps({"every": 0.2, **job})]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str], enough: Callable[[dict[str, Any]], bool], most: int = 30) -> list[Any]:
    """Returns the lines up to and including the first one for which `enough` is true."""
    assert process.stdout is not None
    parsed: list[Any] = []
    while len(parsed) < most:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        parsed.append(json.loads(line))
        if enough(parsed[-1]):
            return parsed
    raise AssertionError(f"{most} lines without a match: {parsed[-1]}")


@contextmanager
def service(address: Any, answer: Callable[[], bytes | None]) -> Iterator[Any]:
    """Sends the next answer on each connection and closes it; with None it never answers."""
    listener = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            response = answer()
            if response is None:
                held.append(peer)
                continue
            with peer:
                peer.recv(4096)
                peer.sendall(response)

    listener.bind(address)
    listener.listen()
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
        for peer in held:
            peer.close()


def is_host(line: dict[str, Any]) -> bool:
    return "host_seconds" in line["metrics"]


def test_every_line_belongs_to_one_trial_and_the_sampler_ends_with_its_input() -> None:
    with sampling() as process:
        assert process.stdin is not None
        first = lines(process, is_host)[-1]
        process.stdin.write("7\n")
        process.stdin.flush()
        before, inside = lines(process, lambda line: line["order"] == 7)[-2:]
        process.stdin.write("0\n")
        process.stdin.flush()
        *_, cut, after = lines(process, lambda line: line["order"] == 0)
        process.stdin.close()
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert (first["order"], before["order"], cut["order"], after["order"]) == (0, 0, 7, 0)
    assert before["metrics"]["host_seconds"] > 0
    assert {"cpu_used_cores", "cpu_cap_cores", "machine_cpu_share", "memory_used_bytes", "network_sent_bytes"} <= set(
        inside["metrics"]
    )
    assert inside["metrics"]["memory_used_bytes"] > 0
    assert 0 <= inside["metrics"]["machine_cpu_share"] <= 1


def test_the_sampler_ends_when_its_output_is_closed() -> None:
    with sampling() as process:
        lines(process, is_host)
        assert process.stdout is not None
        process.stdout.close()
        process.wait(10)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_cpu_use_of_a_busy_host_is_measured() -> None:
    with sampling() as process:
        lines(process, is_host)
        for _ in range(2_000_000):
            pass
        used = lines(process, is_host)[-1]["metrics"]["cpu_used_cores"]
    assert used > 0


def test_the_pool_of_each_worker_is_reported_and_a_silent_worker_delays_no_line() -> None:
    with (
        service(("127.0.0.1", 0), lambda: METRICS) as (_, one),
        service(("127.0.0.1", 0), lambda: None) as (_, two),
        sampling(ports=[one, two]) as process,
    ):
        output = lines(process, lambda line: "pool_waiting.1" in line["metrics"])
        assert output[-1]["metrics"] == {"pool_total.1": 5, "pool_idle.1": 2, "pool_waiting.1": 7}
        for _ in range(2):
            output = lines(process, is_host)
            assert not any("pool_total.2" in line["metrics"] for line in output)


@pytest.mark.parametrize(
    "broken", [b"", b"HTTP/1.1 503 no\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{", b"\xff\xfe", b"x\r\n\r\n[1]"]
)
def test_an_invalid_or_empty_response_gives_no_line(broken: bytes) -> None:
    answers = iter([broken, METRICS])
    with service(("127.0.0.1", 0), lambda: next(answers, None)) as (_, port), sampling(ports=[port]) as process:
        output = lines(process, lambda line: "pool_total" in line["metrics"])
    assert sum("pool_total" in line["metrics"] for line in output) == 1
    assert any(is_host(line) for line in output)


def test_a_stopped_service_gives_no_line_and_is_asked_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        port = taken.getsockname()[1]
        with sampling(ports=[port]) as process:
            assert all(is_host(line) for line in [lines(process, is_host)[-1] for _ in range(2)])
            taken.close()
            with service(("127.0.0.1", port), lambda: METRICS):
                assert lines(process, lambda line: "pool_total" in line["metrics"])


def test_haproxys_servers_are_reported_as_app_hosts_and_a_restart_gives_no_rate(tmp_path: Path) -> None:
    counts = [(100, 40, 50), (160, 70, 80), (3, 1, 1), (9, 4, 4)]
    path = str(tmp_path / "admin.sock")
    answers = (STAT.format(all=a, one=b, two=c).encode() for a, b, c in counts)
    with service(path, lambda: next(answers, None)), sampling(haproxy=path) as process:
        first = lines(process, lambda line: line.get("server") == "app-1")
        again = lines(process, lambda line: line.get("server") == "app-1")
    front, server = first[-2]["metrics"], first[-1]["metrics"]
    assert first[-2]["server"] == ""
    assert round(front["haproxy_requests"] * front["haproxy_seconds"]) == 60
    assert (front["haproxy_sessions"], front["haproxy_queued"]) == (12, 0)
    assert round(server["haproxy_requests"] * server["haproxy_seconds"]) == 60
    assert (server["haproxy_sessions"], server["haproxy_queued"]) == (5, 3)
    assert round(again[-1]["metrics"]["haproxy_requests"] * again[-1]["metrics"]["haproxy_seconds"]) == 6


V2 = {
    "cpu.max": "20000 100000",
    "cpu.stat": "usage_usec 5000000\nuser_usec 1\nnr_periods 50\nnr_throttled 20\nthrottled_usec 3000000\n",
    "memory.current": "1000",
    "memory.stat": "anon 1\ninactive_file 400\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=7000000\nfull avg10=0 total=0\n",
}
V1 = {
    "cpu/cpu.cfs_quota_us": "10000",
    "cpu/cpu.cfs_period_us": "50000",
    "cpu/cpu.stat": "nr_periods 50\nnr_throttled 20\nthrottled_time 3000000000\n",
    "cpuacct/cpuacct.usage": "5000000000",
    "memory/memory.usage_in_bytes": "1000",
    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 400\n",
}
UNCAPPED = {**V2, "cpu.max": "max 100000"}


@pytest.mark.parametrize(
    ("files", "cap", "throttled", "own_psi"),
    [(V2, 0.2, 0.5, True), (V1, 0.2, 0.25, False), (UNCAPPED, None, None, True)],
)
def test_cgroups_of_both_versions(  # noqa: PLR0917
    files: dict[str, str],
    cap: float | None,
    throttled: float | None,
    own_psi: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(sampler, "CGROUP", str(tmp_path))
    before = sampler.totals()
    assert before["cpu_used_cores"] == 5.0
    assert ("psi_cpu_some" in before) == own_psi
    assert ("machine_psi_cpu_some" in before) == os.path.exists("/proc/pressure/cpu")  # noqa: PTH110
    after = {**before, "cpu_used_cores": 5.3, "machine_all": before["machine_all"] + 8}
    after = {**after, "machine_busy": before["machine_busy"] + 6}
    if cap is not None:
        after |= {"throttled_periods": 30.0, "cpu_throttled_cores": 4.0}
    found = sampler.rates(before, after, 2.0)
    assert found["cpu_used_cores"] == pytest.approx(0.15)
    assert found["cpu_cap_cores"] == (cap or os.cpu_count())
    assert found.get("cpu_throttled_share") == throttled
    assert found.get("cpu_throttled_cores") == (None if cap is None else 0.5)
    assert found["machine_cpu_share"] == 0.75
    assert found["memory_used_bytes"] == 600
    assert found["host_seconds"] == 2.0


def test_all_cpu_of_a_container_is_the_rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 5000000\n")
    (tmp_path / "container").write_text("podman")
    monkeypatch.setattr(sampler, "CGROUP", str(tmp_path))
    monkeypatch.setattr(sampler, "CONTAINER", str(tmp_path / "container"))
    before = sampler.totals(["haproxy.service"])
    (tmp_path / "cpu.stat").write_text("usage_usec 6000000\n")
    found = sampler.rates(before, sampler.totals(["haproxy.service"]), 2.0)
    assert found["rig_cpu_cores"] == found["cpu_used_cores"] == 0.5
    assert found["machine_cores"] == os.cpu_count()
    assert found["machine_steal_cores"] >= 0


def test_on_a_whole_machine_only_our_units_and_this_session_are_the_rigs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(path: str, seconds: float) -> None:
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        (tmp_path / path / "cpu.stat").write_text(f"usage_usec {seconds * 1e6:.0f}\nuser_usec 1\n")

    real = sampler.text
    session = "12:pids:/x\n0::/user.slice/user-0.slice/session-3.scope\n"
    monkeypatch.setattr(sampler, "text", lambda path: session if path == "/proc/self/cgroup" else real(path))
    monkeypatch.setattr(sampler, "CGROUP", str(tmp_path))
    monkeypatch.setattr(sampler, "CONTAINER", str(tmp_path / "no-container"))
    units = ["postgresql@*.service", "pgcrucible-app@1.service", "pgcrucible-app@2.service"]
    assert "rig_cpu_cores" not in sampler.rates(sampler.totals(units), sampler.totals(units), 1.0)
    use(".", 50)
    use("user.slice/user-0.slice/session-3.scope", 1)
    use("user.slice/user-0.slice/session-4.scope", 1)
    use("system.slice/cron.service", 1)
    use("system.slice/system-postgresql.slice/postgresql@15-main.service", 10)
    use("system.slice/pgcrucible-app@1.service", 9)
    before = sampler.totals(units)
    use(".", 80)
    use("user.slice/user-0.slice/session-3.scope", 2)
    use("user.slice/user-0.slice/session-4.scope", 9)
    use("system.slice/cron.service", 9)
    use("system.slice/system-postgresql.slice/postgresql@15-main.service", 12)
    use("system.slice/pgcrucible-app@1.service", 0.5)  # it was restarted
    use("system.slice/pgcrucible-app@2.service", 1)  # it was started
    found = sampler.rates(before, sampler.totals(units), 2.0)
    assert found["cpu_used_cores"] == 15.0
    assert found["rig_cpu_cores"] == (1 + 2 + 0 + 1) / 2


def test_without_a_cgroup_the_whole_machine_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "CGROUP", str(tmp_path))
    found = sampler.totals()
    assert found["cpu_used_cores"] == found["machine_busy"] > 0
    assert "cpu_throttled_cores" not in found
    rates = sampler.rates(found, found, 1.0)
    assert rates["memory_used_bytes"] > 2**20
    assert rates["machine_cpu_share"] == 0.0
