"""Attacks on the services of the shared rig: privileges, access to the database, requests that never end.

A change that an attack makes is reverted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from harness.provision import podman_cli
from harness.rig.rig import Rig

from .conftest import on

DEFAULT_CAPABILITIES = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
    "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}  # fmt: skip


# -- slow requests, which run while the other tests run ---------------------------------------

SLOW = """
import concurrent.futures, json, socket
HEAD = b"POST /api/increment HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\n"
SENT = {
    "head": HEAD,
    "body": HEAD + b"Content-Length: 100\\r\\n\\r\\n{",
    "chunks": HEAD + b"Transfer-Encoding: chunked\\r\\n\\r\\n5\\r\\n{\\"key",
    "large head": HEAD + b"X: " + b"x" * 40_000 + b"\\r\\n\\r\\n",
    "many heads": HEAD + b"X: x\\r\\n" * 500 + b"\\r\\n",
    "large body": HEAD + b"Content-Length: 2000000\\r\\n\\r\\n{",
}
def attempt(where):
    name, (address, port) = where
    answer = b""
    with socket.create_connection((address, port), 90) as line:
        try:
            line.sendall(SENT[name])
            while b"\\r\\n\\r\\n" not in answer and (block := line.recv(65536)): answer += block
        except ConnectionResetError: answer += b"RESET"
        except socket.timeout: return "kept open"
    return answer.decode(errors="replace").partition("\\r\\n")[0]
places = [(name, place) for name in SENT for place in PLACES]
with concurrent.futures.ThreadPoolExecutor(len(places)) as pool: answers = list(pool.map(attempt, places))
print(json.dumps([[name, port, answer] for (name, (_, port)), answer in zip(places, answers)]))
"""


@pytest.fixture(scope="module", autouse=True)
def slow_clients(hosts: Rig) -> Iterator[Future[Any]]:
    """Clients that never finish a request, to HAProxy and directly to an app host: [request, port, status line]."""
    places = [(hosts.role("lb")[0].address, 8080), (hosts.role("app")[0].address, 3001)]

    def attack() -> Any:
        return json.loads(
            hosts.at("load-1").run(["python3", "-"], stdin=f"PLACES = {places!r}\n{SLOW}", timeout_s=150).stdout
        )

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(attack)


# -- containers and services -----------------------------------------------------------------------------------


def test_no_container_is_privileged(shared_rig: str, hosts: Rig) -> None:
    names = [record["Names"][0] for record in podman_cli.containers(shared_rig)]
    records = json.loads(podman_cli.run("inspect", *names))
    assert len(records) == len(hosts.hosts)
    for record in records:
        made = record["HostConfig"]
        extra = ["CAP_NET_ADMIN"] if hosts.state.faults_allowed else []
        assert (made["Privileged"], made["CapAdd"], made["Devices"]) == (False, extra, [])
        assert set(record["EffectiveCaps"]) <= DEFAULT_CAPABILITIES | set(extra)
        assert "host" not in {made["PidMode"], made["IpcMode"], made["NetworkMode"], made["UTSMode"]}
        assert not [option for option in made["SecurityOpt"] if "unconfined" in option]
        for mount in record["Mounts"]:
            shared = mount["Source"].startswith("/var/lib/containers/storage/volumes/pgcrucible-")
            assert shared or not mount["RW"], mount


PROCESSES = """
import json, os, pwd
processes, listeners = [], []
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try: text = open(f"/proc/{pid}/status").read()
    except OSError: continue
    status = dict(line.split(":\\t", 1) for line in text.splitlines() if ":\\t" in line)
    user = pwd.getpwuid(int(status["Uid"].split()[1])).pw_name
    processes.append([status["Name"], user, int(status["CapEff"], 16), int(status["NoNewPrivs"])])
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    for line in open(table).read().splitlines()[1:]:
        fields = line.split()
        port, user = int(fields[1].rpartition(":")[2], 16), pwd.getpwuid(int(fields[7])).pw_name
        if fields[3] == "0A": listeners.append([port, user])
print(json.dumps([processes, listeners]))
"""
OF_ROOT = {"systemd", "systemd-journal", "sshd", "python3", "haproxy"}
"""Programs that root runs on a host: the system's, this test's, and HAProxy's master process (not a worker)."""


def test_each_service_has_a_separate_user_and_no_capability(hosts: Rig) -> None:
    services = set()
    for host in hosts.hosts:
        processes, listeners = on(hosts, host.name, PROCESSES)
        assert {name for name, user, *_ in processes if user == "root"} <= OF_ROOT, host.name
        for name, user, capabilities, no_new_privileges in processes:
            if user != "root":
                services.add((user, bool(no_new_privileges)))
                assert capabilities == 0, name
        services |= {(user, port) for port, user in listeners}
    assert services == {
        ("pgcrucible", True), ("pgcrucible", 3001), ("postgres", True), ("postgres", 5432), ("haproxy", True),
        ("root", 8080), ("root", 8404), ("root", 22),
    }  # fmt: skip


