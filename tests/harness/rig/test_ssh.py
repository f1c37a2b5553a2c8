"""Files fetched over SSH; a fake channel returns what the host's tar would send."""

from __future__ import annotations

import io
import tarfile
import threading
from pathlib import Path
from typing import Any

import paramiko
import pytest

from harness.errors import RigError
from harness.model import Host
from harness.rig import ssh, ssh_stream
from harness.rig.ssh import SshConnection


def archive(**files: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"./{name}.csv")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


class PausedStream(io.RawIOBase):
    """Bytes, then a timeout: a host that was paused."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not (some := self._content.read(len(buffer))):
            raise TimeoutError
        buffer[: len(some)] = some
        return len(some)


class Channel:
    def __init__(self, out: Any, *, code: int | None = 0, error: bytes = b"") -> None:
        self._out, self._code, self._error = out, code, error
        self.status_event, self.limit, self.command = threading.Event(), 0.0, ""
        if code is not None:
            self.status_event.set()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None: ...

    def settimeout(self, limit: float) -> None:
        self.limit = limit

    def exec_command(self, command: str) -> None:
        self.command = command

    def makefile(self, *_: object) -> Any:
        return self._out

    def makefile_stderr(self, *_: object) -> Any:
        return io.BytesIO(self._error)

    def recv_exit_status(self) -> int:
        assert self._code is not None
        return self._code


def fetch(channel: Channel, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "FETCH_S", 0.1)
    host = SshConnection(Host(name="load-1", role="load", address="", ssh_address="192.0.2.1"), None, None)
    monkeypatch.setattr(host, "_session", lambda: channel)
    host.fetch("/tmp/results", ["a.csv", "c.csv"], into)


def test_only_the_named_files_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(io.BytesIO(archive(a="one", b="two")))
    fetch(channel, tmp_path, monkeypatch)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.csv": "one"}
    assert channel.limit == 0.1
    assert channel.command.endswith("tar -C /tmp/results -cf - .")


@pytest.mark.parametrize(
    ("channel", "reason"),
    [
        (Channel(PausedStream(archive(a="one" * 5000)[:9000])), "no data for 0.1 s"),
        (Channel(PausedStream(b"")), "no data for 0.1 s"),
        (Channel(io.BytesIO(archive(a="one")), code=None), "no data for 0.1 s"),
        (Channel(io.BytesIO(archive(a="one" * 5000)[:9000])), "unexpected end of data"),
        (
            Channel(io.BytesIO(archive(a="one")), code=2, error=b"tar: ./b.csv: Input/output error\n"),
            "tar exited with 2",
        ),
        (Channel(io.BytesIO(b""), code=2), "/tmp/results: "),
    ],
)
def test_an_incomplete_transfer_is_one_line_with_the_host(
    channel: Channel, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RigError, match="load-1: /tmp/results: ") as caught:
        fetch(channel, tmp_path, monkeypatch)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


def test_an_error_of_the_local_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RigError, match=r"load-1: .*No such file or directory"):
        fetch(Channel(io.BytesIO(archive(a="one"))), tmp_path / "absent", monkeypatch)


def test_a_user_other_than_root_runs_commands_through_sudo_without_a_prompt() -> None:
    host = Host(name="h", role="app", address="h", ssh_address="h", ssh_user="ops")
    assert SshConnection(host, None, None)._command(["cat", "a b"]) == "sudo -n -- cat 'a b'"


class DeafChannel(Channel):
    """The channel of a host that is paused: nothing is answered until it is closed."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), code=None)
        self.closed = threading.Event()

    def _wait(self, *_: object) -> None:
        assert self.closed.wait(20), "waits for ever"
        raise paramiko.SSHException("Channel closed.")

    exec_command = sendall = _wait

    def close(self) -> None:
        self.closed.set()


def deaf_host(monkeypatch: pytest.MonkeyPatch) -> SshConnection:
    host = SshConnection(Host(name="db-1", role="db", address="", ssh_address="192.0.2.1"), None, None)
    monkeypatch.setattr(host, "_session", DeafChannel)
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(ssh, "FETCH_S", 0.2)
    return host


def test_every_wait_for_a_host_that_is_paused_ends_at_a_deadline_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`podman pause db-1`: the bench hung for ever, because paramiko waits without limit for a command to start."""
    host = deaf_host(monkeypatch)
    with pytest.raises(RigError, match=r"db-1: `true`: not finished within 0.2 s"):
        host.run(["true"], timeout_s=0.2)
    with pytest.raises(RigError, match=r"db-1: `true` could not be started: no response within 0.2 s"):
        host.stream(["true"])
    with pytest.raises(RigError, match=r"db-1: /tmp/results: no data for 0.2 s"):
        host.fetch("/tmp/results", ["a.csv"], tmp_path)


def test_a_line_to_a_stream_of_a_paused_host_ends_at_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_stream, "SEND_S", 0.2)
    stream = ssh_stream.RemoteStream(DeafChannel())  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        stream.send("go")
