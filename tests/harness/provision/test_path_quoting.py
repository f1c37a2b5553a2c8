"""Checkout paths with characters that ssh, Ansible, QEMU and the shell parse, tried with the programs themselves."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from harness.errors import RigError, UsageError
from harness.model import Host
from harness.provision import ansible, provisioner, qemu, ssh_keys
from harness.provision.path_quoting import check_path, fits_control_path, ssh_path
from harness.provision.providers.local_hosts import ssh_variables
from harness.provision.topology import listed_host
from harness.rig import state
from harness.rig.ssh import SshConnection

ODD = [
    "plain", "a blank", "  two  blanks  ", "it's", 'say "hi"', "back\\slash", "50%h", "100%", "caf\u00e9 \u65e5\u672c",
    "#1 (x) [y] {z}", "a,b;c&d|e", "cost $5", "~", "-o", "*?<>!", "job@2%2Fmain", "a=b",
]  # fmt: skip
REFUSED = ["a:b", "a${HOME}b", "a$HOME", "{{ x }}", "{% x %}", "{# x", "line\nbreak", "tab\there", "\udcff"]


class Accepting(paramiko.ServerInterface):
    """Accepts one key and runs `true`."""

    def __init__(self, key: paramiko.PKey) -> None:
        self._key = key

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        del username
        return paramiko.AUTH_SUCCESSFUL if key == self._key else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del kind, chanid
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        del command

        def finish() -> None:
            channel.send_exit_status(0)
            channel.close()

        threading.Timer(0.1, finish).start()
        return True


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        yield listening


def serve(server: socket.socket, base: Path) -> None:
    """Serves one SSH connection with the host key and the login key of a rig's folder."""
    host_key = paramiko.Ed25519Key.from_private_key_file(str(base / "hosts/db-1/host_key"))
    login = paramiko.Ed25519Key.from_private_key_file(str(base / "id_ed25519"))

    def run() -> None:
        client, _ = server.accept()
        transport = paramiko.Transport(client)
        transport.add_server_key(host_key)
        transport.start_server(server=Accepting(login))
        transport.join(20)

    threading.Thread(target=run, daemon=True).start()


@pytest.mark.parametrize("name", ODD)
def test_ssh_finds_the_rigs_keys_wherever_the_checkout_is(
    name: str, tmp_path: Path, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "RIGS", tmp_path / name / ".rigs")
    (tmp_path / name).mkdir()
    port = server.getsockname()[1]
    host = Host(name="db-1", role="db", address="127.0.0.1", ssh_address="127.0.0.1", ssh_port=port)
    ssh_keys.make_keys("one", [host])
    base = state.folder("one")
    check_path(base)
    serve(server, base)
    options = shlex.split(ssh_variables(base)["ansible_ssh_common_args"])
    command = ["ssh", "-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", *options]
    done = subprocess.run(
        [*command, "-p", str(port), "root@127.0.0.1", "true"], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0, done.stderr

    serve(server, base)  # the harness's own connection finds them too
    connection = SshConnection(host, base / "id_ed25519", base / "known_hosts")
    try:
        assert connection.run(["true"], timeout_s=10).code == 0
    finally:
        connection.close()


@pytest.mark.parametrize("mitogen", [True, False])
def test_ansible_runs_wherever_the_checkout_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, mitogen: bool
) -> None:
    playbooks = tmp_path / 'a, blank\'s "50%h" caf\u00e9 #1 (x) $5 ~ & \\'
    playbooks.mkdir()
    monkeypatch.setattr(state, "RIGS", playbooks / ".rigs")
    monkeypatch.setattr(ansible, "PLAYBOOKS", playbooks)
    check_path(playbooks)
    for plugins in ("callback_plugins", "strategy_plugins", "library"):
        (playbooks / plugins).symlink_to(state.PLAYBOOKS / plugins)
    (playbooks / "ansible.cfg").write_text((state.PLAYBOOKS / "ansible.cfg").read_text())
    (playbooks / "one.sh").write_text('#!/bin/sh\nprintf %s "$1"\n')
    (playbooks / "one.sh").chmod(0o755)
    (playbooks / "try.yml").write_text("""\
- name: "Try: a command beside the playbook"
  hosts: here
  connection: local
  gather_facts: false
  tasks:
    - name: Run it
      ansible.builtin.command:
        argv: ["{{ playbook_dir }}/one.sh", "{{ path }}"]
      register: result
    - name: Ensure the path arrived, and no setting of the user's own Ansible
      ansible.builtin.assert:
        that:
          - result.stdout == path
          - lookup('ansible.builtin.env', 'ANSIBLE_HOST_KEY_CHECKING') == ''
          - lookup('ansible.builtin.env', 'ANSIBLE_KEEP_REMOTE_FILES') == ''
    - name: Ensure our module is found
      file_set:
        files: [{path: "{{ path }}/made", state: directory}]
""")
    base = state.make_folder("one")
    for name in ("HOST_KEY_CHECKING", "CHECK_MODE", "GATHERING", "KEEP_REMOTE_FILES", "STRATEGY", "ROLES_PATH"):
        monkeypatch.setenv(f"ANSIBLE_{name}", "1")
    state.write_private(base / "inventory.yml", "all: {hosts: {here: {}}}\n")
    result = ansible.run_playbooks("one", ["try.yml"], variables={"path": str(base)}, echo=print, mitogen=mitogen)
    assert result.ok >= 3
    assert (base / "made").is_dir()


