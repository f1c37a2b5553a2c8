"""Command lines and identity of virtual machines, and how their processes are recognised."""

from __future__ import annotations

import base64
import itertools
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.model import Host
from harness.provision import qemu

APP = Host(name="app-1", role="app", address="198.18.7.101", ssh_address="127.0.0.1", ssh_port=20122)
DB = Host(name="db-1", role="db", address="198.18.7.20", ssh_address="127.0.0.1", ssh_port=20123)
OWN = qemu.VirtualMachine(
    rig="try", host=APP, folder=Path("/rigs/try/vm/app-1"), base=Path("/cache/vm-1"), cpus=1, memory="512m",
    acceleration="tcg",
)  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "device", "found"),
    [
        ("flags\t\t: fpu vmx sse2", "/dev/null", "kvm"),
        ("flags\t\t: fpu svm sse2", "/dev/null", "kvm"),
        ("flags\t\t: fpu sse2", "/dev/null", "tcg"),  # the device opens, but guests would hang
        ("flags\t\t: fpu vmxish sse2", "/dev/null", "tcg"),
        ("model name\t: vmx", "/dev/null", "tcg"),
        ("flags\t\t: fpu vmx sse2", "/dev/none", "tcg"),
    ],
)
def test_kvm_needs_the_cpu_flag_and_the_device(tmp_path: Path, flags: str, device: str, found: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    assert qemu.find_acceleration(tmp_path / "cpuinfo", Path(device)) == found


def test_a_machine_uses_only_loopback_and_a_lan_socket_in_the_rigs_folder() -> None:
    line = qemu.command(OWN)
    nets = [word for flag, word in itertools.pairwise(line) if flag == "-netdev"]
    assert len(nets) == 2
    assert "hostfwd=tcp:127.0.0.1:20122-:22" in nets[0]
    assert nets[1].endswith("server=off,addr.type=unix,addr.path=/rigs/try/vm/lan/app-1")
    assert line[line.index("-pidfile") + 1] == "/rigs/try/vm/app-1/pid"


def test_the_lan_is_a_hub_with_one_socket_per_host() -> None:
    line = " ".join(qemu.lan_command("try", Path("/rigs/try/vm"), ["db-1", "app-1"]))
    assert "-machine none" in line
    assert "-pidfile /rigs/try/vm/lan/pid" in line
    for host in ("db-1", "app-1"):
        assert f"stream,id=at-{host},server=on,addr.type=unix,addr.path=/rigs/try/vm/lan/{host}" in line
        assert f"hubport,id=port-{host},hubid=0,netdev=at-{host}" in line
    with pytest.raises(RigError, match="too long for a socket"):
        qemu.lan_command("try", Path("/rigs/" + 100 * "x"), ["db-1"])


def test_mitigations_are_off_only_on_an_emulated_cpu() -> None:
    emulated, real = (" ".join(qemu.command(replace(OWN, acceleration=how))) for how in ("tcg", "kvm"))
    assert "accel=tcg" in emulated
    assert "mitigations=off" in emulated
    assert "accel=kvm" in real
    assert "-cpu host" in real
    assert "mitigations" not in real


def test_our_base_boots_its_kernel_and_a_cloud_image_gets_a_seed() -> None:
    own = " ".join(qemu.command(OWN))
    assert "-kernel /cache/vm-1/vmlinuz -initrd /cache/vm-1/initrd" in own
    assert "-smbios type=11,path=/rigs/try/vm/app-1/identity" in own
    assert "seed" not in own
    cloud = " ".join(qemu.command(replace(OWN, base=Path("/images/debian.qcow2"))))
    assert "-kernel" not in cloud
    assert "identity" not in cloud
    assert "file=/rigs/try/vm/app-1/seed.iso,format=raw,if=virtio,readonly=on" in cloud


def test_mac_addresses_are_unique_and_locally_administered() -> None:
    macs = {qemu.mac(host, nic) for host in (APP, DB) for nic in (0, 1)}
    assert len(macs) == 4
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs), "locally administered, not multicast"


def test_the_identity_is_a_credential_with_keys_addresses_and_resolver() -> None:
    credential = qemu.identity(APP, "198.18.7.0/24", "PRIVATE\nKEY\n", "ssh-ed25519 AAAA x%y\n")
    name, _, value = credential.partition("=")
    assert name == "io.systemd.credential.binary:tmpfiles.extra"
    lines = [line.split(" ", 6) for line in base64.b64decode(value).decode().splitlines()]
    files = {path: (mode, base64.b64decode(text).decode()) for _, path, mode, _, _, _, text in lines}
    assert {kind for kind, *_ in lines} == {"f+~"}
    assert files["/etc/ssh/ssh_host_ed25519_key"] == ("0600", "PRIVATE\nKEY\n")
    assert files["/root/.ssh/authorized_keys"] == ("0600", "ssh-ed25519 AAAA x%y\n")
    assert files["/etc/hostname"] == ("0644", "app-1\n")
    assert "address 198.18.7.101/24" in files["/etc/network/interfaces"][1]


def test_only_the_end_of_a_console_is_shown_without_escape_sequences(tmp_path: Path) -> None:
    assert qemu.console(tmp_path) == "(no console)"
    (tmp_path / "console.log").write_bytes(b"")
    assert qemu.console(tmp_path) == "(the console is empty)"
    lines = "".join(f"line {n}\r\n\r\n" for n in range(100))
    (tmp_path / "console.log").write_text(lines + "\x1b[0;32m  OK  \x1b[0m Started \x1b[0;1;39mssh\x1b[0m\xff\r\n")
    shown = qemu.console(tmp_path).splitlines()
    assert len(shown) == qemu.CONSOLE_LINES
    assert shown[-1].startswith("  OK   Started ssh")
    assert shown[-2] == "line 99"


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is no machine."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_another_process_with_the_pid_is_never_signalled(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    folder = tmp_path / "vm/db-1"
    folder.mkdir(parents=True)
    (folder / "pid").write_text(f"{bystander.pid}\n")
    assert qemu.processes(tmp_path / "vm") == {}
    assert qemu.stop(tmp_path / "vm") == []
    # Even if the list of processes is out of date when the signal is sent.
    qemu._kill({"db-1": bystander.pid}, tmp_path / "vm")
    assert bystander.poll() is None


def test_a_process_with_a_machine_only_in_its_arguments_is_ignored(tmp_path: Path) -> None:
    words = ["-c", "read x", "qemu-system-x86_64", "-pidfile", str(tmp_path / "vm/db-1/pid")]
    with subprocess.Popen(["sh", *words], stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 10
        while b"-pidfile" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline
        assert qemu.stop(tmp_path / "vm") == []
        assert process.poll() is None
        process.kill()