ATTACK = """
import ctypes, json, os, socket, subprocess, tempfile
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1: raise OSError(ctypes.get_errno(), name)
def write(path):
    with open(path, "x") as file: file.write("x")
    os.unlink(path)
def setuid_file():
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0o4755)
        if not os.stat(file.name).st_mode & 0o4000: raise OSError("dropped")
def become_root():
    if subprocess.run(["su", "-c", "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode: raise OSError
tries = {f"write {folder}": lambda folder=folder: write(f"{folder}/intruder") for folder in (
    "/etc", "/etc/pgcrucible", "/etc/systemd/system", "/usr/bin", "/opt/pgcrucible", "/opt/pgcrucible/code/app",
    "/opt/pgcrucible/venv/lib", "/root", "/var/lib", "/run", "/home")}
tries |= {f"read {path}": lambda path=path: open(path).read() for path in (
    "/etc/pgcrucible/app.env", "/etc/shadow", "/root/.ssh/authorized_keys", "/etc/ssh/ssh_host_ed25519_key",
    "/proc/1/environ")}
tries |= {
    "setuid": lambda: os.setuid(0), "setgid": lambda: os.setgid(0), "su": become_root, "setuid file": setuid_file,
    "user namespace": lambda: call("unshare", 0x10000000), "mount namespace": lambda: call("unshare", 0x20000),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None), "trace": lambda: call("ptrace", 16, 1, 0, 0),
    "kill": lambda: os.kill(1, 15), "chroot": lambda: os.chroot("/"), "hostname": lambda: call("sethostname", b"x", 1),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "personality": lambda: call("personality", 8), "clock": lambda: call("clock_settime", 0, (ctypes.c_long * 2)(1, 0)),
    "own directory": lambda: write("/srv/pgcrucible/shared/intruder"), "own socket": lambda: socket.socket().close(),
}
done = []
for name, attempt in tries.items():
    try: attempt()
    except OSError: continue
    done.append(name)
print(json.dumps([len(tries), done]))
"""
UNIT = "pgcrucible-app@99"
PLACE = f"/run/systemd/system/{UNIT}.service.d"


def test_code_in_the_service_can_do_only_what_the_service_needs(hosts: Rig) -> None:
    """Another worker of the same unit, with its restrictions, runs the attacker's program instead of the service."""
    override = "\n".join(
        (
            "[Service]",
            "Type=oneshot",
            "Restart=no",
            "StandardOutput=truncate:/run/attack.json",
            "ExecStart=",
            "ExecStart=/opt/pgcrucible/venv/bin/python /run/attack.py",
            "",
        )
    )
    host = hosts.at("app-1")
    try:
        host.run(["sh", "-c", "umask 022; cat > /run/attack.py"], stdin=ATTACK)
        host.run(
            ["sh", "-c", f"mkdir -p {PLACE} && cat > {PLACE}/attack.conf && systemctl daemon-reload"], stdin=override
        )
        host.run(["systemctl", "start", UNIT])
        tried, done = json.loads(host.run(["cat", "/run/attack.json"]).stdout)
    finally:
        host.run(["sh", "-c", f"rm -rf {PLACE} /run/attack.*; systemctl daemon-reload; systemctl reset-failed"])
    assert tried > 30
    assert done == ["own directory", "own socket"]  # these must work, or the test attempted nothing


# -- connections to the database --------------------------------------------------------------------------------

STARTUP = """
import json, socket, struct
answers = {}
for user, database in TRIES:
    words = ["user", user, "database", database, ""]
    body = struct.pack("!I", 196608) + b"".join(word.encode() + b"\\0" for word in words)
    with socket.create_connection((ADDRESS, 5432), timeout=10) as server:
        server.sendall(struct.pack("!I", len(body) + 4) + body)
        answer = server.recv(4096)
    codes = [field[1:].decode() for field in answer[5:].split(b"\\0") if field.startswith(b"C")]
    answers[f"{user} {database}"] = codes[0] if answer[:1] == b"E" else answer[:1].decode()
print(json.dumps(answers))
"""


def test_the_database_accepts_only_the_hosts_and_users_of_pg_hba(hosts: Rig) -> None:
    """SQLSTATE 28000 comes before the password request (R): the host is refused."""
    users, databases = ("appuser", "crucible_harness", "postgres", "nobody"), ("crucible", "postgres", "template1")
    tries = [(user, database) for user in users for database in databases]
    wanted = {"app": {"appuser crucible"}, "load": {"crucible_harness crucible"}}
    for host in hosts.hosts:
        answers = on(hosts, host.name, STARTUP, ADDRESS=hosts.role("db")[0].address, TRIES=tries)
        assert {name for name, answer in answers.items() if answer == "R"} == wanted.get(host.role, set()), host.name
        assert set(answers.values()) <= {"R", "28000"}, host.name


def test_slow_and_oversized_requests_are_refused_by_haproxy_and_by_the_service(slow_clients: Future[Any]) -> None:
    answers = {
        (what, port): line.split(" ")[1] if line.startswith("HTTP/") else line
        for what, port, line in slow_clients.result()
    }
    assert answers == {
        ("head", 8080): "408", ("head", 3001): "",
        ("body", 8080): "408", ("body", 3001): "408",
        ("chunks", 8080): "408", ("chunks", 3001): "408",
        ("large head", 8080): "400", ("large head", 3001): "400",
        ("many heads", 8080): "400", ("many heads", 3001): "400",
        ("large body", 8080): "413", ("large body", 3001): "413",
    }  # fmt: skip