@pytest.mark.parametrize(
    ("folder", "fits"),
    [("/home/me/.rigs/local", True), ("/" + "x" * 59, True), ("/" + "x" * 60, False), ("/" + "é" * 30, False)],
)
def test_the_socket_of_a_shared_connection_has_a_path_that_ssh_can_use(folder: str, fits: bool) -> None:
    """ssh fails for a socket whose path is longer than 107 bytes; it adds 17 characters, Ansible and we add 28."""
    assert fits_control_path(Path(folder)) == fits
    if fits:
        assert len(os.fsencode(folder)) + len("/play-12345678/cp/0123456789") + len(".0123456789abcdef") <= 107


@pytest.mark.parametrize("character", ["%", '"', "\\", "$"])
def test_a_path_that_ssh_parses_is_no_path_of_a_socket(character: str) -> None:
    assert not fits_control_path(Path(f"/a{character}b"))


@pytest.mark.parametrize("name", REFUSED)
def test_a_path_that_cannot_be_quoted_is_refused_with_the_reason(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "RIGS", tmp_path / name / ".rigs")
    with pytest.raises((RigError, UsageError), match="the path '") as caught:
        provisioner.provision(f"t-{os.getpid()}", echo=print)
    assert "move pgcrucible to another folder" in caught.value.hint
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ('"/a b/known"', "/a b/known"),
        ("/a/known /a/known2", "/a/known"),
        ('"/50%%/known"', "/50%/known"),
        ("", ""),
        ('"/open', '"/open'),
    ],
)
def test_the_users_known_hosts_are_read_as_ssh_reads_them(value: str, path: str) -> None:
    assert ssh_path(value) == path
    arguments = f"-o {shlex.quote(f'UserKnownHostsFile={value}')}"
    assert listed_host("db", "db-1", {"ansible_ssh_common_args": arguments}).known_hosts == path


def test_unreadable_known_hosts_are_an_error_of_the_host(tmp_path: Path) -> None:
    host = Host(name="db-1", role="db", address="x", ssh_address="x", known_hosts=str(tmp_path / "none"))
    with pytest.raises(RigError, match="db-1: its recorded SSH host keys cannot be read"):
        SshConnection(host, None, None)


def test_a_comma_in_a_path_separates_no_options_of_qemu(tmp_path: Path) -> None:
    machine = qemu.VirtualMachine(
        rig="one",
        host=Host(name="db-1", role="db", address="198.18.0.20", ssh_address="127.0.0.1", ssh_port=20022),
        folder=Path("/a,b/vm/db-1"),
        base=Path("/a,b/base"),
        cpus=1,
        memory="1g",
        acceleration="tcg",
    )
    line = qemu.command(machine)
    assert "file=/a,,b/vm/db-1/overlay.qcow2,format=qcow2,if=virtio" in line
    assert "stream,id=lan,server=off,addr.type=unix,addr.path=/a,,b/vm/lan/db-1" in line
    assert "type=11,path=/a,,b/vm/db-1/identity" in line
    assert line[line.index("-pidfile") + 1] == "/a,b/vm/db-1/pid"
    assert any("addr.path=/a,,b/vm/lan/db-1" in word for word in qemu.lan_command("one", Path("/a,b/vm"), ["db-1"]))
